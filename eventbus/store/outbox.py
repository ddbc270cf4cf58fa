"""Rows of eventbus_outbox, in the log's own file and in other applications' databases.

Whoever writes them is no bus, so a row may hold anything: text that is not UTF-8 is read, not refused.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import attrs

from eventbus.clock import Clock
from eventbus.errors import EventBusError, LogBusy, LogError
from eventbus.store.connection import connect
from eventbus.store.location import Location
from eventbus.store.schema import OUTBOX, OUTBOX_COLUMNS
from eventbus.store.trouble import translate, until_free

T = TypeVar("T")

PAGE = 256  # rows that are moved by one commit
PAGE_BYTES = 4 << 20  # and about how much of payload, of which one row may have more
_PATIENCE = 0.25  # seconds to wait for another application's lock, while this log's delivery waits, too
_MAKING_SECONDS = 5.0  # the same where an app's own call makes the table

_NAMES = "position, id, event_type, version, payload, stream, metadata, correlation_id, causation_id, created_at"
_PAGE = f"SELECT {_NAMES} FROM {OUTBOX} ORDER BY position LIMIT ?"
_REMOVE = f"DELETE FROM {OUTBOX} WHERE position = ?"
_MAKE = f"CREATE TABLE IF NOT EXISTS {OUTBOX} ({OUTBOX_COLUMNS})"
_COLUMNS = f"SELECT name FROM pragma_table_info('{OUTBOX}')"
_IS_LOG = "SELECT 1 FROM sqlite_master WHERE name = 'eventbus_log'"
_BUSY_TIMEOUT = f"PRAGMA busy_timeout = {int(_PATIENCE * 1000)}"
_KNOWN = "SELECT position, digest FROM eventbus_outbox_moved WHERE outbox = ?"
_KNOW = "INSERT OR REPLACE INTO eventbus_outbox_moved (outbox, position, digest) VALUES (?, ?, ?)"
_UNKNOW = "DELETE FROM eventbus_outbox_moved WHERE outbox = ? AND position = ?"


@attrs.frozen
class OutboxRow:
    """A row as it was found."""

    position: int
    id: Any
    event_type: Any
    version: Any
    payload: Any
    stream: Any
    metadata: Any
    correlation_id: Any
    causation_id: Any
    created_at: Any

    def digest(self) -> bytes:
        """What tells it from any other row that had its place."""
        return hashlib.sha256(repr(attrs.astuple(self)).encode()).digest()[:16]


def page(connection: sqlite3.Connection) -> list[OutboxRow]:
    """The first rows, in order: at most PAGE of them, and no more after PAGE_BYTES."""
    found: list[OutboxRow] = []
    size, before = 0, connection.text_factory
    connection.text_factory = _lenient
    try:
        cursor = connection.execute(_PAGE, (PAGE,))
        for values in cursor:
            found.append(OutboxRow(*values))
            size += sum(len(value) for value in values if isinstance(value, str | bytes))
            if size > PAGE_BYTES:
                break
        cursor.close()
    finally:
        connection.text_factory = before
    return found


def _lenient(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def remove(connection: sqlite3.Connection, rows: Iterable[OutboxRow]) -> None:
    """Take rows out within the transaction that has appended them."""
    connection.executemany(_REMOVE, [(row.position,) for row in rows])


# -- rows of other files that are in the log ---------------------------------------------------------------


def known(connection: sqlite3.Connection, path: str) -> dict[int, bytes]:
    """The rows of another file that were appended and may not be removed there yet: digests by position."""
    return dict(connection.execute(_KNOWN, (path,)).fetchall())


def know(connection: sqlite3.Connection, path: str, rows: Iterable[OutboxRow]) -> None:
    """Note rows in the commit that appends them."""
    connection.executemany(_KNOW, [(path, row.position, row.digest()) for row in rows])


def unknow(connection: sqlite3.Connection, path: str, positions: Iterable[int]) -> None:
    """Forget rows that are removed over there."""
    connection.executemany(_UNKNOW, [(path, position) for position in positions])


# -- another application's database ------------------------------------------------------------------------


class Unreachable(Exception):
    """Another application's database cannot be used now; nothing is lost, and it is tried again.

    `locked`: because its application is just writing.
    """

    def __init__(self, cause: EventBusError) -> None:
        super().__init__(cause.what)
        self.locked = isinstance(cause, LogBusy)


class Elsewhere:
    """The outbox in another application's file, by a connection of ours that is opened when it is needed.

    One thread at a time. A file that was replaced is opened anew, and gets the table again.
    """

    def __init__(self, location: Location, clock: Clock) -> None:
        self.path = location.name
        self._location, self._clock = location, clock
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def make(self) -> None:
        """Have the table there. Raises EventBusError for what is no database, or a log itself; a LogError."""
        _refuse_missing(self.path)
        connection = connect(self._location, writable=True)
        try:
            self._make(connection, _MAKING_SECONDS)
        finally:
            connection.close()

    def page(self) -> list[OutboxRow]:
        """Its first rows."""
        return self._reached("read", page)

    def remove(self, rows: Iterable[OutboxRow]) -> None:
        """Take rows out that are in the log, in a transaction of their own."""
        gone = set(rows)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("BEGIN IMMEDIATE")
            try:
                remove(connection, [row for row in page(connection) if row in gone])
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")

        self._reached("write", work)

    def close(self) -> None:
        """Let go of the file; the next use opens it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _reached(self, during: str, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return work(self._opened())
        except sqlite3.Error as error:
            told = translate(self.path, error, during=during)
            self.close()
            raise Unreachable(told) from error
        except EventBusError as error:
            raise Unreachable(error) from error

    def _opened(self) -> sqlite3.Connection:
        _refuse_missing(self.path)
        status = os.stat(self.path)
        if self._connection is None or self._file != (status.st_dev, status.st_ino):
            self.close()
            connection = connect(self._location, writable=True)
            try:
                self._make(connection, _PATIENCE)
                connection.execute(_BUSY_TIMEOUT)
            except BaseException:
                connection.close()
                raise
            self._connection, self._file = connection, (status.st_dev, status.st_ino)
        return self._connection

    def _make(self, connection: sqlite3.Connection, seconds: float) -> None:
        def make() -> None:
            if connection.execute(_IS_LOG).fetchone() is not None:
                raise LogError(
                    self.path, "this is an event log, whose own bus moves its outbox.", hint="Publish there."
                )
            found = {name for (name,) in connection.execute(_COLUMNS)}
            if not found:
                connection.execute(_MAKE)
            elif missing := [name for name in _NAMES.split(", ") if name not in found]:
                raise LogError(
                    self.path,
                    f"its table {OUTBOX} lacks {', '.join(missing)}.",
                    hint="Make it as the guide shows, or let the bus make it.",
                )

        until_free(make, self.path, self._clock, seconds, during=f"make {OUTBOX}")


def _refuse_missing(path: str) -> None:
    if os.path.isdir(path):
        raise LogError(path, "this is a folder.", hint="Give the path of a SQLite file.")
    if not os.path.isfile(path):
        raise LogError(path, "there is no such database.", hint="Have its application make it first.")
