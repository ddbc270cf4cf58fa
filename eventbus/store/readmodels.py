"""The tables of projections: `sales__3` for generation 3, behind a view of the plain name `sales`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import attrs

from eventbus.errors import EventDefinitionError

_OBJECT = "SELECT type FROM sqlite_master WHERE name = ?"
_OURS = "SELECT 1 FROM sqlite_master WHERE name = ? AND type = 'view' AND sql LIKE '% /* eventbus projection */ %'"


@attrs.frozen
class TableShape:
    """A projection's table: its name for readers, its columns as in CREATE TABLE, and its indexes."""

    name: str
    columns: str
    indexes: tuple[str, ...] = ()

    def stored(self, generation: int) -> str:
        """The name of the table that holds one generation."""
        return f"{self.name}__{generation}"

    def statements(self, generation: int) -> list[str]:
        """The DDL of one generation."""
        stored = self.stored(generation)
        made = [f'CREATE TABLE "{stored}" ({self.columns})']
        for number, columns in enumerate(self.indexes, 1):
            made.append(f'CREATE INDEX "{stored}_index{number}" ON "{stored}" ({columns})')
        return made


def check(shapes: Iterable[TableShape], owner: str) -> None:
    """EventDefinitionError unless SQLite accepts the tables and nothing but them."""
    scratch = sqlite3.connect(":memory:")
    try:
        for shape in shapes:
            for statement in shape.statements(1):
                try:
                    scratch.execute(statement)
                except (sqlite3.Error, sqlite3.Warning) as error:
                    raise EventDefinitionError(f"{owner}: the table {shape.name!r} cannot be made: {error}.") from error
    finally:
        scratch.close()


def create(connection: sqlite3.Connection, shapes: Iterable[TableShape], generation: int) -> None:
    """Make the tables of a generation; refuses what somebody else made."""
    for shape in shapes:
        for name in (shape.name, shape.stored(generation)):
            found = connection.execute(_OBJECT, (name,)).fetchone()
            if found is not None and connection.execute(_OURS, (name,)).fetchone() is None:
                raise EventDefinitionError(
                    f"There is a {found[0]} {name!r} in the file that no projection made.",
                    hint="Give the projection's table another name.",
                )
        for statement in shape.statements(generation):
            connection.execute(statement)


def show(connection: sqlite3.Connection, shapes: Iterable[TableShape], generation: int) -> None:
    """Let the plain names mean this generation."""
    for shape in shapes:
        connection.execute(f'DROP VIEW IF EXISTS "{shape.name}"')
        connection.execute(
            f'CREATE VIEW "{shape.name}" AS /* eventbus projection */ SELECT * FROM "{shape.stored(generation)}"'
        )


def hide(connection: sqlite3.Connection, names: Iterable[str]) -> None:
    """Take away the views of tables that are no more."""
    for name in names:
        if connection.execute(_OURS, (name,)).fetchone() is not None:
            connection.execute(f'DROP VIEW "{name}"')


def drop(connection: sqlite3.Connection, names: Sequence[str], generation: int) -> None:
    """Remove the tables of a generation, and their indexes with them."""
    for name in names:
        connection.execute(f'DROP TABLE IF EXISTS "{name}__{generation}"')
