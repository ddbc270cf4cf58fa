"""Do the events still say what was written? Each row is held against its two checksums, a page at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import attrs

from eventbus.store.checksums import damage

PAGE = 256  # rows
COLUMNS = (  # as `checksums.damage` takes them
    "position, id, type_id, stream, sequence, time, source_id, correlation_id, causation_id, metadata, codec, payload,"
    " payload_crc, header_crc"
)
_TYPES = "SELECT id, name, version FROM eventbus_types"
_SOURCES = "SELECT id, name FROM eventbus_sources"
_PAGE = f"SELECT {COLUMNS} FROM eventbus_events WHERE position > ? ORDER BY position LIMIT ?"


@attrs.frozen
class Known:
    """The names that the numbers of the rows stand for: they are in the checksums."""

    types: dict[int, tuple[str, int]]  # name and version
    sources: dict[int, str]

    @classmethod
    def of(cls, connection: sqlite3.Connection) -> Known:
        """Raises sqlite3.Error."""
        types = {row_id: (name, version) for row_id, name, version in connection.execute(_TYPES).fetchall()}
        return cls(types, dict(connection.execute(_SOURCES).fetchall()))


@attrs.frozen
class Checked:
    """Some events in order of position: how many, the last one, and those that are not as they were written."""

    count: int
    last: int
    wrong: tuple[tuple[int, str], ...]  # position, and what is wrong, as half a sentence


def trouble(row: Sequence[Any], known: Known) -> str | None:
    """Why an event is not what was written, as half a sentence; None if both checksums fit.

    `row` begins with the columns of COLUMNS. An erased payload fits.
    """
    type_, source = known.types.get(row[2]), known.sources.get(row[6])
    if type_ is None or source is None:
        return "its type is not known" if type_ is None else "its source is not known"
    return damage(row, *type_, source)


def pages(connection: sqlite3.Connection, *, after: int = 0) -> Iterator[Checked]:
    """All events after a position, a page at a time. Raises sqlite3.Error where they cannot be read.

    The connection's text_factory is `decoded`.
    """
    known = Known.of(connection)
    while True:
        checked = page(connection, known, after)
        if not checked.count:
            return
        yield checked
        after = checked.last


def page(connection: sqlite3.Connection, known: Known, after: int) -> Checked:
    """The next events after a position, at most PAGE. Raises sqlite3.Error where they cannot be read."""
    rows = connection.execute(_PAGE, (after, PAGE)).fetchall()
    wrong = ((row[0], trouble(row, known)) for row in rows)
    # In a damaged tree a row may come before the one that was asked for; the next page begins later all the same.
    last = max((row[0] for row in rows), default=after)
    return Checked(len(rows), max(last, after + 1), tuple((at, found) for at, found in wrong if found is not None))


def decoded(raw: bytes) -> str:
    """A text_factory for rows that may be damaged: what is not UTF-8 is read all the same."""
    return raw.decode("utf-8", "surrogateescape")
