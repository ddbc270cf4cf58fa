"""Bringing what is whole of a damaged log into a new one."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Mapping
from contextlib import closing

import attrs

from eventbus.clock import Clock, SystemClock, iso
from eventbus.doctor.contents import Progress
from eventbus.errors import LogBusy, LogTooNew
from eventbus.store import verifying
from eventbus.store.location import Location
from eventbus.store.looking import Shape
from eventbus.store.opening import open_log, peek
from eventbus.store.placing import in_place_of
from eventbus.store.refilling import NAMES, TABLES, Refill
from eventbus.store.schema import SCHEMA_VERSION
from eventbus.store.trouble import translate
from eventbus.store.verifying import Known
from eventbus.store.wreck import Lost, Wreck

_CHECKED = len(verifying.COLUMNS.split(", "))
_PROGRESS = 256  # events between two calls
_MOST_INCARNATIONS = 1 << 32  # nobody has lost a log more often
_MOST_RANGES = 1000  # that are told
_OF_PROJECTIONS = re.compile(r".+__\d+")


@attrs.frozen
class Salvaged:
    """What was brought into the log at `path`, and what was not.

    `lost`: positions whose event cannot be read or is not what was written. `absent`: positions between the others at
    which nothing is stored. `carried`: rows by table. `incomplete`: tables of which not all could be read. `dropped`:
    rows about events or subscriptions that are not there, by table. `projections`: are built anew by their app.
    `unreadable`: subscriptions that begin anew. `left`: tables of the app's that stay in the old file.
    """

    path: str
    log_id: str
    incarnation: int
    events: int
    head: int
    lost: tuple[Lost, ...]
    absent: tuple[tuple[int, int], ...]
    carried: Mapping[str, int]
    incomplete: tuple[str, ...]
    dropped: Mapping[str, int]
    projections: tuple[str, ...]
    unreadable: tuple[str, ...]
    left: tuple[str, ...]

    @property
    def lost_positions(self) -> int:
        """How many positions are lost."""
        return sum(each.last - each.first + 1 for each in self.lost)

    @property
    def is_whole(self) -> bool:
        """True if all of the log is in the new one; the app's own tables are not asked about."""
        return not (self.lost or self.absent or self.incomplete or self.dropped or self.unreadable)


