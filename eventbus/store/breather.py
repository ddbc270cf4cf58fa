"""Leaving the log free now and then while this process writes without a pause.

SQLite's write lock has no queue. Whoever waits for it looks again after ever longer waits, 25 ms by the time it has
waited for a tenth of a second and 100 ms in the end, and where one process begins its next transaction right
after the last it finds the lock taken each time. So a process that has hardly let go of it for BUSY_SECONDS rests
for as long as others sleep between two looks: each of them looks at least once meanwhile.

It costs a fifth of what a saturated process could write, and only while another process, or a connection that the bus
has lent here, has the log open as well.
"""

from __future__ import annotations

from eventbus.clock import Bell, Clock
from eventbus.store.company import Company

# With the rest as long as others look at least every 25 ms (sqliteDefaultBusyCallback in SQLite's main.c).
BUSY_SECONDS = 0.102
REST_SECONDS = 0.026
ENOUGH = 0.35  # of the time free: then one of the first twelve looks is in time in 99 of 100 cases


class Breather:
    """Told when a transaction is about to begin and when one has ended; by one thread at a time."""

    def __init__(self, path: str | None, clock: Clock) -> None:
        self._company = None if path is None else Company(path)
        self._clock = clock
        self._since = 0.0  # when it was last free for long
        self._free = 0.0  # seconds since then
        self._began = self._ended = 0.0
        self.rests = 0

    def begin(self, *, lent: object) -> None:
        """Rest, if it is time and somebody may wait. `lent`: true if a connection of this process is not its own."""
        now, length = self._clock.monotonic(), self._ended - self._began  # the next one may take as long as the last
        free = now - self._ended
        self._began = now
        if free >= REST_SECONDS:
            self._since, self._free = now, 0.0
            return
        self._free += free
        busy = now - self._since
        if busy + length < BUSY_SECONDS or self._company is None:
            return
        if self._free < ENOUGH * busy and (lent or self._company.is_there()):
            self.rests += 1
            self._clock.wait(Bell(), REST_SECONDS)
            self._began = now = self._clock.monotonic()
        self._since, self._free = now, 0.0

    def end(self) -> None:
        """A transaction has ended: the lock is free."""
        self._ended = self._clock.monotonic()
