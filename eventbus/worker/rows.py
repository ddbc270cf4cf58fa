"""Rows of the log that a lane has read and knows nothing else about: it makes no object of each before it has to."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

import attrs

from eventbus.events import Envelope, Row
from eventbus.store.names import NameBook
from eventbus.worker.matching import Matching


@attrs.frozen
class Page:
    """Rows that were read together, for all lanes at the same place."""

    rows: list[Row]
    until: int  # the position up to which it is all there is
    names: NameBook
    types: frozenset[int]  # all that are among them, and no others where several lanes look at it

    def meant(self, matching: Matching) -> list[Row]:
        """Those that are for a subscription; quick where they are all, or none."""
        concerned = self.types & matching.since.keys()
        if not (self.rows and concerned):
            return []
        if len(concerned) == len(self.types) and matching.means_all(concerned, self.rows[0][0]):
            return self.rows
        return [row for row in self.rows if matching.means(row[2], row[0])]


class Rows:
    """In order of position; they come after all that has become an item."""

    def __init__(self) -> None:
        self._rows: Sequence[Row] = ()
        self._at = 0
        self._names: NameBook | None = None

    def __len__(self) -> int:
        return len(self._rows) - self._at

    @property
    def first(self) -> int:
        """The position of the next one; there has to be one."""
        return int(self._rows[self._at][0])

    @property
    def last(self) -> int:
        """The position of the last one; there has to be one."""
        return int(self._rows[-1][0])

    def extend(self, rows: list[Row], names: NameBook) -> None:
        """They come after those that are there."""
        self._names = names
        self._rows = [*self._rows[self._at :], *rows] if self else rows
        self._at = 0

    def put_back(self, rows: Sequence[Row]) -> None:
        """They come before those that are there."""
        self._rows, self._at = [*rows, *self._rows[self._at :]], 0

    def keep(self, is_kept: Callable[[Row], bool]) -> None:
        """Drop the others."""
        self._rows, self._at = [row for row in self._rows[self._at :] if is_kept(row)], 0

    def pop(self) -> Envelope:
        """Take the next one out; there has to be one."""
        assert self._names is not None
        row = self._rows[self._at]
        self._at += 1
        return Envelope(row, self._names)

    def is_next(self, last: int, blocked: Container[str | None]) -> bool:
        """True if the next one lies up to a position, or if its stream is blocked."""
        return bool(self) and (self.first <= last or self._rows[self._at][3] in blocked)

    def take(self, most: int, last: int, blocked: Container[str | None]) -> Sequence[Row]:
        """Take out the next ones, up to a position, and up to the first whose stream is blocked."""
        rows = self._rows[self._at : self._at + most]
        if rows and rows[-1][0] > last:
            rows = [row for row in rows if row[0] <= last]
        if blocked:
            free = next((number for number, row in enumerate(rows) if row[3] in blocked), len(rows))
            rows = rows[:free]
        self._at += len(rows)
        return rows
