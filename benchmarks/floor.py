"""The floor: the same work by hand. Rows are ready-made, so that nothing but SQLite is timed."""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import msgspec

from benchmarks.payload import PAYLOAD, STREAM, OrderPlaced
from eventbus.clock import SystemClock
from eventbus.store import checksums, schema
from eventbus.store.connection import settings
from eventbus.store.reading import COLUMNS

Table = Literal["ours", "bare"]

# SQLite's own number. The bus turns this off and checkpoints by itself; by hand somebody has to do it as well.
_CHECKPOINT_FRAMES = 1000

BARE_DDL = """
CREATE TABLE events (
  position INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  stream TEXT NOT NULL,
  sequence INTEGER NOT NULL,
  payload TEXT NOT NULL,
  UNIQUE (stream, sequence)
);
"""
_DDL: dict[Table, str] = {"ours": schema.DDL, "bare": BARE_DDL}
_INSERT: dict[Table, str] = {
    "ours": "INSERT INTO eventbus_events (id, stream, sequence, payload, type_id, time, source_id, payload_crc,"
    " header_crc) VALUES (?, ?, ?, ?, 1, '2026-11-23T12:00:00.000000Z', 1, 1234567890, 987654321)",
    "bare": "INSERT INTO events (id, stream, sequence, payload) VALUES (?, ?, ?, ?)",
}

new_id: Callable[[], str] = SystemClock().new_id
decode: Callable[[str], OrderPlaced] = msgspec.json.Decoder(OrderPlaced).decode


def connect(path: Path, *, synced: bool) -> sqlite3.Connection:
    """A connection with the settings of the bus."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    for statement in settings():
        connection.execute(statement)
    connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT_FRAMES}")
    connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
    return connection


class Floor:
    """Events stored by hand, in our tables or in a bare one."""

    def __init__(self, path: Path, table: Table, *, synced: bool) -> None:
        self.connection = connect(path, synced=synced)
        self.connection.executescript(_DDL[table])
        self._insert = _INSERT[table]
        self._sequences = itertools.count(1)

    def one_by_one(self, times: int) -> float:
        """One commit for each; seconds for each."""
        rows, execute, insert = self._rows(times), self.connection.execute, self._insert
        began = perf_counter()
        for row in rows:
            execute("BEGIN IMMEDIATE")
            execute(insert, row)
            execute("COMMIT")
        return (perf_counter() - began) / times

    def all_at_once(self, times: int) -> float:
        """All in one commit; seconds for each."""
        rows, connection = self._rows(times), self.connection
        began = perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(self._insert, rows)
        connection.execute("COMMIT")
        return (perf_counter() - began) / times

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def _rows(self, times: int) -> list[tuple[Any, ...]]:
        return [(new_id(), STREAM, next(self._sequences), PAYLOAD) for _ in range(times)]


@contextmanager
def opened(path: Path, table: Table, *, synced: bool) -> Iterator[Floor]:
    """A floor that is closed at the end."""
    floor = Floor(path, table, synced=synced)
    try:
        yield floor
    finally:
        floor.close()


def scan(path: Path) -> float:
    """Seconds for reading all positions and payloads of a log and decoding each."""
    connection = connect(path, synced=False)
    try:
        began = perf_counter()
        for _, payload in connection.execute("SELECT position, payload FROM eventbus_events ORDER BY position"):
            decode(payload)
        return perf_counter() - began
    finally:
        connection.close()


def checked_scan(path: Path) -> float:
    """The same with checksums: they are over all columns, so all are read; a page at a time, as nothing stays open."""
    connection, last = connect(path, synced=False), 0
    try:
        began = perf_counter()
        check = _checker(connection)
        while rows := connection.execute(_CHECKED_PAGE, (last, 1000)).fetchall():
            check(rows)
            for row in rows:
                decode(row[11])
            last = rows[-1][0]
        return perf_counter() - began
    finally:
        connection.close()


def _checker(connection: sqlite3.Connection) -> Callable[[Sequence[Any]], None]:
    """Raises where a row is not what was stored."""
    types = connection.execute("SELECT id, name, version FROM eventbus_types").fetchall()
    sources = connection.execute("SELECT id, name FROM eventbus_sources").fetchall()
    spelled = {row_id: checksums.spelled_type(name, version) for row_id, name, version in types}
    spelled_sources = {row_id: checksums.spelled_source(name) for row_id, name in sources}

    def check(rows: Sequence[Any]) -> None:
        assert checksums.whole_from(rows, 0, spelled, spelled_sources) == len(rows)

    return check


_CHECKED_PAGE = f"SELECT {COLUMNS} FROM eventbus_events WHERE position > ? ORDER BY position LIMIT ?"
_PAGE = "SELECT position, payload FROM eventbus_events WHERE position > ? ORDER BY position LIMIT 100"
_TABLES = """
DROP TABLE IF EXISTS floor_cursor;
DROP TABLE IF EXISTS floor_totals;
CREATE TABLE floor_cursor (position INTEGER NOT NULL);
INSERT INTO floor_cursor VALUES (0);
CREATE TABLE floor_totals (customer_id TEXT PRIMARY KEY, orders INTEGER NOT NULL, total REAL NOT NULL);
"""
UPDATE = "UPDATE {} SET orders = orders + 1, total = total + ? WHERE customer_id = ?"
UPSERT = (
    "INSERT INTO {} VALUES (?, 1, ?) ON CONFLICT (customer_id) DO UPDATE"
    " SET orders = orders + 1, total = total + excluded.total"
)


def update_arguments(placed: OrderPlaced) -> tuple[float, str]:
    """The parameters of `UPDATE`."""
    return placed.total, placed.customer_id


def upsert_arguments(placed: OrderPlaced) -> tuple[str, float]:
    """The parameters of `UPSERT`."""
    return placed.customer_id, placed.total


def loop(
    path: Path, sql: str, arguments: Callable[[OrderPlaced], Sequence[Any]], *, synced: bool, checked: bool = False
) -> float:
    """Seconds for a whole log: decode, run `sql` for each event, move a cursor, commit after each hundred.

    `checked`: all columns are read and the checksums compared.
    """
    connection = connect(path, synced=synced)
    try:
        connection.executescript(_TABLES)
        connection.execute("INSERT INTO floor_totals VALUES ('cust-789', 0, 0)")
        statement, last, execute = sql.format("floor_totals"), 0, connection.execute
        check = _checker(connection)
        began = perf_counter()
        while True:
            execute("BEGIN IMMEDIATE")
            if checked:
                whole = execute(_CHECKED_PAGE, (last, 100)).fetchall()
                check(whole)
                rows = [(row[0], row[11]) for row in whole]
            else:
                rows = execute(_PAGE, (last,)).fetchall()
            for _, payload in rows:
                execute(statement, arguments(decode(payload)))
            if rows:
                last = rows[-1][0]
                execute("UPDATE floor_cursor SET position = ?", (last,))
            execute("COMMIT")
            if not rows:
                return perf_counter() - began
    finally:
        connection.close()
