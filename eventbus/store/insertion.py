"""The statements that write events: many rows in one, and what is NULL left out of it.

A row costs SQLite half as much in a statement of sixty-four as in one of its own. And of what is bound, `sqlite3`
takes text and numbers as they are, but asks its adapters about each None: six of them cost as much as the whole row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache
from itertools import islice
from typing import Any

from eventbus.store.checksums import header_sum, spelled_rest, spelled_source, spelled_type
from eventbus.store.drafts import Appended, Draft

_SIZES = (64, 8, 1)  # rows to a statement; more at once save nothing more
_OWN = ("position", "id", "payload", "payload_crc", "header_crc")  # columns that differ from row to row
_PLACED = (*_OWN, "stream", "sequence")


class Kind:
    """What rows have in common that one statement writes: all but position, id, stream, sequence and payload."""

    __slots__ = ("_columns", "_like", "_own", "_rest", "_shared", "_type", "stamp")

    def __init__(self, like: Draft, type_id: int, source_id: int, now: str) -> None:
        self._like = like
        self.stamp = (type_id, now, source_id)
        self._own = _OWN if like.stream is None else _PLACED
        self._columns: tuple[str, ...] = ("type_id", "time", "source_id")
        self._shared: tuple[Any, ...] = self.stamp
        self._type = spelled_type(like.type.name, like.type.version)
        correlation, causation, metadata = like.correlation_id, like.causation_id, like.metadata
        self._rest = spelled_rest(now, spelled_source(like.source), correlation, causation, metadata, None)
        if correlation is not None or causation is not None or metadata is not None:
            given = {"correlation_id": correlation, "causation_id": causation, "metadata": metadata}
            given = {name: text for name, text in given.items() if text is not None}
            self._columns, self._shared = (*self._columns, *given), (*self._shared, *given.values())

    def insert(self, connection: sqlite3.Connection, entries: Sequence[Appended], start: int) -> int:
        """Write the entries from `start` on, up to the first that is of another kind; returns where that is."""
        values: list[Any] = []
        like, type_, rest, stamp = self._like, self._type, self._rest, self.stamp
        end = start
        for entry in islice(entries, start, None) if start else entries:
            draft, receipt = entry.draft, entry.receipt
            if receipt.duplicate or (draft is not like and not is_alike(draft, like)):
                break
            position, id_, payload, stream = receipt.position, draft.id, draft.payload, draft.stream
            checksum = draft.checksum() if draft.payload_sum is None else draft.payload_sum
            header = header_sum(position, id_, type_, stream, receipt.sequence, rest, checksum)
            if stream is None:
                values += (position, id_, payload, checksum, header)
            else:
                values += (position, id_, payload, checksum, header, stream, receipt.sequence)
            entry.stamp = stamp
            end += 1
        self._execute(connection, values, end - start)
        return end

    def _execute(self, connection: sqlite3.Connection, values: list[Any], rows: int) -> None:
        if rows == 1:
            connection.execute(_statement(self._columns, self._own, 1), (*self._shared, *values))
            return
        done, width, shared = 0, len(self._own), self._shared
        for size in _SIZES:
            while rows - done >= size:
                bound: list[Any] = []
                for at in range(done * width, (done + size) * width, width):
                    bound += shared
                    bound += values[at : at + width]
                connection.execute(_statement(self._columns, self._own, size), bound)
                done += size


def is_alike(one: Draft, other: Draft) -> bool:
    """True if one statement can write both."""
    return (
        one.type is other.type
        and one.source == other.source
        and (one.stream is None) is (other.stream is None)
        and one.correlation_id == other.correlation_id
        and one.causation_id == other.causation_id
        and one.metadata == other.metadata
    )


@cache
def _statement(shared: tuple[str, ...], own: tuple[str, ...], rows: int) -> str:
    """For so many rows; in each the values of `shared` stand in front of its own.

    None has a number: Python 3.12 takes `?1` for a name, and warns of it.
    """
    names = (*shared, *own)
    row = f"({', '.join('?' * len(names))})"
    return f"INSERT INTO eventbus_events ({', '.join(names)}) VALUES {', '.join([row] * rows)}"