def salvage(
    path: str | os.PathLike[str],
    new: str | os.PathLike[str],
    *,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Salvaged:
    """Bring every event whose checksums fit into a new log, with its position and sequence, and what is known of
    deliveries as far as it can be read. The damaged file is not touched.

    `progress(done, total)` counts positions. Raises LogError: where there is a file at `new` already, where nothing
    can be read at all, and LogTooNew for a log of a later release.
    """
    source, ticking = Location.of(path), clock or SystemClock()
    before = Shape.of(source.name)
    with in_place_of(Location.of(new)) as temporary, closing(peek(path)) as connection:
        wreck = Wreck(connection, source.name)
        rescue = _Rescue(wreck, progress or _nobody_asks)
        with closing(open_log(temporary, adopt=False, clock=ticking)) as target:
            try:
                rescued = rescue.run(Refill(target), iso(ticking.time()))
            except sqlite3.Error as error:
                raise translate(Location.of(new).name, error, during="write the new log") from error
        if not before.shm and Shape.of(source.name) != before:
            raise LogBusy(source.name, "it was written meanwhile.", hint="Close what uses it, and try again.")
    return attrs.evolve(rescued, path=Location.of(new).name)


class _Rescue:
    """One salvage: from a wreck into a new log."""

    def __init__(self, wreck: Wreck, progress: Progress) -> None:
        self._wreck, self._progress = wreck, progress
        self._log = self._own_row()
        self._lost: list[Lost] = []
        self._absent: list[tuple[int, int]] = []
        self._events = self._last = 0

    def _own_row(self) -> tuple[str | None, int, str | None]:
        """The id, incarnation and birth of the log, as far as they can be read."""
        log_id, incarnation, created_at, version = self._wreck.own_row() or (None, 0, None, None)
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise LogTooNew(self._wreck.path, version, SCHEMA_VERSION)
        texts = all(isinstance(text, str) and text.isprintable() for text in (log_id, created_at))
        is_whole = texts and isinstance(incarnation, int) and 0 < incarnation < _MOST_INCARNATIONS
        return (log_id, incarnation, created_at) if is_whole else (None, 0, None)

    def run(self, refill: Refill, now: str) -> Salvaged:
        """Bring everything over."""
        incomplete: list[str] = []
        carried: dict[str, int] = {}
        for table in NAMES:
            self._bring(refill, table, {}, incomplete)
        known = self._wreck.known()
        refill.names(known)
        self._bring_events(refill, known)
        for table in TABLES:
            self._bring(refill, table, carried, incomplete)
        projections, unreadable, dropped = refill.settle(now)
        for table, count in (("eventbus_subscriptions", len(projections) + len(unreadable)), *dropped.items()):
            carried[table] -= count
        head = max(self._wreck.head(), self._last)
        log_id, incarnation, created_at = self._log
        log_id = refill.finish(log_id=log_id, incarnation=incarnation + 1, created_at=created_at, head=head)
        return Salvaged(
            path="",
            log_id=log_id,
            incarnation=incarnation + 1,
            events=self._events,
            head=head,
            lost=tuple(self._lost),
            absent=tuple(self._absent),
            carried={table: count for table, count in carried.items() if count > 0},
            incomplete=tuple(incomplete),
            dropped=dropped,
            projections=tuple(dict.fromkeys(projections)),
            unreadable=tuple(unreadable),
            left=self._left(),
        )

    def _left(self) -> tuple[str, ...]:
        """The tables of the app's; those of projections are called as one and their generation, such as sales__3."""
        names = (name for name in self._wreck.tables if not name.startswith(("eventbus_", "sqlite_")))
        return tuple(name for name in names if not _OF_PROJECTIONS.fullmatch(name))

    def _bring(self, refill: Refill, table: str, carried: dict[str, int], incomplete: list[str]) -> None:
        there = self._wreck.tables.get(table)
        carried[table] = 0
        if there is None:
            return  # an earlier release did not make it
        columns = [name for name in refill.columns(table) if name in there]
        try:
            rows, is_whole = self._wreck.rows(table, columns)
        except sqlite3.DatabaseError:
            rows, is_whole = [], False
        carried[table] = refill.rows(table, columns, rows)
        if not is_whole or (carried[table] < len(rows)):
            incomplete.append(table)

    def _bring_events(self, refill: Refill, known: Known) -> None:
        total = self._wreck.head()
        for found in self._wreck.events():
            if isinstance(found, Lost):
                self._lose(found)
                continue
            position = found[0]
            why = verifying.trouble(found[:_CHECKED], known) or refill.event(found)
            if why is not None:
                self._lose(Lost(position, position, why))
                continue
            self._reach(position)
            self._events += 1
            if self._events % _PROGRESS == 0:
                self._progress(position, max(total, position))
        self._progress(total, total)

    def _lose(self, lost: Lost) -> None:
        self._reach(lost.first, lost.last)
        before = self._lost[-1] if self._lost else None
        if before is not None and before.last + 1 >= lost.first and before.why == lost.why:
            self._lost[-1] = Lost(before.first, lost.last, lost.why)
        elif len(self._lost) < _MOST_RANGES:
            self._lost.append(lost)
        elif before is not None:  # too many to tell them apart
            self._lost[-1] = Lost(before.first, lost.last, before.why)

    def _reach(self, first: int, last: int | None = None) -> None:
        """The next position that something is known of; between it and the last one there is nothing."""
        if self._last and first > self._last + 1 and len(self._absent) < _MOST_RANGES:
            self._absent.append((self._last + 1, first - 1))
        self._last = max(self._last, first if last is None else last)


def _nobody_asks(done: int, total: int) -> None:
    """Nobody wants to know how far it is."""


__all__ = ["Lost", "Salvaged", "salvage"]
