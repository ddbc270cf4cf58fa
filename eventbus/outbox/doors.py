"""Where rows come from: the log's own file, or another application's."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from typing import Protocol

from eventbus.store import outbox
from eventbus.store.outbox import Elsewhere, OutboxRow
from eventbus.store.storage import Storage

EVERY = 1.0  # seconds between two looks unless told otherwise


class Door(Protocol):
    """One outbox, as it is moved; `poll` is in seconds, `source` is whose events they become."""

    poll: float
    next_look: float  # of the monotonic clock

    @property
    def source(self) -> str: ...
    @property
    def path(self) -> str | None:
        """The other application's file; None for the log's own."""
        ...

    def page(self) -> list[OutboxRow]:
        """The first rows, outside any transaction. Raises Unreachable."""
        ...

    def still_there(self, connection: sqlite3.Connection, rows: Sequence[OutboxRow]) -> list[OutboxRow]:
        """Within the log's write transaction: those rows that are to be appended now, in order. Raises Unreachable."""
        ...

    def take(self, connection: sqlite3.Connection, rows: Sequence[OutboxRow]) -> None:
        """Within the same transaction: these are appended."""
        ...

    def committed(self, rows: Sequence[OutboxRow]) -> None:
        """That is committed. Raises Unreachable."""
        ...

    def close(self) -> None:
        """Let go of what is open."""
        ...


def unchanged(rows: Sequence[OutboxRow], again: Sequence[OutboxRow]) -> list[OutboxRow]:
    """Of `rows` those that are there `again`: without what is gone, and up to the first that is another one now."""
    there = {row.position: row for row in again}
    same: list[OutboxRow] = []
    for row in rows:
        found = there.get(row.position, row)
        if found != row:
            break
        if row.position in there:
            same.append(row)
    return same


class OwnFile:
    """The outbox of the log's own file: appended and removed by one commit."""

    path = None

    def __init__(self, storage: Storage, source: str) -> None:
        self._storage, self.source = storage, source
        self.poll, self.next_look = EVERY, 0.0

    def page(self) -> list[OutboxRow]:
        """The first rows."""
        with self._storage.reading() as connection:
            return outbox.page(connection)

    def still_there(self, connection: sqlite3.Connection, rows: Sequence[OutboxRow]) -> list[OutboxRow]:
        """Another process may have moved them."""
        return unchanged(rows, outbox.page(connection))

    def take(self, connection: sqlite3.Connection, rows: Sequence[OutboxRow]) -> None:
        """Remove them."""
        outbox.remove(connection, rows)

    def committed(self, rows: Sequence[OutboxRow]) -> None:
        """Nothing is left to do."""

    def close(self) -> None:
        """Its connections are the log's."""


class OtherFile:
    """The outbox of another application: appended and noted by one commit, and then removed over there.

    The rows are read again under the log's lock: whoever has removed some, and forgotten the note, did so either
    before that, and then they are not found, or will do so after it, and then the note is.
    """

    def __init__(self, elsewhere: Elsewhere, source: str, poll: float = EVERY) -> None:
        self._elsewhere, self.source = elsewhere, source
        self.path = os.fsencode(elsewhere.path).decode("utf-8", "backslashreplace")  # as the log can store it
        self.poll, self.next_look = poll, 0.0
        self._owed: list[OutboxRow] = []  # in the log, to be removed over there

    def page(self) -> list[OutboxRow]:
        """The first rows, after those that are owed were removed."""
        self._remove_owed()
        return self._elsewhere.page()

    def still_there(self, connection: sqlite3.Connection, rows: Sequence[OutboxRow]) -> list[OutboxRow]:
        """Without those that are in the log, which are only to be removed."""
        again = self._elsewhere.page()
        known = outbox.known(connection, self.path)
        found = {row.position: row for row in again if known.get(row.position) == row.digest()}
        outbox.unknow(connection, self.path, known.keys() - found.keys())
        self._owed = list(found.values())
        return [row for row in unchanged(rows, again) if row.position not in found]

    def take(self, connection: sqlite3.Connection, rows: Sequence[OutboxRow]) -> None:
        """Note them."""
        outbox.know(connection, self.path, rows)

    def committed(self, rows: Sequence[OutboxRow]) -> None:
        """Remove over there what is in the log."""
        self._owed.extend(rows)
        self._remove_owed()

    def _remove_owed(self) -> None:
        if self._owed:
            self._elsewhere.remove(self._owed)
            self._owed = []

    def close(self) -> None:
        """Let go of the file."""
        self._elsewhere.close()
