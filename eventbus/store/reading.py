"""Reading the log in pages: no statement stays open between two of them, so a checkpoint never waits."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import attrs

from eventbus.asking import can_be_there

if TYPE_CHECKING:
    from eventbus.store.drafts import Row

PAGE = 256  # rows; at about 200 bytes each a page stays well within the processor's cache
LARGE_PAGE = 1024  # rows; what is done once for each page costs nothing beside them
LIGHT_BYTES = 4096  # of a payload, on average; a thousand of them are read at once

_SAMPLE = 16  # one row in so many is weighed

COLUMNS = (
    "position, id, type_id, stream, sequence, time, source_id, correlation_id, causation_id, metadata, codec, payload,"
    " payload_crc, header_crc"
)
_BY_POSITION = f"SELECT {COLUMNS} FROM eventbus_events WHERE position = ?"
_BY_ID = f"SELECT {COLUMNS} FROM eventbus_events WHERE id = ?"
_LAST = "SELECT COALESCE(max(position), 0) FROM eventbus_events"


@attrs.frozen
class Selection:
    """Which events to read: positions in (`after`, `until`], of one stream, of some types, since a time."""

    after: int = 0
    until: int | None = None
    stream: str | None = None
    type_ids: tuple[int, ...] | None = None
    since: str | None = None  # ISO 8601, as stored
    backward: bool = False
    sequence: int | None = None  # of the stream, the last one read: only what comes beyond it

    def query(self, limit: int) -> tuple[str, list[Any]]:
        """One page of it as SQL and its parameters."""
        where, values = ["position > ?"], [self.after]
        filters: list[tuple[str, Any]] = [
            ("position <= ?", self.until),
            ("stream = ?", self.stream),
            ("sequence < ?" if self.backward else "sequence > ?", self.sequence),
            ("time >= ?", self.since),
        ]
        for clause, value in filters:
            if value is not None:
                where.append(clause)
                values.append(value)
        if self.type_ids is not None:
            where.append(f"type_id IN ({', '.join('?' * len(self.type_ids))})")
            values.extend(self.type_ids)
        # A stream is read by its own index, in which the order of sequences is the order of positions.
        order = "sequence" if self.stream is not None else "position"
        direction = " DESC" if self.backward else ""
        values.append(limit)
        where_text = " AND ".join(where)
        return (f"SELECT {COLUMNS} FROM eventbus_events WHERE {where_text} ORDER BY {order}{direction} LIMIT ?", values)

    def beyond(self, position: int, sequence: int | None) -> Selection:
        """What is left of it after the row at `position` was read, which is the `sequence`th of its stream."""
        # Its index finds a stream's rows by sequence; by position it would pass all that were read before.
        known = sequence if self.stream is not None else None
        if self.backward:
            return attrs.evolve(self, until=position - 1, sequence=known)
        return attrs.evolve(self, after=position, sequence=known)


def with_payload(row: Row, payload: str) -> Row:
    """The row with JSON of a person's in the place of its payload, and without checksums, which are the log's."""
    return (*row[:10], None, payload)


def page(connection: sqlite3.Connection, selection: Selection, limit: int = PAGE) -> list[Row]:
    """The next rows of a selection, at most `limit`."""
    if selection.type_ids == ():
        return []
    return _fetch(connection, *selection.query(limit))


def page_size(rows: Sequence[Row], before: int) -> int:
    """How many rows to read at once after these, of which at most `before` were asked for: many, if they are light."""
    if len(rows) < before:
        return PAGE
    sample = [row[11] for row in rows[::_SAMPLE]]
    weight = sum([len(payload) for payload in sample if isinstance(payload, str | bytes)])  # it may be damaged
    return LARGE_PAGE if weight <= LIGHT_BYTES * len(sample) else PAGE


def last_position(connection: sqlite3.Connection) -> int:
    """The position of the last event there is, 0 when there is none."""
    (last,) = connection.execute(_LAST).fetchone()
    return int(last)


def one(connection: sqlite3.Connection, key: str | int) -> Row | None:
    """The row with this id or position."""
    if not can_be_there(key):
        return None
    rows = _fetch(connection, _BY_POSITION if isinstance(key, int) else _BY_ID, (key,))
    return rows[0] if rows else None


def _fetch(connection: sqlite3.Connection, text: str, values: Sequence[Any]) -> list[Row]:
    """All rows. Text that is damaged so that it is not UTF-8 any more is read all the same: its checksum will tell."""
    try:
        return connection.execute(text, values).fetchall()
    except sqlite3.OperationalError as error:
        if "UTF-8" not in str(error):
            raise
    before, connection.text_factory = connection.text_factory, _decoded
    try:
        return connection.execute(text, values).fetchall()
    finally:
        connection.text_factory = before


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
