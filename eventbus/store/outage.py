"""A file that cannot be written: nothing more is written to it before it is known that it can be.

What a failed sync leaves behind cannot be told: the system may have dropped what it could not write, and takes the
next sync for a success. So before anything else is acknowledged the log is opened anew and all of the -wal is moved
into the file: what is written after that begins a new one. Reading goes on meanwhile.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from eventbus.clock import Clock
from eventbus.errors import LogError, LogFull, LogIOError
from eventbus.store import disk

EVERY = 1.0  # seconds between two attempts to write
PATIENCE = 6  # commits in a row that failed, after which it waits so long even though a probe succeeds

_log = logging.getLogger("eventbus.store")


class Outage:
    """Begins with a commit in doubt and ends when the log was opened anew; only inside the turnstile."""

    def __init__(self, path: str, clock: Clock, reopen: Callable[[], None]) -> None:
        self._path, self._clock, self._reopen = path, clock, reopen
        self._reason: LogError | None = None
        self._failures = 0
        self._next = 0.0

    @property
    def is_on(self) -> bool:
        """True while nothing may be written."""
        return self._reason is not None

    def begin(self, reason: LogError) -> None:
        """A commit's outcome is open."""
        if self._reason is None:
            _log.error("%s: nothing is written for now: %s", self._path, reason.what)
        self._reason = reason
        self._failures += 1
        self._next = self._clock.monotonic() + (EVERY if self._failures > PATIENCE else 0.0)

    def check(self) -> None:
        """Before a transaction: end it if that can be done now, else raise why nothing is written, at once."""
        if self._reason is None:
            return
        if self._clock.monotonic() < self._next:
            raise self._refused(self._reason)
        self._next = self._clock.monotonic() + EVERY
        error = disk.probe(self._path)
        if error is not None:
            raise self._refused(self._reason, f"writing another file there fails with {error.strerror!r}") from error
        self.end()

    def end(self) -> None:
        """Open the log anew; raises LogError if that does not succeed."""
        reason = self._reason
        try:
            self._reopen()
        except LogError as error:
            raise self._refused(reason or error, f"opening it anew fails: {error.what}") from error
        self._reason = None
        if reason is not None:
            _log.warning("%s: it could be opened anew, and is written again", self._path)

    def succeeded(self) -> None:
        """A synced commit came through."""
        self._failures = 0

    def _refused(self, reason: LogError, more: str = "") -> LogError:
        told = LogFull if isinstance(reason, LogFull) else LogIOError
        # The reason's own words begin with the path, as this error's do again.
        what = reason.what.removeprefix(f"{self._path}: ").rstrip(".")
        return told(
            self._path,
            f"nothing is written since a commit failed ({what}){'; ' + more if more else ''}.",
            stored="not stored",
            hint="Look after the disk; the bus tries again by itself, once a second.",
        )
