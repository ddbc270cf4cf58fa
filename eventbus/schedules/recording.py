"""Bringing a schedule's row in line with what is declared."""

from __future__ import annotations

import sqlite3

import attrs

from eventbus.clock import iso
from eventbus.errors import EventDefinitionError
from eventbus.handlers import ScheduleDeclaration
from eventbus.schedules.planning import first_run, moved, seconds
from eventbus.store import schedules
from eventbus.store.schedules import Kind, ScheduleRow


def settled(
    connection: sqlite3.Connection, declaration: ScheduleDeclaration, series: str, now: float
) -> EventDefinitionError | None:
    """Write its row in the open transaction, or what has changed of it; returns what keeps it from being written.

    Another interval, expression or zone counts from now on; the runs that were missed by the old one are gone.
    `series` is for a new one.
    """
    row = schedules.one(connection, declaration.name)
    if row is None:
        schedules.add(connection, _new(declaration, series, now), iso(now))
        return None
    if row.spec is None:
        return EventDefinitionError(
            f"A single event of the id {row.name!r} is scheduled: no schedule can have that name.", stored="not stored"
        )
    changed = attrs.evolve(row, catch_up=declaration.catch_up)
    recurrence = declaration.recurrence
    if (row.kind, row.spec, row.timezone) != (recurrence.kind, recurrence.spec, recurrence.timezone):
        last_run = None if row.last_run is None else seconds(row.last_run)
        kind: Kind = "every" if recurrence.kind == "every" else "cron"
        text = iso(now)
        changed = attrs.evolve(changed, kind=kind, spec=recurrence.spec, timezone=recurrence.timezone, start=text)
        changed = attrs.evolve(moved(changed, first_run(recurrence, now, now, last_run), now), error=None)
    if changed != row:
        schedules.change(connection, changed, iso(now))
    return None


def _new(declaration: ScheduleDeclaration, series: str, now: float) -> ScheduleRow:
    recurrence = declaration.recurrence
    row = ScheduleRow(
        id=0,
        name=declaration.name,
        kind="every" if recurrence.kind == "every" else "cron",
        state="active",
        spec=recurrence.spec,
        timezone=recurrence.timezone,
        catch_up=declaration.catch_up,
        series=series,
        start=iso(now),
        run=None,
        due=None,
        since=iso(now),
    )
    return moved(row, first_run(recurrence, now, now), now)
