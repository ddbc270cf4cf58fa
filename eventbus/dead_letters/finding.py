"""Which dead letters are meant: those of an event, or those a filter lets through."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TypeAlias, cast

from eventbus.asking import check_text, check_whole
from eventbus.clock import from_iso, iso
from eventbus.dead_letters.letter import DeadLetter, Filters, Found, Which
from eventbus.errors import EventBusError
from eventbus.events import Envelope, Receipt, event_type
from eventbus.store import deliveries, letters, reading, stored_types, subscriptions, viewing
from eventbus.store.deliveries import DeliveryRow
from eventbus.store.letters import Wanted
from eventbus.store.storage import Storage
from eventbus.store.subscriptions import SubscriptionRow

Chosen: TypeAlias = "list[tuple[SubscriptionRow, DeliveryRow]]"


class Finder:
    """Finds dead letters on connections that somebody else opened."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def look(self, which: tuple[Which, ...], filters: Filters, limit: int) -> Found:
        """The same, looked up on a connection of its own."""
        with self._storage.reading() as connection:
            self._storage.names.refresh(connection)
            return [self.letter(connection, *each) for each in self.chosen(connection, which, filters, limit)]

    def chosen(self, connection: sqlite3.Connection, which: tuple[Which, ...], filters: Filters, limit: int) -> Chosen:
        """Those named in `which`, or those that the filters mean; by subscription and position, at most `limit`."""
        check_whole("limit", limit)
        _check_filters(filters)
        rows = self.rows(connection, filters)
        found: Chosen = []
        if which:
            if set(filters) - {"subscription"}:
                raise EventBusError("Name the dead letters or filter them, not both.", stored="not stored")
            for each in which:
                mine = [one for one in self.of(connection, each, rows) if one not in found]
                if not mine:
                    raise EventBusError(f"{_spelled(each)} is no dead letter.", hint="bus.status(...) says what it is.")
                found.extend(mine)
            return sorted(found, key=lambda one: (one[0].name, one[0].id, one[1].position))[:limit]
        wanted = _wanted(connection, filters)
        for row in rows:
            if len(found) < limit:
                dead = letters.dead(connection, row.id, wanted, limit=limit - len(found))
                found.extend((row, delivery) for delivery in dead)
        return found

    def rows(self, connection: sqlite3.Connection, filters: Filters) -> Sequence[SubscriptionRow]:
        """The subscriptions that are asked about."""
        name = filters.get("subscription")
        if name is None:
            return subscriptions.everyone(connection)
        rows = subscriptions.named(connection, name)
        if not rows:
            raise EventBusError(f"There is no subscription {name!r} in this log.")
        return rows

    def of(self, connection: sqlite3.Connection, which: Which, rows: Sequence[SubscriptionRow]) -> Chosen:
        """The dead letters of one event."""
        if isinstance(which, DeadLetter):
            rows = [row for row in rows if row.name == which.subscription]
        position = which if isinstance(which, str | int) else _place(which)
        if isinstance(position, str):
            event = reading.one(connection, position)
            position = event[0] if event is not None else 0
        found = [(row, deliveries.one(connection, row.id, position)) for row in rows]
        return [(row, delivery) for row, delivery in found if delivery is not None and delivery.state == "dead"]

    def letter(
        self,
        connection: sqlite3.Connection,
        row: SubscriptionRow,
        delivery: DeliveryRow,
        *,
        with_failures: bool = False,
    ) -> DeadLetter:
        """A row with its event."""
        event = reading.one(connection, delivery.position)
        return DeadLetter(
            subscription=row.name,
            position=delivery.position,
            envelope=Envelope(event, self._storage.names) if event is not None else None,
            order_key=delivery.order_key,
            attempts=delivery.attempts,
            tries=delivery.tries,
            error=delivery.error,
            since=from_iso(delivery.since),
            held=letters.count_held(connection, row.id, delivery),
            edited=delivery.payload,
            failures=tuple(viewing.attempts(connection, row, delivery.position)) if with_failures else (),
        )

    def held(self, connection: sqlite3.Connection, row: SubscriptionRow, letter: DeadLetter) -> Found:
        """What is held behind one, in order."""
        delivery = deliveries.one(connection, row.id, letter.position)
        behind = letters.held_behind(connection, row.id, delivery) if delivery is not None else []
        held = [deliveries.one(connection, row.id, position) for position in behind]
        return [self.letter(connection, row, each) for each in held if each is not None]


def _wanted(connection: sqlite3.Connection, filters: Filters) -> Wanted:
    error = filters.get("error")
    return Wanted(
        type_ids=stored_types.type_ids(connection, _types(filters.get("type"))),
        error=error.__name__ if isinstance(error, type) else error,
        since=_moment("since", filters.get("since")),
        until=_moment("until", filters.get("until")),
        text=filters.get("text"),
    )


def _check_filters(filters: Filters) -> None:
    """TypeError for a filter that there is not: it would let everything through. EventBusError for what is none."""
    for name in filters:
        if name not in Filters.__annotations__:
            raise TypeError(
                f"There is no filter {name!r} of dead letters; there are: {', '.join(Filters.__annotations__)}."
            )
    check_text("subscription", filters.get("subscription"))
    check_text("text", filters.get("text"))
    error = filters.get("error")
    if not isinstance(error, type):
        check_text("error", error)


def _types(named: object) -> list[str]:
    """The names and patterns that `type=` means."""
    several = isinstance(named, list | tuple | set | frozenset)
    wanted = list(cast("Iterable[object]", named)) if several else [] if named is None else [named]
    names: list[str] = []
    for each in wanted:
        if isinstance(each, str):
            names.append(each)
        elif isinstance(each, type):
            names.append(event_type(cast("type[object]", each)).name)
        else:
            raise EventBusError(f"type= takes event classes, names and patterns, not {each!r}.")
    return names


def _place(which: object) -> int:
    if not isinstance(which, DeadLetter | Receipt):
        raise EventBusError(f"A dead letter is named by its event's id or position, or a receipt, not {which!r}.")
    return which.position


def _moment(name: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise EventBusError(f"{name}= is an aware datetime.", hint="Write datetime.now(UTC) - timedelta(hours=1).")
    return iso(value.timestamp())


def several(which: Which) -> EventBusError:
    return EventBusError(f"{_spelled(which)} is a dead letter of several subscriptions.", hint="Say subscription=...")


def _spelled(which: Which) -> str:
    if isinstance(which, str):
        return f"Event {which!r}"
    return f"The event at position {which if isinstance(which, int) else which.position}"
