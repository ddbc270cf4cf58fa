"""Reading a log without leaving a trace: no lock file made, no -wal, no -shm, no journal played back.

How to open it depends on what lies beside the file:

no -wal, no -shm        nobody has it open: read the file alone, `immutable`
a -wal and a -shm       live: read along with the others; left by a crash: read through the -shm without writing it
a -wal without a -shm   somebody brought both files here: an index of the -wal in this process's memory
a -wal without a commit  the file alone
a -journal              somebody writes, or crashed, before the file was a log in WAL mode: read under locks
"""

from __future__ import annotations

import os
import sqlite3
import weakref

import attrs

from eventbus.store.connection import open_uri
from eventbus.store.holders import is_live
from eventbus.store.location import Location
from eventbus.store.patience import Patience

_WAL_HEADER = 32  # bytes; a -wal no longer than this has nothing in it
WITHOUT_LOCKS = "win32-none" if os.name == "nt" else "unix-none"
_LOOK_ONLY = (
    "PRAGMA query_only = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA mmap_size = 0",
)


_pinning: weakref.WeakSet[Look] = weakref.WeakSet()


class Look(sqlite3.Connection):
    """A connection that changes nothing; `patience` is how long it may take to answer."""

    location: Location
    patience: Patience

    def close(self) -> None:
        """Stop looking."""
        super().close()
        _pinning.discard(self)


def keeps_from_writing(location: Location) -> bool:
    """True while a look of this process shares its read-only -shm with all that open the log here."""
    return any(look.location == location for look in _pinning)


@attrs.frozen
class Shape:
    """The file and what lies beside it, by `os.stat` alone; two equal shapes mean that nobody wrote between them."""

    file: tuple[int, int, int]  # inode, size, modified (ns); (0, 0, 0) if it is not there
    wal: int | None  # bytes
    shm: bool
    journal: int  # bytes

    @classmethod
    def of(cls, path: str) -> Shape:
        """Raises OSError where even looking is not allowed."""
        # The -wal first: a log being made by another process has its tables in the file before it has a -wal.
        wal, shm, journal = (_stat(path + end) for end in ("-wal", "-shm", "-journal"))
        file = _stat(path)
        return cls(
            (file.st_ino, file.st_size, file.st_mtime_ns) if file else (0, 0, 0),
            wal.st_size if wal else None,
            shm is not None,
            journal.st_size if journal else 0,
        )

    @property
    def size(self) -> int:
        """Bytes of the file itself."""
        return self.file[1]

    @property
    def is_missing(self) -> bool:
        """True if there is no file."""
        return self.file == (0, 0, 0)

    @property
    def has_frames(self) -> bool:
        """True if something may be in the -wal that is not in the file."""
        return (self.wal or 0) > _WAL_HEADER


def open_to_look(location: Location, shape: Shape) -> Look:
    """A connection that changes nothing, neither the log nor its folder. Raises LogError."""
    if shape.journal or (shape.shm and is_live(location.name)):
        return _open(location, location.asking(mode="ro"))
    # A -wal that holds nothing is not looked at: SQLite would delete it, or, where a -shm lies beside it that must not
    # be written, try for ten seconds to make sense of both.
    if not shape.has_frames or not _has_commit(location):
        return open_alone(location)
    if shape.shm:
        look = _open(location, location.asking(mode="ro", readonly_shm="1"))
        _pinning.add(look)
        return look
    # In this mode SQLite keeps the index of the -wal in memory instead of a -shm.
    uri = location.asking(mode="ro", vfs=WITHOUT_LOCKS)
    return _open(location, uri, "PRAGMA locking_mode = EXCLUSIVE")


def _has_commit(location: Location) -> bool:
    from eventbus.store import walfile  # hardly ever needed

    try:
        return walfile.has_commit(location.name + "-wal")
    except OSError:  # whoever reads it with SQLite is told
        return True


def open_alone(location: Location) -> Look:
    """A connection that reads the file and nothing beside it. Raises LogError."""
    return _open(location, location.asking(immutable="1"))


def _open(location: Location, uri: str, *first: str) -> Look:
    look = open_uri(Look, location, uri, (*first, *_LOOK_ONLY))
    look.location, look.patience = location, Patience()
    look.patience.guard(look)
    return look


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None
