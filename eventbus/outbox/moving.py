"""Moving rows into the log: a page at a time, in order, by whichever process delivers."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence

from eventbus.clock import iso
from eventbus.errors import EventBusError
from eventbus.handlers import handling
from eventbus.outbox.doors import EVERY, Door, OwnFile
from eventbus.outbox.reading import draft_of, event_of
from eventbus.outbox.refusing import SUBSCRIPTION, Refusals
from eventbus.store import subscriptions
from eventbus.store.drafts import Appended, Draft
from eventbus.store.outbox import OutboxRow, Unreachable
from eventbus.store.storage import Storage
from eventbus.store.trouble import is_of_the_log
from eventbus.threads import is_ctrl_c

_PATIENT = 5  # looks at a file that is locked before that is worth a word

_log = logging.getLogger("eventbus.outbox")


class Outboxes:
    """The outboxes that one engine reads; `look` is called in each of the pump's rounds, one thread at a time."""

    def __init__(
        self,
        storage: Storage,
        *,
        source: str,
        max_payload: int,
        announce: Callable[[Sequence[Appended]], None],
        deliver: Callable[[Refusals], None],
        is_delivered: Callable[[int], bool],
    ) -> None:
        self._storage, self._max_payload, self._announce = storage, max_payload, announce
        self._deliver, self._is_delivered = deliver, is_delivered
        self._refusals = Refusals(storage, max_payload)
        self._doors: list[Door] = [OwnFile(storage, source)]
        self._leaving: list[Door] = []
        self._troubled: dict[Door, int] = {}  # looks in a row that failed
        self._own_polls: list[float] = [EVERY]
        self._next_declaring = 0.0

    # -- what is read ------------------------------------------------------------------------------
    def add(self, door: Door) -> None:
        """Read another application's outbox, too."""
        self._doors.append(door)

    def remove(self, door: Door) -> None:
        """Read it no more; its file is closed in the next round, as it may be in use."""
        if door in self._doors:
            self._doors.remove(door)
            self._leaving.append(door)

    def hasten(self, poll: float) -> None:
        """Look at the own file every `poll` seconds, too."""
        self._own_polls.append(poll)

    def slow_down(self, poll: float) -> None:
        """As before `hasten`."""
        self._own_polls.remove(poll)

    @property
    def tick(self) -> float:
        """How many seconds the pump may wait for the next look."""
        return min(*self._own_polls, *(door.poll for door in self._doors))

    # -- looking -----------------------------------------------------------------------------------
    def look_now(self) -> None:
        """Have the next round look everywhere, whenever it was looked there last."""
        self._next_declaring = 0.0
        for door in list(self._doors):
            door.next_look = 0.0

    def look(self) -> bool:
        """Move a page of each outbox whose time has come; True if there was any."""
        self._close_leaving()
        self._declare()
        # The own file in each round: it costs a read, and a commit of this process may just have filled it.
        now = self._storage.clock.monotonic()
        due = [door for door in list(self._doors) if door.path is None or door.next_look <= now]
        moved = [self._look_at(door, now) for door in due]  # all of them, not up to the first that moved
        return any(moved)

    def _look_at(self, door: Door, now: float) -> bool:
        try:
            moved = self._move(door)
        except Unreachable as trouble:
            door.next_look = now + max(door.poll, EVERY)
            self._tell(door, trouble)
            return False
        if self._troubled.pop(door, 0) >= _PATIENT:
            _log.info("the outbox of %s can be read again", door.path)
        if not moved:
            door.next_look = now + door.poll
        return moved

    def _tell(self, door: Door, trouble: Unreachable) -> None:
        """Say what is wrong, once; a lock is nothing unusual, unless it lasts."""
        before = self._troubled.get(door, 0)
        now = self._troubled[door] = before + 1 if trouble.locked else max(before + 1, _PATIENT)
        if before < _PATIENT <= now:
            _log.warning("an outbox cannot be read; it is tried again every %g s: %s", EVERY, trouble)

    def _declare(self) -> None:
        """Deliver what was refused in another process, or before this one began; looked at once a second."""
        now = self._storage.clock.monotonic()
        if now >= self._next_declaring:
            self._next_declaring = now + EVERY
            with self._storage.reading() as connection:
                rows = subscriptions.named(connection, SUBSCRIPTION)
            self._have_delivered(rows[0].id if rows else None)

    def _have_delivered(self, row_id: int | None) -> None:
        if row_id is not None and not self._is_delivered(row_id):
            self._deliver(self._refusals)

    # -- moving ------------------------------------------------------------------------------------
    def _move(self, door: Door) -> bool:
        rows = door.page()
        if not rows or self._storage.custody.room.is_short:  # they are safe where they are
            return False
        # The app's classes are run before the lock is taken: they may take their time, or use the bus.
        ready = {row.position: self._ready(door, row) for row in rows}
        appended: list[Appended] = []
        with self._storage.writing() as connection:
            now = iso(self._storage.clock.time())
            rows = door.still_there(connection, rows)
            refusals = 0
            for row in rows:
                added, refused = self._append(connection, door, row, ready[row.position], now)
                appended += added
                refusals += refused
            door.take(connection, rows)
            known = subscriptions.named(connection, SUBSCRIPTION) if refusals else ()
        if appended:
            self._announce(appended)
        if known:
            self._have_delivered(known[0].id)
        door.committed(rows)
        return True

    def _ready(self, door: Door, row: OutboxRow) -> Draft | BaseException:
        token = handling.set(None)  # whoever drains is not the cause of what others have inserted
        try:
            event = event_of(row, self._storage.names.vocabulary, self._max_payload)
            return draft_of(row, event, self._refusals.drafter(door.source, self._max_payload), self._max_payload)
        except BaseException as error:  # an event's class may raise anything, and must not stop those after it
            if is_ctrl_c(error):
                raise
            return error
        finally:
            handling.reset(token)

    def _append(
        self, connection: sqlite3.Connection, door: Door, row: OutboxRow, ready: Draft | BaseException, now: str
    ) -> tuple[list[Appended], bool]:
        """Append a row's event, or the record of its refusal; whether it was refused."""
        appender = self._storage.appender
        if isinstance(ready, Draft):
            try:
                return appender.append(connection, [ready], now), False
            except EventBusError as error:  # its id, its causes: whatever it is, those behind it must not wait for it
                if is_of_the_log(error):
                    raise
                ready = error
        _log.info("row %d of %s is refused: %s", row.position, door.path or "the outbox", ready)
        self._refusals.settle(connection, now)
        record = self._refusals.record(row, door.source, door.path, ready)
        return appender.append(connection, [record], now), True

    # -- the end -----------------------------------------------------------------------------------
    def _close_leaving(self) -> None:
        while self._leaving:
            self._leaving.pop().close()

    def close(self) -> None:
        """Close what is open; nothing is looked at any more."""
        for door in (*self._doors, *self._leaving):
            door.close()
