"""Moving what is in the -wal into the file, safely.

SQLite 3.7.0 to 3.51.2 can corrupt a file when a checkpoint runs while another connection restarts
the WAL. A restart needs the write lock, so we hold it while a second connection checkpoints.
"""

from __future__ import annotations

import os
import sqlite3

import attrs

from eventbus.store.location import Location

ENOUGH_FRAMES = 400  # checkpoint from here on; well below the 1,000 at which a foreign connection does it by itself

_WAL_HEADER = 32
_FRAME_HEADER = 24
_PAGE = 4096


@attrs.frozen
class CheckpointResult:
    """Of `frames` in the -wal, `moved` are in the file now; `busy` when another process was writing."""

    frames: int
    moved: int
    busy: bool = False

    @property
    def complete(self) -> bool:
        """True if the file alone holds everything."""
        return not self.busy and self.frames == self.moved


def run(writer: sqlite3.Connection, partner: sqlite3.Connection) -> CheckpointResult:
    """Checkpoint through `partner` while `writer` holds the write lock; neither may be in a transaction.

    Does not wait for another process that is writing: the result says busy. Raises sqlite3.Error.
    """
    try:
        writer.execute("BEGIN IMMEDIATE").close()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return CheckpointResult(0, 0, busy=True)
        raise
    try:
        busy, frames, moved = partner.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    finally:
        writer.execute("COMMIT").close()
    return CheckpointResult(max(frames, 0), max(moved, 0), busy=bool(busy))


def wal_frames(location: Location) -> int:
    """About how many frames the -wal has room for, by its size; an upper bound, as frames are reused."""
    if location.path is None:
        return 0
    try:
        size = os.stat(location.path + "-wal").st_size
    except FileNotFoundError:
        return 0
    return max(0, size - _WAL_HEADER) // (_PAGE + _FRAME_HEADER)
