"""Read-only SQL of the user's: whatever it says, it changes nothing and leaves nothing open."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from eventbus.errors import EventBusError
from eventbus.store.connection import connect
from eventbus.store.location import Location

_READING = frozenset({sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE})
_REPORTS = frozenset({"table_info", "table_xinfo", "table_list", "index_list", "index_info", "foreign_key_list"})


class Asker:
    """A connection for `bus.query`, used by one thread at a time; it opens with the first question."""

    def __init__(self, location: Location) -> None:
        self._location = location
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._refused = ""
        self._unwanted = False

    def ask(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[dict[str, Any]]:
        """All rows as dicts. EventBusError for what does not only read; sqlite3.Error for what is wrong."""
        try:
            with self._lock:
                return self._answer(sql, parameters)
        finally:
            if self._unwanted:
                self.close()

    def _answer(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[dict[str, Any]]:
        self._refused = ""
        try:
            cursor = self._open().execute(sql, parameters)
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except sqlite3.DatabaseError as error:
            if not self._refused:
                raise
            raise EventBusError(
                f"query only reads: {self._refused}.", stored="not stored", hint="Use bus.transaction()."
            ) from error

    def close(self) -> None:
        """Close the connection, if need be when its question is answered; the next one opens another."""
        self._unwanted = True
        if not self._lock.acquire(blocking=False):
            return  # whoever has it closes it
        try:
            self._unwanted = False
            if self._connection is not None:
                self._connection.close()
                self._connection = None
        finally:
            self._lock.release()

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            self._connection = connect(self._location, writable=False)
            self._connection.set_authorizer(self._authorize)
        return self._connection

    def _authorize(self, code: int, first: str | None, _: str | None, __: str | None, ___: str | None) -> int:
        if code in _READING or (code == sqlite3.SQLITE_PRAGMA and first in _REPORTS):
            return sqlite3.SQLITE_OK
        if code == sqlite3.SQLITE_UPDATE and first == "sqlite_master":
            return sqlite3.SQLITE_OK  # how SQLite declares json_each() and its like; nobody can really write there
        self._refused = "this statement does something else"
        return sqlite3.SQLITE_DENY
