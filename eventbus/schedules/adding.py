"""Keeping a single event until its time."""

from __future__ import annotations

import math
import sqlite3
from datetime import datetime, timedelta

import attrs

from eventbus.clock import iso
from eventbus.errors import EventBusError, IdempotencyConflict
from eventbus.retry import LONGEST_WAIT
from eventbus.schedules.schedule import Schedule
from eventbus.store import reading, schedules
from eventbus.store.drafts import Draft
from eventbus.store.schedules import Kind, ScheduleRow
from eventbus.store.storage import Storage

When = datetime | timedelta | float


def due_time(when: object, now: float) -> tuple[Kind, float]:
    """Whether that is a time or a number of seconds from now, and when it is over; EventBusError for anything else."""
    if isinstance(when, datetime):
        if when.tzinfo is None or when.utcoffset() is None:
            raise EventBusError(
                f"{when!r} has no time zone: in which country is that?",
                stored="not stored",
                hint="Write when.astimezone() for local time, or give datetime(..., tzinfo=UTC).",
            )
        return "at", when.timestamp()
    wait = when.total_seconds() if isinstance(when, timedelta) else when
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not (math.isfinite(wait) and wait >= 0):
        raise EventBusError(
            f"when= is an aware datetime, or a number of seconds from now on of at least 0, not {when!r}.",
            stored="not stored",
        )
    if wait > LONGEST_WAIT:
        raise EventBusError(f"when= lies {wait:g} s ahead, more than {LONGEST_WAIT:g}.", stored="not stored")
    return "in", now + wait


def add_event(storage: Storage, draft: Draft, kind: Kind, due: float, catch_up: str) -> Schedule:
    """Write down an event that is to be published at `due`; with an id that is there already, return what is there.

    IdempotencyConflict, or EventBusError, where that id stands for something else.
    """
    storage.custody.room.check()
    with storage.writing() as connection:
        now = iso(storage.clock.time())
        row = schedules.for_event(connection, storage.names, draft, kind, iso(due), catch_up, now)
        there = _there(connection, row, draft) if draft.known_id else None
        if there is None:
            schedules.add(connection, row, now)
    return there or Schedule.of(row, draft.type.name, is_declared=True)


def replayed(draft: Draft, kind: Kind, due: float, catch_up: str) -> Schedule:
    """What a replayed handler is told: nothing is kept."""
    row = ScheduleRow(
        id=0,
        name=draft.id,
        kind=kind,
        state="active",
        spec=None,
        timezone=None,
        catch_up=catch_up,
        series=draft.id,
        start=iso(due),
        run=iso(due),
        due=iso(due),
        since=iso(due),
        stream=draft.stream,
        payload=draft.payload,
    )
    return Schedule.of(row, draft.type.name, is_declared=True)


def _there(connection: sqlite3.Connection, row: ScheduleRow, draft: Draft) -> Schedule | None:
    """What the id stands for already, waiting or published."""
    waiting = schedules.one(connection, row.name)
    if waiting is not None:
        if _content(waiting) != _content(row):
            raise EventBusError(
                f"{row.name!r} is scheduled already, for other content.",
                stored="not stored",
                hint="One id names one event: cancel the other one, or use a new id.",
            )
        return Schedule.of(waiting, draft.type.name, is_declared=True)
    stored = reading.one(connection, row.name)
    if stored is None:
        return None
    if (stored[2], stored[3], stored[11]) != _content(row):
        raise IdempotencyConflict(row.name, stored[0])
    return attrs.evolve(Schedule.of(row, draft.type.name, is_declared=True), state="published", next_run=None, due=None)


def _content(row: ScheduleRow) -> tuple[object, object, object]:
    return row.type_id, row.stream, row.payload
