"""Examining a log from outside: nothing of it is changed, and a bus that has it open is not disturbed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Set
from contextlib import closing
from typing import Any

from eventbus.clock import Clock, SystemClock
from eventbus.doctor import contents, deliveries, place
from eventbus.doctor.contents import Progress
from eventbus.doctor.deliveries import Moment
from eventbus.doctor.engine import known_bugs
from eventbus.doctor.finding import Examination, Finding, in_order
from eventbus.doctor.place import Holders
from eventbus.errors import LogCorrupt, LogError, LogReadOnly, LogTooNew, NotAnEventLog
from eventbus.store import disk, examining, witness
from eventbus.store.asking import Asking
from eventbus.store.examining import Extent, LogRow
from eventbus.store.location import Location
from eventbus.store.looking import Shape
from eventbus.store.opening import peek
from eventbus.store.recognise import recognise
from eventbus.store.schema import SCHEMA_VERSION
from eventbus.store.witness import Witnessed

Check = Callable[[sqlite3.Connection], Iterator[Finding]]


def examine(
    path: str | os.PathLike[str],
    *,
    quick: bool = False,
    declared: Set[str] | None = None,
    progress: Progress | None = None,
    clock: Clock | None = None,
) -> Examination:
    """What is wrong with the log at `path`, and what to do about it; reads all of it, and writes nothing.

    `quick` leaves out the checksums of events, missing numbers, and whether indexes fit their tables. `declared`: the
    names of the subscriptions that the app declares, so that others are told as orphans. `progress(done, total)`
    counts positions whose events were checked. Raises NotAnEventLog, LogTooNew or LogReadOnly for what cannot be
    examined at all; a damaged log is an answer, not an error.
    """
    location = Location.of(path)
    held = Holders.of(location.name)
    moment = Moment((clock or SystemClock()).time(), bool(held.open), declared)
    with closing(Asking(os.fsdecode(path), peek)) as asking:
        examiner = _Examiner(asking, moment, progress or _nobody_asks)
        examiner.look_around(os.fsdecode(path), location, held)
        if not examiner.is_beyond_reach:
            examiner.read(quick=quick)
    return Examination(location.name, examiner.facts, in_order(examiner.findings))


class _Examiner:
    """Collects what one examination finds."""

    def __init__(self, asking: Asking, moment: Moment, progress: Progress) -> None:
        self._asking, self._moment, self._progress = asking, moment, progress
        self.findings: list[Finding] = []
        self.facts: dict[str, Any] = {}
        self.is_beyond_reach = False

    def look_around(self, given: str, location: Location, held: Holders) -> None:
        """What can be seen without opening the file."""
        path = location.name
        self.findings += known_bugs(sqlite3.sqlite_version_info)
        self.facts.update(sqlite=sqlite3.sqlite_version, live=self._moment.is_live, open_in=sorted(held.open))
        if not os.path.isfile(path):
            return  # whoever opens it says what it is
        shape = Shape.of(path)
        self.facts.update(bytes=shape.size, wal_bytes=shape.wal or 0, free_bytes=disk.free_bytes(path))
        self.findings += place.look_around(given, location, held)
        unreachable = list(place.network(path))
        self.findings += unreachable
        self.is_beyond_reach = bool(unreachable)

    def read(self, *, quick: bool) -> None:
        """What is in the file. What cannot be read at all is raised."""
        row = self._recognise()
        if row is None and not self.is_beyond_reach:
            self._check("its pages", lambda connection: contents.of_pages(connection, quick=quick))
        if row is None:
            return
        self.facts.update(
            log_id=row.log_id,
            incarnation=row.incarnation,
            copy_of=row.copy_of,
            schema_version=row.schema_version,
            created_at=row.created_at,
        )
        self.findings += contents.of_row(row)
        is_current = row.schema_version == SCHEMA_VERSION
        self._check("its tables", lambda connection: contents.of_tables(connection, is_current=is_current))
        self._check("its pages", lambda connection: contents.of_pages(connection, quick=quick))
        self._read_events(row, quick=quick)
        if is_current:  # the tables of others are asked for what they do not have
            self._read_deliveries()

    def _recognise(self) -> LogRow | None:
        def question(connection: sqlite3.Connection) -> LogRow:
            if recognise(connection, self._asking.path, adopt=False) is None:
                raise NotAnEventLog(self._asking.path, "there is no log in it.")
            return examining.log_row(connection)

        try:
            return self._asking.ask(question)
        except LogCorrupt as error:
            self.findings.append(_unreadable("not-whole", error))
        except LogReadOnly:
            if not Shape.of(self._asking.path).journal:
                raise
            self.is_beyond_reach = True  # to read it, that transaction would have to be taken back first
        return None

    def _read_events(self, row: LogRow, *, quick: bool) -> None:
        extents: list[Extent] = []
        told = self._witnessed(row.log_id)  # before the log: whoever publishes meanwhile commits before it says so

        def extent(connection: sqlite3.Connection) -> Iterator[Finding]:
            extents.append(examining.extent(connection))
            self.facts.update(first=extents[-1].first, last=extents[-1].last, last_time=extents[-1].last_time)
            return iter(())

        self._check("its events", extent)
        if not extents:
            return
        self.findings += contents.of_witness(row, extents[-1], told)
        self._check("its deliveries", lambda connection: contents.of_positions(connection, extents[-1]))
        if quick:
            return
        self._check("its sequences", lambda connection: contents.of_sequences(connection, row, extents[-1]))
        try:
            self.facts["events"], found = contents.of_checksums(self._asking, extents[-1], self._progress)
            self.findings += found
        except LogError as error:
            self.findings.append(_unreadable("unreadable", error))

    def _witnessed(self, log_id: str) -> list[Witnessed]:
        try:
            found = witness.look(Location.of(self._asking.path), log_id)
        except (OSError, LogError) as error:
            self.findings.append(Finding("witness", "look", f"The -witness beside the log cannot be read: {error}"))
            return []
        self.facts["witnessed"] = max((each.told for each in found), default=None)
        return found

    def _read_deliveries(self) -> None:
        checks = {
            "its subscriptions": deliveries.of_subscriptions,
            "its dead letters": deliveries.of_dead_letters,
            "its breakers": deliveries.of_breakers,
            "its schedules": deliveries.of_schedules,
            "its inbox and outbox": deliveries.of_doors,
        }
        for what, check in checks.items():
            self._check(what, lambda connection, check=check: check(connection, self._moment))  # type: ignore[misc]

    def _check(self, what: str, check: Check) -> None:
        """Make one check; that it could not be made is a finding, too."""
        try:
            self.findings += self._asking.ask(lambda connection: list(check(connection)))
        except (LogTooNew, NotAnEventLog):
            raise
        except LogError as error:
            self.findings.append(_unreadable("unreadable", error, what))


def _unreadable(code: str, error: LogError, what: str = "") -> Finding:
    said = error.what.removeprefix(f"{error.path}: ")
    return Finding(
        code,
        "damaged",
        f"{what.capitalize()} could not be read: {said}" if what else f"It does not hold together: {said}",
        error.hint or "Keep a copy of the file with its -wal, and restore a backup or try eventbus salvage.",
    )


def _nobody_asks(done: int, total: int) -> None:
    """Nobody wants to know how far it is."""
