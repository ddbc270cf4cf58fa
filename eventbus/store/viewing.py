"""What the program asks of a log it only looks at.

Every function takes a plain read-only connection and answers at once, a bounded page at a time, so that
no statement stays open and no log is too long. None of them needs the app's classes.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import attrs

from eventbus.store import deliveries, lag, letters, reading, subscriptions
from eventbus.store.deliveries import DeliveryRow
from eventbus.store.letters import Wanted
from eventbus.store.overview import ahead_of, circuit_of
from eventbus.store.reading import Selection
from eventbus.store.stored_types import StoredType, types
from eventbus.store.subscriptions import SubscriptionRow

if TYPE_CHECKING:
    from eventbus.breaker import Circuit

Disposition = Literal["handled", "discarded", "running", "waiting", "retrying", "held", "dead"]

_SOURCES = "SELECT id, name FROM eventbus_sources"
_ID_BEGINS = f"SELECT {reading.COLUMNS} FROM eventbus_events WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
_EFFECTS = f"SELECT {reading.COLUMNS} FROM eventbus_events WHERE causation_id = ? ORDER BY position LIMIT ?"
_COUNT_EFFECTS = "SELECT count(*) FROM eventbus_events WHERE causation_id = ?"
_ATTEMPTS = (
    "SELECT attempt, started_at, seconds, error_type, message, traceback FROM eventbus_attempts"
    " WHERE subscription_id = ? AND run = ? AND position = ? ORDER BY attempt DESC LIMIT ?"
)


@attrs.frozen
class StoredEvent:
    """A row of the log with names instead of numbers; nothing of it is decoded, and all of it may be odd."""

    position: int
    id: str
    type: StoredType
    stream: str | None
    sequence: int | None
    time: str
    source: str
    correlation_id: str | None
    causation_id: str | None
    metadata: str | None
    codec: str | None
    payload: Any


@attrs.frozen
class StoredAttempt:
    """One failed try, `seconds` long; None if its process ended in it. Only the last one of these has an error."""

    attempt: int
    started_at: str
    seconds: float | None
    error_type: str | None
    message: str | None
    traceback: str | None


@attrs.frozen
class Standing:
    """Where one event stands with one subscription; `delivery` has the rest unless all is normal.

    "running" is what its owner has claimed; an owner that was killed is named until another one takes over.
    """

    subscription: SubscriptionRow
    disposition: Disposition
    delivery: DeliveryRow | None = None
    owner: str | None = None
    circuit: Circuit | None = None  # of its breaker, unless that is closed


@attrs.frozen
class DeadLetter:
    """A delivery that waits for a person, with its event (None if the log lost it)."""

    subscription: SubscriptionRow
    delivery: DeliveryRow
    event: StoredEvent | None
    held: int  # deliveries that wait behind it


def page(connection: sqlite3.Connection, selection: Selection, limit: int = reading.PAGE) -> list[StoredEvent]:
    """The next events of a selection, at most `limit`."""
    return _named(connection, reading.page(connection, selection, limit))


def before_last(connection: sqlite3.Connection, selection: Selection, count: int) -> int:
    """The position after which the last `count` events of a selection come, or all if there are fewer."""
    if count <= 0:
        return max(reading.last_position(connection), selection.after)
    if selection.type_ids == ():
        return selection.after
    text, values = attrs.evolve(selection, backward=True).query(count)
    (first,) = connection.execute(f"SELECT min(position) FROM ({text})", values).fetchone()
    return selection.after if first is None else int(first) - 1


def find(connection: sqlite3.Connection, key: str, *, limit: int = 2) -> list[StoredEvent]:
    """The event with this position or id, or those whose id begins so (at most `limit`)."""
    rows = []
    if key.isascii() and key.isdecimal() and len(key) < 19:  # more digits would not fit a position
        rows = [reading.one(connection, int(key))]
    if not any(rows):
        rows = connection.execute(_ID_BEGINS, (key, key + "\U0010ffff", limit)).fetchall()
    return _named(connection, [row for row in rows if row is not None])


def by_id(connection: sqlite3.Connection, event_id: str) -> StoredEvent | None:
    """The event with exactly this id."""
    row = reading.one(connection, event_id)
    return None if row is None else _named(connection, [row])[0]


def effects(connection: sqlite3.Connection, event_id: str, *, limit: int) -> tuple[int, list[StoredEvent]]:
    """How many events were published while this one was handled, and the first `limit` of them."""
    (count,) = connection.execute(_COUNT_EFFECTS, (event_id,)).fetchone()
    return int(count), _named(connection, connection.execute(_EFFECTS, (event_id, limit)).fetchall())


def _named(connection: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> list[StoredEvent]:
    if not rows:
        return []
    known = types(connection)
    sources: dict[int, str] = dict(connection.execute(_SOURCES).fetchall())
    found: list[StoredEvent] = []
    for position, event_id, type_id, stream, sequence, time, source_id, *rest in (row[:12] for row in rows):
        type_ = known.get(type_id) or StoredType(type_id, f"(type {type_id})", 0, "", ())
        source = sources.get(source_id, f"(source {source_id})")
        found.append(StoredEvent(position, event_id, type_, stream, sequence, time, source, *rest))
    return found


def standings(connection: sqlite3.Connection, event: StoredEvent) -> list[Standing]:
    """Where the event stands with each subscription that it concerns; a version that was passed over does not."""
    found: list[Standing] = []
    for row in map(subscriptions.with_backfill, subscriptions.everyone(connection)):
        since = lag.since(row, event.type)
        delivery = deliveries.one(connection, row.id, event.position)
        standing = Standing(
            row, "running", delivery, subscriptions.owner(connection, row.id), circuit_of(connection, row)
        )
        if delivery is not None:
            found.append(attrs.evolve(standing, disposition=delivery.state))
        elif since is not None and event.position > since:
            seen = event.position <= lag.seen(row, event.type)
            disposition: Disposition = "handled" if seen else _normal(connection, standing, event.position)
            if disposition == "handled" and letters.was_discarded(connection, event.id, row):
                disposition = "discarded"
            if disposition != "handled" or not subscriptions.is_other_version(row.types, event.type):
                found.append(attrs.evolve(standing, disposition=disposition))
    return found


def _normal(connection: sqlite3.Connection, standing: Standing, position: int) -> Disposition:
    row, circuit = standing.subscription, standing.circuit
    if position <= row.cursor or position in ahead_of(connection, row):
        return "handled"
    if row.order_by == "log" and deliveries.stop(connection, row.id) is not None:
        return "held"
    stands = row.state in subscriptions.STANDING or (circuit is not None and circuit.state == "open")
    return "running" if position <= row.claim and standing.owner is not None and not stands else "waiting"


def dead_letters(
    connection: sqlite3.Connection,
    row: SubscriptionRow,
    wanted: Wanted = letters.ALL,
    *,
    after: int = 0,
    limit: int = reading.PAGE,
) -> list[DeadLetter]:
    """The dead letters of one subscription at positions above `after`."""
    rows = letters.dead(connection, row.id, wanted, after=after, limit=limit)
    found = [dead_letter(connection, row, each.position) for each in rows]
    return [letter for letter in found if letter is not None]


def dead_letter(connection: sqlite3.Connection, row: SubscriptionRow, position: int) -> DeadLetter | None:
    """The dead letter of one subscription at one position."""
    delivery = deliveries.one(connection, row.id, position)
    if delivery is None or delivery.state != "dead":
        return None
    stored = reading.one(connection, position)
    held = letters.count_held(connection, row.id, delivery)
    return DeadLetter(row, delivery, _named(connection, [stored])[0] if stored else None, held)


def attempts(
    connection: sqlite3.Connection, row: SubscriptionRow, position: int, *, limit: int = reading.PAGE
) -> list[StoredAttempt]:
    """The last failed tries of a delivery in the subscription's present run, oldest first."""
    found = connection.execute(_ATTEMPTS, (row.id, row.run, position, limit)).fetchall()
    return [StoredAttempt(*each) for each in reversed(found)]
