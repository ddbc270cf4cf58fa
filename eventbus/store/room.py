"""Room on the disk: publishing stops before there is none, so that what is stored can still be handled.

With everything in the -wal a full disk cannot be tidied from within: a checkpoint fails, and so does a
DELETE. What handlers publish, what a person does and what moves cursors may use what is kept free here.
"""

from __future__ import annotations

import logging

from eventbus.clock import Clock
from eventbus.errors import LogFull
from eventbus.store import disk
from eventbus.store.checkpoint import wal_bytes

KEPT_FREE = 64 << 20  # bytes
SMALL_DISK = 16  # of a disk smaller than 1 GiB this part is kept free instead
EVERY = 1.0  # seconds between two looks

_log = logging.getLogger("eventbus.store")


class Room:
    """Whether events may still be published to the log at `path`; None is one in memory."""

    def __init__(self, path: str | None, clock: Clock) -> None:
        self._path, self._clock = path, clock
        self._next = 0.0 if path is not None else float("inf")
        self._lacking: tuple[int, int] | None = None

    def check(self) -> None:
        """Raise LogFull while there is too little; looks once a second at most, so that it goes on by itself."""
        now = self._clock.monotonic()
        if now >= self._next:
            self._next = now + EVERY
            self._look()
        if self._lacking is not None and self._path is not None:
            free, needed = self._lacking
            raise LogFull(
                self._path,
                f"{_mebibytes(free)} are free on the disk, and publishing stops below {_mebibytes(needed)}, so that"
                " what is stored can still be handled.",
            )

    @property
    def is_short(self) -> bool:
        """True while `check` raises."""
        try:
            self.check()
        except LogFull:
            return True
        return False

    def _look(self) -> None:
        before, self._lacking = self._lacking, None
        figures = disk.space(self._path) if self._path is not None else None
        if figures is not None:
            free, total = figures
            needed = max(min(KEPT_FREE, total // SMALL_DISK), 2 * wal_bytes(self._path))
            self._lacking = (free, needed) if free < needed else None
        if (before is None) != (self._lacking is None):
            _log.warning("%s: publishing %s", self._path, "goes on" if before else "stops: the disk is nearly full")


def _mebibytes(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"
