"""Reading the log ahead for lanes: one page for all that stand at the same place."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Literal

from eventbus.events import Brief, Envelope
from eventbus.store import reading
from eventbus.store.reading import PAGE, Selection
from eventbus.store.storage import Storage
from eventbus.worker.lane import Lane
from eventbus.worker.rows import Page, R

LARGE_PAGE = 1024  # rows; what is done once for each page costs nothing beside them
LIGHT_BYTES = 4096  # of a payload, on average; a thousand of them are read at once

_SAMPLE = 16  # one row in so many is weighed

_Which = Literal["whole", "wide", "brief"]


def page_size(rows: Sequence[Brief], before: int) -> int:
    """How many rows to read at once after these, of which at most `before` were asked for: many, if they are light."""
    if len(rows) < before:
        return PAGE
    sample = rows[::_SAMPLE]
    return LARGE_PAGE if sum([len(row[4] or "") for row in sample]) <= LIGHT_BYTES * len(sample) else PAGE


class ReadAhead:
    """Gives lanes what comes next in the log."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._size = PAGE

    def read(self, connection: sqlite3.Connection, lanes: Iterable[Lane], head: int) -> bool:
        """Read a page for those that want one, up to the position `head`; True if anybody did."""
        groups: dict[tuple[int, _Which], list[Lane]] = {}
        for lane in lanes:
            if lane.wants(head, self._size):
                groups.setdefault((lane.scanned, self._which(lane)), []).append(lane)
        if not groups:
            return False
        self._storage.names.refresh(connection)
        types = self._storage.names.types()
        for (after, which), those in groups.items():
            wanted: set[int] = set()
            for lane in those:
                lane.matching.resolve(types)
                wanted.update(lane.matching.since)
            selection = Selection(after=after, until=head, type_ids=tuple(wanted))
            if which == "whole":
                self._read_whole(connection, selection, those, head)
            else:
                self._read_brief(connection, selection, those, head, wide=which == "wide")
        return True

    def _which(self, lane: Lane) -> _Which:
        """Which rows it is given. In memory those from which nothing is left out: asking for it might have to wait."""
        if not lane.work.in_a_row:
            return "whole"
        return "wide" if lane.is_wide or self._storage.location.memory else "brief"

    def _read_whole(self, connection: sqlite3.Connection, selection: Selection, lanes: list[Lane], head: int) -> None:
        """A page for those that look at each event by itself; they share its envelopes."""
        names = self._storage.names
        rows = reading.page(connection, selection)
        page = self._page(rows, selection, lanes, head if len(rows) < PAGE else rows[-1][0], type_at=2)
        envelopes = {row[0]: Envelope(row, names) for row in rows}
        for lane in lanes:
            lane.offer([envelopes[row[0]] for row in page.meant(lane.matching)], page.until)

    def _read_brief(
        self, connection: sqlite3.Connection, selection: Selection, lanes: list[Lane], head: int, *, wide: bool
    ) -> None:
        """A page for those that take events in a row."""
        size = self._size
        rows = reading.brief_page(connection, selection, size, wide=wide)
        self._size = page_size(rows, size)
        page = self._page(rows, selection, lanes, head if len(rows) < size else rows[-1][0], type_at=1)
        for lane in lanes:
            lane.offer_rows(page)

    def _page(self, rows: list[R], selection: Selection, lanes: list[Lane], until: int, *, type_at: int) -> Page[R]:
        """Rows for these lanes; for a single one, they are of its types and of no others."""
        is_shared = len(lanes) > 1
        types = frozenset([row[type_at] for row in rows]) if is_shared else frozenset(selection.type_ids or ())
        return Page(rows, until, self._storage.names, type_at, types)
