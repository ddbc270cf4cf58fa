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
    """Checkpoint through `partner` while `writer` holds the write lock; `partner` is in no transaction.

    `writer` may be in a write transaction in which it has written nothing yet; otherwise this does not wait for
    another process that is writing: the result says busy. Raises sqlite3.Error.
    """
    if writer.in_transaction:
        return _move(partner)
    try:
        writer.execute("BEGIN IMMEDIATE").close()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            return CheckpointResult(0, 0, busy=True)
        raise
    try:
        return _move(partner)
    finally:
        writer.execute("ROLLBACK").close()  # nothing was written


def _move(partner: sqlite3.Connection) -> CheckpointResult:
    busy, frames, moved = partner.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    return CheckpointResult(max(frames, 0), max(moved, 0), busy=bool(busy))


def bytes_of(frames: int, page_size: int = _PAGE) -> int:
    """How long a -wal with so many frames is."""
    return _WAL_HEADER + frames * (page_size + _FRAME_HEADER)


def kept() -> int:
    """To how many bytes SQLite cuts a -wal that is begun anew; what is longer than that is being written."""
    return bytes_of(ENOUGH_FRAMES)


def wal_bytes(path: str | None) -> int:
    """How long the -wal of a log is, 0 if there is none."""
    if path is None:
        return 0
    try:
        return os.stat(path + "-wal").st_size
    except OSError:
        return 0


def wal_frames(location: Location) -> int:
    """About how many frames the -wal has room for, by its size; an upper bound, as frames are reused."""
    return max(0, wal_bytes(location.path) - _WAL_HEADER) // (_PAGE + _FRAME_HEADER)
