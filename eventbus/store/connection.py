"""A connection with our settings; the one place that calls `sqlite3.connect` on a log."""

from __future__ import annotations

import sqlite3
import sys
from typing import TypeVar

from eventbus.errors import EventBusError
from eventbus.store.checkpoint import kept
from eventbus.store.location import Location
from eventbus.store.trouble import translate

OLDEST_SQLITE = (3, 37, 0)  # STRICT tables; the shared memory file system came with 3.36

# A first connection may meet another process in recovery or in its last close; SQLite's own waiting fits there.
_SETUP_SECONDS = 5.0

_STATEMENTS_CACHED = 256

C = TypeVar("C", bound=sqlite3.Connection)

_SETTINGS = (
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
    "PRAGMA mmap_size = 0",
    # A checkpoint beside another connection's restart of the WAL can corrupt the file in SQLite up to
    # 3.51.2; store/checkpoint.py runs them under the write lock instead.
    "PRAGMA wal_autocheckpoint = 0",
    "PRAGMA synchronous = FULL",
)
_SETTINGS_MACOS = ("PRAGMA fullfsync = ON", "PRAGMA checkpoint_fullfsync = ON")


def connect(location: Location, *, writable: bool) -> sqlite3.Connection:
    """A connection for one thread at a time, in autocommit, that never waits by itself.

    `writable=False` refuses changes but can still run a checkpoint. Raises LogError.
    """
    return connect_as(sqlite3.Connection, location, writable=writable)


def connect_as(kind: type[C], location: Location, *, writable: bool) -> C:
    """`connect`, as a subclass of sqlite3.Connection."""
    uri = location.uri if location.memory else location.asking(mode="rw")
    return open_uri(kind, location, uri, (*settings(), *(() if writable else ("PRAGMA query_only = ON",))))


def settings() -> tuple[str, ...]:
    """The PRAGMA statements each connection to a log begins with, on this platform."""
    # Of the -wal as much is kept for reuse as we let grow: what is beyond that tells when a checkpoint is due.
    common = (*_SETTINGS, f"PRAGMA journal_size_limit = {kept()}")
    return common + _SETTINGS_MACOS if sys.platform == "darwin" else common


def open_uri(kind: type[C], location: Location, uri: str, statements: tuple[str, ...]) -> C:
    """Open `uri` and run `statements`; afterwards a lock is reported at once. Raises LogError."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise EventBusError(
            f"This Python links SQLite {sqlite3.sqlite_version}; a log needs {'.'.join(map(str, OLDEST_SQLITE))}.",
            hint="Use a Python with a newer SQLite.",
        )
    try:
        connection = sqlite3.connect(
            uri,
            timeout=_SETUP_SECONDS,
            isolation_level=None,
            check_same_thread=False,
            factory=kind,
            cached_statements=_STATEMENTS_CACHED,
            uri=True,
        )
    except sqlite3.Error as error:
        raise translate(location.name, error, during="open") from error
    try:
        for statement in (*statements, "PRAGMA busy_timeout = 0"):
            connection.execute(statement).close()
    except sqlite3.Error as error:
        sqlite3.Connection.close(connection)  # whatever a subclass makes of close()
        raise translate(location.name, error, during="open") from error
    return connection
