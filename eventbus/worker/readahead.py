"""Reading the log ahead for lanes: one page for all that stand at the same place."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

from eventbus.store import reading
from eventbus.store.reading import PAGE, Selection
from eventbus.store.storage import Storage
from eventbus.worker.heeding import Heeding
from eventbus.worker.lane import Lane
from eventbus.worker.rows import Page


class ReadAhead:
    """Gives lanes what comes next in the log."""

    def __init__(self, storage: Storage, heeding: Heeding) -> None:
        self._storage, self._heeding = storage, heeding
        self._size = PAGE

    def read(self, connection: sqlite3.Connection, lanes: Collection[Lane], head: int) -> bool:
        """Read a page for those that want one, up to the position `head`; True if anybody did."""
        groups: dict[tuple[int, bool], list[Lane]] = {}
        for lane in lanes:
            if lane.wants(head, self._size):
                groups.setdefault((lane.scanned, lane.work.in_a_row), []).append(lane)
        if not groups:
            if not lanes:
                self._heeding.desert()
            return False
        self._storage.names.refresh(connection)
        types = self._storage.names.types()
        self._heeding.learn(lanes, types)
        for (after, in_a_row), those in groups.items():
            wanted: set[int] = set()
            for lane in those:
                lane.matching.resolve(types)
                wanted.update(lane.matching.since)
            selection = Selection(after=after, until=head, type_ids=tuple(wanted))
            if in_a_row:
                self._read_rows(connection, selection, those, head)
            else:
                self._read_each(connection, selection, those, head)
        return True

    def _read_each(self, connection: sqlite3.Connection, selection: Selection, lanes: list[Lane], head: int) -> None:
        """A page for those that look at each event by itself; they share its envelopes."""
        page = self._page(connection, selection, lanes, head, PAGE)
        envelopes = {each.position: each for each in self._storage.names.envelopes(page.rows)}
        for lane in lanes:
            lane.offer([envelopes[row[0]] for row in page.meant(lane.matching)], page.until)

    def _read_rows(self, connection: sqlite3.Connection, selection: Selection, lanes: list[Lane], head: int) -> None:
        """A page for those that take events in a row."""
        page = self._page(connection, selection, lanes, head, self._size)
        self._size = reading.page_size(page.rows, self._size)
        for lane in lanes:
            lane.offer_rows(page)

    def _page(
        self, connection: sqlite3.Connection, selection: Selection, lanes: list[Lane], head: int, size: int
    ) -> Page:
        """For a single one, its rows are of its types and of no others."""
        rows = reading.page(connection, selection, size)
        types = frozenset([row[2] for row in rows]) if len(lanes) > 1 else frozenset(selection.type_ids or ())
        return Page(rows, head if len(rows) < size else rows[-1][0], self._storage.names, types)
