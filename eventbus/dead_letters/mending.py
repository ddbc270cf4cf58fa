"""`bus.dead_letters`: try again, edit, discard; each with a record of who did it and why."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Unpack

import attrs

from eventbus import technical
from eventbus.clock import iso
from eventbus.dead_letters.alerting import Alerts
from eventbus.dead_letters.editing import DISCARDED, EDITED, Check, edited_payload, refuse_projection
from eventbus.dead_letters.finding import Finder, several
from eventbus.dead_letters.letter import DeadLetter, Filters, Found, Which
from eventbus.errors import EventBusError, LogCorrupt
from eventbus.events import Envelope
from eventbus.handlers import Registration
from eventbus.people import user
from eventbus.store import deliveries, letters, reading, steps, subscriptions
from eventbus.store.drafter import Drafter
from eventbus.store.drafts import Appended, Draft
from eventbus.store.storage import Storage
from eventbus.store.subscriptions import SubscriptionRow

LISTED = 100  # dead letters that `list` returns unless told otherwise
AT_ONCE = 1000  # that one action takes on unless told otherwise: they share a commit
_ROOM = 4  # an edit is recorded within a technical event, as text: escaped, it may be so much longer


class DeadLetters:
    """The dead letters of one log."""

    def __init__(
        self,
        storage: Storage,
        *,
        source: str,
        max_payload: int,
        changed: Callable[[int], None],
        announce: Callable[[Sequence[Appended]], None],
        emit: Callable[[object], None],
        alerts: Alerts,
    ) -> None:
        self._storage, self._max_payload = storage, max_payload
        self._finder, self._alerts = Finder(storage), alerts
        self._changed, self._announce, self._emit = changed, announce, emit
        self._drafter = Drafter(
            storage.names.vocabulary, storage.clock, source=source, max_payload=_ROOM * max_payload + (1 << 16)
        )

    # -- looking -----------------------------------------------------------------------------------
    def list(self, *, limit: int = LISTED, **filters: Unpack[Filters]) -> Found:
        """At most `limit` dead letters, by subscription and position."""
        return self._finder.look((), filters, limit)

    def get(self, which: Which, subscription: str | None = None) -> DeadLetter | None:
        """The dead letter of an event (its id, position or receipt) with its failed attempts; None if there is none.

        EventBusError where several subscriptions have one and `subscription` does not say which.
        """
        filters: Filters = {} if subscription is None else {"subscription": subscription}
        with self._storage.reading() as connection:
            self._storage.names.refresh(connection)
            found = self._finder.of(connection, which, self._finder.rows(connection, filters))
            if len(found) > 1:
                raise several(which)
            return self._finder.letter(connection, *found[0], with_failures=True) if found else None

    def alert(
        self, *, count: int | None = None, age: float | None = None, subscription: str | None = None
    ) -> Registration:
        """Emit DeadLettersAlert once when a subscription has `count` dead letters, or one of `age` seconds.

        Looked at by the bus that delivers, once a second; again only after it has fallen below. `close()` ends it.
        """
        return self._alerts.add(count=count, age=age, subscription=subscription)

    # -- acting ------------------------------------------------------------------------------------
    def retry(
        self,
        *which: Which,
        reason: str | None = None,
        who: str | None = None,
        limit: int = AT_ONCE,
        dry_run: bool = False,
        **filters: Unpack[Filters],
    ) -> Found:
        """Have dead letters tried again, with all their attempts before them; returns them.

        Those named, or at most `limit` of those the filters mean. What is held behind each follows one by one,
        and stays held if it dies again. `dry_run`: return what would be tried, in order, and change nothing.
        """
        if dry_run:
            return self._finder.look(which, filters, limit)

        def retried(connection: sqlite3.Connection, row: SubscriptionRow, letter: DeadLetter, now: str) -> list[object]:
            letters.revive(connection, row.id, letter.position, now)
            subscriptions.changed(connection, row.id, now)
            return [technical.DeadLetterRetried(*_about(letter), who=who or user(), why=reason)]

        done = self._act(which, filters, limit, retried)
        for letter in done:
            self._emit(technical.DeliveryRevived(*_about(letter)))
        return done

    def edit(
        self,
        which: Which,
        payload: object,
        *,
        subscription: str | None = None,
        reason: str | None = None,
        who: str | None = None,
        check: Check = "now",
    ) -> DeadLetter:
        """Deliver another payload the next time: an event of the same class, a dict, or JSON text. Then `retry` it.

        The log keeps the event as it was, and this is for one subscription only. Raises InvalidEvent for what
        does not fit the event's class, UnknownEvent where it is not loaded; `check="later"` leaves that to the
        process which delivers it.
        """
        edits: list[str] = []

        def edited(connection: sqlite3.Connection, row: SubscriptionRow, letter: DeadLetter, now: str) -> list[object]:
            refuse_projection(row.name, row.role, EDITED)
            if edits:
                raise several(which)
            edits.append(self._checked(letter, payload, check))
            letters.set_payload(connection, row.id, letter.position, edits[0])
            return [technical.DeadLetterEdited(*_about(letter), who=who or user(), why=reason, payload=edits[0])]

        filters: Filters = {} if subscription is None else {"subscription": subscription}
        (letter,) = self._act((which,), filters, AT_ONCE, edited)
        return attrs.evolve(letter, edited=edits[0])

    def discard(
        self,
        *which: Which,
        reason: str,
        who: str | None = None,
        whole_key: bool = False,
        limit: int = AT_ONCE,
        dry_run: bool = False,
        **filters: Unpack[Filters],
    ) -> Found:
        """Give dead letters up, counted as discarded; returns them. The next one held behind each is tried.

        Those named, or at most `limit` of those the filters mean. `whole_key` gives up what is held behind them
        as well.
        """
        if not which and not filters:
            raise EventBusError("Which dead letters are to be discarded?", hint='All of them: type="*".')
        if not reason:
            raise EventBusError("Discarding needs a reason=, which is recorded.", stored="not stored")
        if dry_run:
            return self._finder.look(which, filters, limit)

        def gone(connection: sqlite3.Connection, row: SubscriptionRow, letter: DeadLetter, now: str) -> list[object]:
            refuse_projection(row.name, row.role, DISCARDED)
            every = [letter, *(self._finder.held(connection, row, letter) if whole_key else ())]
            for each in every:
                deliveries.settle(connection, row.id, each.position)
                steps.forget(connection, row.id, each.position)
            if letter.order_key is not None:
                deliveries.release_next(connection, row.id, letter.order_key, now)
            subscriptions.changed(connection, row.id, now, discarded=len(every))
            by = who or user()
            return [technical.DeadLetterDiscarded(*_about(each), by, reason, row.run) for each in every]

        return self._act(which, filters, limit, gone)

    # -- how ---------------------------------------------------------------------------------------
    def _act(
        self,
        which: tuple[Which, ...],
        filters: Filters,
        limit: int,
        act: Callable[[sqlite3.Connection, SubscriptionRow, DeadLetter, str], Iterable[object]],
    ) -> Found:
        """Do something to each of those that are meant, and record it, in one commit."""
        done: Found = []
        appended: Sequence[Appended] = ()
        rows: set[int] = set()
        with self._storage.writing() as connection:
            self._storage.names.refresh(connection)
            now = iso(self._storage.clock.time())
            for row, delivery in self._finder.chosen(connection, which, filters, limit):
                letter = self._finder.letter(connection, row, delivery)
                told = act(connection, row, letter, now)
                drafts = [self._draft(connection, each) for each in told]
                appended = [*appended, *self._storage.appender.append(connection, drafts, now)]
                done.append(letter)
                rows.add(row.id)
        for row_id in rows:
            self._changed(row_id)
        self._announce(appended)
        return done

    def _draft(self, connection: sqlite3.Connection, told: Any) -> Draft:
        """What a person did was done for the event it is about: `show` tells of it there."""
        row = reading.one(connection, told.event_id) if told.event_id else None
        if row is None:
            return self._drafter.draft(told)
        draft = self._drafter.draft(told, causation_id=row[1], correlation_id=row[7] or row[1])
        draft.unbounded = True
        return draft

    def _checked(self, letter: DeadLetter, payload: object, check: Check) -> str:
        """The JSON that is stored; InvalidEvent, UnknownEvent."""
        envelope = letter.envelope
        if envelope is None:
            raise EventBusError(f"The event at position {letter.position} is gone from the log.", stored="not stored")
        return edited_payload(
            envelope.type,
            envelope.version,
            _readable(envelope),
            payload,
            check=check,
            find=self._storage.names.vocabulary.find,
            most=self._max_payload,
        )


def _readable(envelope: Envelope) -> str | bytes | None:
    """What the log has; None where that is damaged, which is why it gets another payload."""
    try:
        return envelope.payload
    except LogCorrupt:
        return None


def _about(letter: DeadLetter) -> tuple[str, str, str, int]:
    envelope = letter.envelope
    if envelope is None:
        return letter.subscription, "", "", letter.position
    return letter.subscription, envelope.id, envelope.type, letter.position
