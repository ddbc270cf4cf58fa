"""The watch over transactions of user SQL: one that keeps the log locked for too long is taken away."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from eventbus.clock import Bell, Clock, SystemClock
from eventbus.store.guarded import TRANSACTION_SECONDS
from eventbus.store.guest import Guest
from eventbus.store.turnstile import Turn

_log = logging.getLogger("eventbus.store")


class Watch:
    """Calls `revoke` with a guest whose transaction is open for longer than TRANSACTION_SECONDS, once.

    To begin and to end a transaction costs a lock and a note. One thread sleeps as long as a transaction may
    take, and goes if there is none when it wakes; a clock that tells when it moves is followed instead.
    """

    def __init__(self, clock: Clock, revoke: Callable[[Guest, Turn | None], None]) -> None:
        self._clock, self._revoke = clock, revoke
        self._lock = threading.Lock()
        self._guest: Guest | None = None
        self._turn: Turn | None = None
        self._due = 0.0
        self._bell = Bell()
        self._watching = self._closed = False
        self._unfollow: Callable[[], None] | None = None

    def arm(self, guest: Guest, turn: Turn | None) -> None:
        """A transaction of this guest's has begun in this turn; there is one at a time."""
        with self._lock:
            self._guest, self._turn, self._due = guest, turn, self._clock.monotonic() + TRANSACTION_SECONDS
            if self._watching:
                return
            self._watching = True
        self._begin()

    def disarm(self, guest: Guest) -> bool:
        """The transaction ends, and cannot be taken away any more; False if it has been."""
        with self._lock:
            if self._guest is guest:
                self._guest = None
            return not guest.overdue

    def expire(self) -> None:
        """Take the transaction of a durable handler away now, if one is open: there is no time left for it."""
        with self._lock:
            guest, turn = self._guest, self._turn
            if guest is None or not guest.is_delivering:
                return
            self._guest = None
            guest.overdue = True
        self._revoke(guest, turn)

    def close(self) -> None:
        """Watch no more."""
        self._closed = True
        self._bell.ring()
        if self._unfollow is not None:
            self._unfollow()

    def _begin(self) -> None:
        follow = None if isinstance(self._clock, SystemClock) else getattr(self._clock, "on_advance", None)
        if follow is not None:
            self._unfollow = follow(self._look)
            return
        try:
            threading.Thread(target=self._run, name="eventbus-watch", daemon=True).start()
        except RuntimeError:  # the interpreter is ending: it ends this transaction as well
            self._watching = False

    def _run(self) -> None:
        seconds: float | None = TRANSACTION_SECONDS  # what begins while this sleeps is due after it wakes
        while seconds is not None:
            self._clock.wait(self._bell, seconds)
            self._look()
            seconds = self._next()

    def _next(self) -> float | None:
        """How long to sleep; None if there is nothing to watch."""
        with self._lock:
            if self._closed or self._guest is None:
                self._watching = False
                return None
            return max(0.0, self._due - self._clock.monotonic())

    def _look(self) -> None:
        with self._lock:
            guest, turn = self._guest, self._turn
            if guest is None or self._clock.monotonic() < self._due:
                return
            self._guest = None
            guest.overdue = True
        try:
            self._revoke(guest, turn)
        except Exception:
            _log.exception("a transaction that was open for too long could not be taken away")
