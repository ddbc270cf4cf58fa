"""What a log's tables look like when a bus has made them, and how those of a file differ."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import attrs

from eventbus.store.schema import DDL

_OBJECTS = (
    "SELECT type, name, tbl_name FROM sqlite_master WHERE name LIKE 'eventbus^_%' ESCAPE '^'"
    " OR tbl_name LIKE 'eventbus^_%' ESCAPE '^' ORDER BY name"
)
_COLUMNS = "SELECT name, type, pk FROM pragma_table_xinfo(?) ORDER BY cid"
_OTHERS = (
    "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'eventbus^_%' ESCAPE '^'"
    " AND name NOT LIKE 'sqlite^_%' ESCAPE '^' ORDER BY name"
)

Columns = tuple[tuple[str, str, int], ...]


@attrs.frozen
class Blueprint:
    """Tables of ours with their columns, and the names of indexes and views."""

    tables: dict[str, Columns]
    indexes: frozenset[str]
    views: frozenset[str]


@attrs.frozen
class Differences:
    """What is missing, tables with other columns, and what is not ours: on our tables, or named like them."""

    missing: tuple[str, ...]
    changed: tuple[str, ...]
    triggers: tuple[str, ...]  # "name on table"
    indexes: tuple[str, ...]
    named_like_ours: tuple[str, ...]


def ours() -> Blueprint:
    """The tables of this release."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(DDL)
        return _read(connection)


def others(connection: sqlite3.Connection) -> list[str]:
    """The tables that are not the bus's: the app's, and those of projections. Raises sqlite3.Error."""
    return [name for (name,) in connection.execute(_OTHERS).fetchall()]


def differences(connection: sqlite3.Connection) -> Differences:
    """How a log's tables differ from those that this release makes. Raises sqlite3.Error."""
    wanted = ours()
    found = connection.execute(_OBJECTS).fetchall()
    tables = {name: _columns(connection, name) for kind, name, _ in found if kind == "table"}
    known = {*wanted.tables, *wanted.indexes, *wanted.views}
    present = {name for _, name, _ in found}
    return Differences(
        missing=tuple(sorted((wanted.tables.keys() | wanted.indexes) - present)),
        changed=tuple(
            name
            for name, columns in tables.items()
            if name in wanted.tables and not _fits(columns, wanted.tables[name])
        ),
        triggers=tuple(f"{name} on {table}" for kind, name, table in found if kind == "trigger"),
        indexes=tuple(
            f"{name} on {table}"
            for kind, name, table in found
            if kind == "index" and name not in known and not name.startswith("sqlite_")
        ),
        named_like_ours=tuple(name for kind, name, _ in found if kind in ("table", "view") and name not in known),
    )


def _fits(columns: Columns, wanted: Columns) -> bool:
    return sorted(columns) == sorted(wanted)  # a column that was added later comes last


def _read(connection: sqlite3.Connection) -> Blueprint:
    found = connection.execute(_OBJECTS).fetchall()
    return Blueprint(
        {name: _columns(connection, name) for kind, name, _ in found if kind == "table"},
        frozenset(name for kind, name, _ in found if kind == "index" and not name.startswith("sqlite_")),
        frozenset(name for kind, name, _ in found if kind == "view"),
    )


def _columns(connection: sqlite3.Connection, table: str) -> Columns:
    return tuple(connection.execute(_COLUMNS, (table,)).fetchall())
