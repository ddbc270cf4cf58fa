"""Reading what can still be read of a damaged log: by position where pages do not hold, skipping what raises."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import attrs

from eventbus.errors import LogCorrupt, NotAnEventLog
from eventbus.store import verifying
from eventbus.store.looking import Look, Shape
from eventbus.store.schema import APPLICATION_ID
from eventbus.store.verifying import Known

MORE = "salt, digest, chain, erased_at"  # what an event has besides verifying.COLUMNS
_COLUMNS = f"{verifying.COLUMNS}, {MORE}"
_NEXT = f"SELECT {_COLUMNS} FROM eventbus_events WHERE position > ? ORDER BY position LIMIT ?"
_AT = f"SELECT {_COLUMNS} FROM eventbus_events WHERE position = ?"
# Covered by indexes, which may be whole where the tables are not.
_TYPES = "SELECT id, name, version FROM eventbus_types"
_TYPES_BY_INDEX = f"{_TYPES} INDEXED BY sqlite_autoindex_eventbus_types_1 WHERE name > ''"
_SOURCES = "SELECT id, name FROM eventbus_sources"
_SOURCES_BY_INDEX = f"{_SOURCES} INDEXED BY sqlite_autoindex_eventbus_sources_1 WHERE name > ''"
_HIGHEST = (
    "SELECT seq FROM sqlite_sequence WHERE name = 'eventbus_events'",
    "SELECT max(position) FROM eventbus_events",
    "SELECT max(cursor) FROM eventbus_subscriptions",
    "SELECT max(position) FROM eventbus_keys",
)
_SMALLEST_EVENT = 64  # bytes; an id alone takes 36
_OWN = "SELECT log_id, incarnation, created_at, schema_version FROM eventbus_log"
_FAR = 1 << 48  # a position beyond it was written by nobody honest
_PAGE = 256  # rows


@attrs.frozen
class Lost:
    """Positions from `first` to `last`: what was there cannot be read, or is not what was written."""

    first: int
    last: int
    why: str


class Wreck:
    """A damaged log, opened read-only. Raises LogCorrupt if not even a table of events can be found in it."""

    def __init__(self, connection: Look, path: str) -> None:
        self._connection, self.path = connection, path
        shape = Shape.of(path)
        self._size = shape.size + (shape.wal or 0)
        connection.text_factory = verifying.decoded
        # With this SQLite reads a file that is shorter than its first page says, and past schemas it cannot parse.
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("PRAGMA cell_size_check = OFF")  # checksums tell, row by row
        self.tables = self._tables()

    def _tables(self) -> dict[str, list[str]]:
        """The columns of each table that is one."""
        try:
            rows = self.ask("SELECT name FROM sqlite_master WHERE type = 'table' AND rootpage > 0")
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
                raise NotAnEventLog(self.path, "this is not a SQLite database.") from error
            raise LogCorrupt(self.path, f"not even its list of tables can be read: {error}.") from error
        found: dict[str, list[str]] = {}
        for (name,) in rows:
            if not name.startswith("eventbus_"):
                found[name] = []
                continue
            columns = self.ask("SELECT name, hidden FROM pragma_table_xinfo(?)", (name,))
            if not any(hidden for _, hidden in columns):
                found[name] = [column for column, _ in columns]
        if "eventbus_events" not in found:
            (ours,) = self.ask("PRAGMA application_id")[0]
            if ours == APPLICATION_ID or any(name.startswith("eventbus_") for name in found):
                raise LogCorrupt(self.path, "it has no table of events any more.", hint="Restore a backup.")
            raise NotAnEventLog(self.path, "there is no log in it.")
        return found

    def ask(self, sql: str, parameters: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows of one question; sqlite3.DatabaseError where a page in its way cannot be read."""
        self._connection.patience.renew(self._size)
        return self._connection.execute(sql, parameters).fetchall()

    def known(self) -> Known:
        """The names of types and sources, as far as they can be read."""
        types, sources = self._either(_TYPES, _TYPES_BY_INDEX), self._either(_SOURCES, _SOURCES_BY_INDEX)
        return Known({row[0]: (row[1], row[2]) for row in types}, {row[0]: row[1] for row in sources})

    def _either(self, *questions: str) -> list[tuple[Any, ...]]:
        for sql in questions:
            try:
                return self.ask(sql)
            except sqlite3.DatabaseError:
                continue
        return []

    def own_row(self) -> tuple[Any, Any, Any, Any] | None:
        """The log's id, incarnation, birth, and the version of its tables, if they can be read."""
        try:
            rows = self.ask(_OWN)
        except sqlite3.DatabaseError:
            return None
        return (rows[0][0], rows[0][1], rows[0][2], rows[0][3]) if rows else None

    def head(self) -> int:
        """The highest position that anything readable speaks of."""
        found: list[int] = [0]
        for sql in _HIGHEST:
            try:
                found += [value for (value,) in self.ask(sql) if isinstance(value, int) and 0 < value < _FAR]
            except sqlite3.DatabaseError:
                continue
        return max(found)

    def events(self) -> Iterator[tuple[Any, ...] | Lost]:
        """The rows of all events in order of position, and between them what cannot be read.

        The columns are those of `verifying.COLUMNS` and `MORE`.
        """
        most = self._size // _SMALLEST_EVENT + 1  # there is no room for more
        end, after, probes = self.head() or most, 0, 4 * most
        while True:
            try:
                rows = self.ask(_NEXT, (after, _PAGE))
            except sqlite3.DatabaseError as error:
                until = self._readable_again(after, min(end, after + most))
                yield from self._one_by_one(after, until)
                probes -= until - after
                after = until
                if after < end and probes < 0:  # whoever can write the file can write any end into it
                    yield Lost(after + 1, end, str(error))
                    return
                if after >= end:
                    return
                continue
            for row in rows:
                if row[0] > after:  # in a damaged tree they may be out of order
                    yield row
                    after = row[0]
            if len(rows) < _PAGE:
                return

    def _readable_again(self, after: int, end: int) -> int:
        """A position after which pages of rows can be read again, found in growing steps; `end` if there is none."""
        step = 1
        while after + step < end:
            try:
                self.ask(_NEXT, (after + step, _PAGE))
                return after + step
            except sqlite3.DatabaseError:
                step *= 2
        return max(end, after + 1)

    def _one_by_one(self, after: int, until: int) -> Iterator[tuple[Any, ...] | Lost]:
        lost: Lost | None = None
        for position in range(after + 1, until + 1):
            try:
                rows = self.ask(_AT, (position,))
            except sqlite3.DatabaseError as error:
                lost = Lost(lost.first if lost else position, position, str(error))
                continue
            if lost is not None:
                yield lost
                lost = None
            yield from (row for row in rows if row[0] == position)
        if lost is not None:
            yield lost

    def rows(self, table: str, columns: list[str]) -> tuple[list[tuple[Any, ...]], bool]:
        """The rows of a small table, and whether that is all of them: what lies between damaged pages is left out.

        Read from its beginning until a page raises, and then from its end.
        """
        sql, keys = f"SELECT {', '.join(columns)} FROM {table}", self._keys(table, columns)
        forward, whole = self._until_it_raises(f"{sql} ORDER BY {', '.join(keys)}")
        if whole:
            return forward, True
        backward, _ = self._until_it_raises(f"{sql} ORDER BY {', '.join(f'{key} DESC' for key in keys)}")
        return [*forward, *reversed(backward)], False

    def _keys(self, table: str, known: list[str]) -> list[str]:
        """What the rows are stored by; where a name of it is not `known`, it may be any text, and is not used."""
        keys = self.ask("SELECT name FROM pragma_table_xinfo(?) WHERE pk > 0 ORDER BY pk", (table,))
        names = [name for (name,) in keys]
        return names if names and set(names) <= set(known) else ["rowid"]

    def _until_it_raises(self, sql: str) -> tuple[list[tuple[Any, ...]], bool]:
        self._connection.patience.renew(self._size)
        found: list[tuple[Any, ...]] = []
        try:
            for row in self._connection.execute(sql):
                found.append(row)
        except sqlite3.DatabaseError:
            return found, False
        return found, True
