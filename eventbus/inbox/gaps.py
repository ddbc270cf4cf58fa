"""Gaps that are open for too long: looked at in the pump's rounds, and followed by what their sender's row says."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

from eventbus.clock import STEADY_SECONDS, ClockWatch, from_iso, iso
from eventbus.errors import EventBusError, SequenceMissing
from eventbus.handlers import SubscriptionDeclaration
from eventbus.inbox.intake import GAPS, Intake
from eventbus.ordering import gap
from eventbus.retry import Retry
from eventbus.store import inbox, letters, reading, subscriptions
from eventbus.store.drafts import Appended, Draft
from eventbus.store.inbox import SenderRow
from eventbus.store.storage import Storage
from eventbus.technical import SequenceGap

T = TypeVar("T")

_log = logging.getLogger("eventbus.inbox")

EVERY = 1.0  # seconds between two looks
LAST = "9999"  # after every time that is stored


class GapWatch:
    """The open gaps of one log, as one process looks at them; `look` is called in each of the pump's rounds.

    `declare` has the subscription delivered here whose dead letters ask a person; `tell` hears of what was stored.
    """

    def __init__(
        self,
        storage: Storage,
        intake: Intake,
        *,
        record: Callable[[object], Draft],
        declare: Callable[[SubscriptionDeclaration], object],
        tell: Callable[[Sequence[Appended]], object],
    ) -> None:
        self._storage, self._intake, self._record = storage, intake, record
        self._declare, self._tell = declare, tell
        self._next = 0.0
        self._declared = False
        self._clock_watch = ClockWatch(storage.clock)

    def hurry(self) -> None:
        """Look in the next round, whenever the last look was."""
        self._next = 0.0

    def look(self) -> bool:
        """Follow what is due, and what a person has decided; True if anything was stored."""
        clock = self._storage.clock
        if clock.monotonic() < self._next:
            return False
        self._next = clock.monotonic() + EVERY
        self._notice_the_clock()
        with self._storage.reading() as connection:
            due = inbox.due(connection, iso(clock.time()))
            asked = inbox.asked(connection)
            is_used = bool(subscriptions.named(connection, GAPS)) or inbox.is_due_to_ask(connection, iso(clock.time()))
        if is_used and not self._declared:
            self._declare(self._declaration())
        self._declared = is_used
        appended = [each for row_id in due for each in self._without_stopping(self._follow, row_id)]
        appended += [each for row in asked for each in self._without_stopping(self._decided, row)]
        if appended:
            self._tell(appended)
            self.hurry()  # behind what was given up there may be another gap
        return bool(appended)

    def _notice_the_clock(self) -> None:
        """What waits has waited neither longer nor shorter because the wall clock was set.

        Two processes may notice it at once: what one has set right does not look wrong to the other.
        """
        clock, moved = self._storage.clock, self._clock_watch.moved()
        now = clock.time()
        with self._storage.reading() as connection:
            ahead = inbox.arrived(connection, iso(now + STEADY_SECONDS), LAST)
            before = inbox.arrived(connection, "", iso(now - moved)) if moved > 0 else []
        if not (ahead or before):
            return
        with self._storage.writing(synced=False) as connection:
            for row_id, number, _ in ahead:
                inbox.set_arrival(connection, row_id, number, iso(now))
            for row_id, number, at in before:
                inbox.set_arrival(connection, row_id, number, iso(from_iso(at).timestamp() + moved))
            for row_id in {row_id for row_id, *_ in (*ahead, *before)}:
                row, since = inbox.with_id(connection, row_id), inbox.earliest(connection, row_id)
                if row is not None and row.due is not None and since is not None and row.gap_timeout is not None:
                    inbox.set_due(connection, row_id, since, iso(from_iso(since).timestamp() + row.gap_timeout))

    def _without_stopping(self, act: Callable[[T], list[Appended]], what: T) -> list[Appended]:
        """What goes wrong with one sender delays neither the others nor any delivery; it is tried again."""
        try:
            return act(what)
        except EventBusError as error:
            _log.warning("a gap of numbers stays open; it is looked at again in %g s: %s", EVERY, error)
            return []

    # -- the policies ------------------------------------------------------------------------------
    def _follow(self, row_id: int) -> list[Appended]:
        """Decided again in here: another process may have done it, or what was missing has come."""
        appended: list[Appended] = []
        with self._storage.writing() as connection:
            now = iso(self._storage.clock.time())
            while (row := inbox.with_id(connection, row_id)) is not None and row.due is not None and row.due <= now:
                if row.on_gap == "dead":
                    appended += self._ask(connection, row)
                else:
                    appended += self._intake.give_up(connection, row, None, "timeout")
        return appended

    def _ask(self, connection: sqlite3.Connection, row: SenderRow) -> list[Appended]:
        """Store what becomes a dead letter."""
        missing = gap(row.expected, inbox.ahead(connection, row.id, row.expected))
        assert missing is not None
        assert row.since is not None
        source = self._storage.names.source_named(row.source_id)
        event = SequenceGap(source, row.stream or None, missing.first, missing.last, row.buffered, row.since)
        now = iso(self._storage.clock.time())
        appended = self._storage.appender.append(connection, [self._record(event)], now)
        self._intake.asked(connection, row, appended[0].receipt.position, missing.last)
        return appended

    def _decided(self, row: SenderRow) -> list[Appended]:
        """Go on without what is missing where a person has discarded the dead letter; ask again if it was forgotten."""
        with self._storage.reading() as connection:
            is_forgotten = not subscriptions.named(connection, GAPS)
            if not is_forgotten and not self._was_discarded(connection, row):
                return []
        with self._storage.writing() as connection:
            now = inbox.with_id(connection, row.id)
            if now is None or now.asked != row.asked:  # another process has done it, or what was missing has come
                return []
            if is_forgotten:
                self._intake.asked(connection, now, None, None)
                self.hurry()
                return []
            return self._intake.give_up(connection, now, now.asked_to, "discarded", cause=now.asked)

    def _was_discarded(self, connection: sqlite3.Connection, row: SenderRow) -> bool:
        assert row.asked is not None
        event = reading.one(connection, row.asked)
        readers = subscriptions.named(connection, GAPS)
        return event is not None and any(letters.was_discarded(connection, event[1], each) for each in readers)

    # -- the dead letters --------------------------------------------------------------------------
    def _declaration(self) -> SubscriptionDeclaration:
        return SubscriptionDeclaration(
            GAPS, (SequenceGap,), self._still_missing, retry=Retry(attempts=1), order_by=None, is_own=True
        )

    def _still_missing(self, asked: SequenceGap) -> None:
        """Fail, which makes a dead letter, while it is missing."""
        with self._storage.reading() as connection:
            for sender in inbox.senders(connection, asked.source, gaps=True):
                if sender.stream == asked.stream and sender.missing and sender.missing.first <= asked.last:
                    missing = sender.missing
                    last = min(missing.last, asked.last)
                    raise SequenceMissing(asked.source, asked.stream, missing.first, last, sender.buffered)
