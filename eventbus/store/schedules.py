"""Rows of eventbus_schedules: single events that wait for their time, and what recurs."""

from __future__ import annotations

import sqlite3
from typing import Any, Literal

import attrs

from eventbus.asking import can_be_there
from eventbus.store.drafts import Draft
from eventbus.store.names import NameBook

Kind = Literal["at", "in", "every", "cron"]
State = Literal["active", "cancelled", "failed"]

_COLUMNS = (
    "id, name, kind, state, spec, timezone, catch_up, series, start, run, due, since, last_run, runs, missed, attempts,"
    " error, type_id, source_id, stream, correlation_id, causation_id, metadata, payload"
)
_ADD = (
    f"INSERT INTO eventbus_schedules ({_COLUMNS}, created_at, updated_at)"
    f" VALUES (NULL{', ?' * _COLUMNS.count(',')}, ?, ?)"
)
_CHANGE = (
    "UPDATE eventbus_schedules SET kind = ?, state = ?, spec = ?, timezone = ?, catch_up = ?, start = ?, run = ?,"
    " due = ?, since = ?, last_run = ?, runs = ?, missed = ?, attempts = ?, error = ?, updated_at = ? WHERE id = ?"
)
_ONE = f"SELECT {_COLUMNS} FROM eventbus_schedules WHERE name = ?"
_BEGINNING = f"SELECT {_COLUMNS} FROM eventbus_schedules WHERE name >= ? AND name < ? AND spec IS NULL LIMIT ?"
_RECURRING = f"SELECT {_COLUMNS} FROM eventbus_schedules WHERE spec IS NOT NULL ORDER BY id"
_DUE = (
    f"SELECT {_COLUMNS} FROM eventbus_schedules WHERE state = 'active' AND spec IS NULL AND due <= ?"
    " ORDER BY due, id LIMIT ?"
)
_NEXT_DUE = "SELECT min(due) FROM eventbus_schedules WHERE state = 'active' AND spec IS NULL"
_SET_BACK = f"SELECT {_COLUMNS} FROM eventbus_schedules WHERE kind = 'in' AND state = 'active' AND since > ?"
_LISTED = f"SELECT {_COLUMNS} FROM eventbus_schedules ORDER BY due IS NULL, due, id LIMIT ?"
_DELETE = "DELETE FROM eventbus_schedules WHERE id = ?"


@attrs.frozen
class ScheduleRow:
    """One schedule; times are ISO texts, see the comments of the table."""

    id: int
    name: str
    kind: Kind
    state: State
    spec: str | None
    timezone: str | None
    catch_up: str
    series: str
    start: str
    run: str | None
    due: str | None
    since: str
    last_run: str | None = None
    runs: int = 0
    missed: int = 0
    attempts: int = 0
    error: str | None = None
    type_id: int | None = None
    source_id: int | None = None
    stream: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    metadata: str | None = None
    payload: Any = None


def add(connection: sqlite3.Connection, row: ScheduleRow, now: str) -> None:
    """Write a new one; its `id` is given by the table."""
    connection.execute(_ADD, (*attrs.astuple(row)[1:], now, now))


def for_event(
    connection: sqlite3.Connection, names: NameBook, draft: Draft, kind: Kind, due: str, catch_up: str, now: str
) -> ScheduleRow:
    """The row of one event that is to be published later, in the open transaction that adds it."""
    return ScheduleRow(
        id=0,
        name=draft.id,
        kind=kind,
        state="active",
        spec=None,
        timezone=None,
        catch_up=catch_up,
        series=draft.id,
        start=now,
        run=due,
        due=due,
        since=now,
        type_id=names.type_id(connection, draft.type),
        source_id=names.source_id(connection, draft.source),
        stream=draft.stream,
        correlation_id=draft.correlation_id,
        causation_id=draft.causation_id,
        metadata=draft.metadata,
        payload=draft.payload,
    )


def change(connection: sqlite3.Connection, row: ScheduleRow, now: str) -> None:
    """Write what may have changed of one."""
    connection.execute(
        _CHANGE,
        (
            *(row.kind, row.state, row.spec, row.timezone, row.catch_up, row.start, row.run, row.due, row.since),
            *(row.last_run, row.runs, row.missed, row.attempts, row.error, now, row.id),
        ),
    )


def delete(connection: sqlite3.Connection, row_id: int) -> None:
    """It is published, or forgotten."""
    connection.execute(_DELETE, (row_id,))


def one(connection: sqlite3.Connection, name: str) -> ScheduleRow | None:
    """The one of this name."""
    found = connection.execute(_ONE, (name,)).fetchone() if can_be_there(name) else None
    return ScheduleRow(*found) if found else None


def events_beginning(connection: sqlite3.Connection, prefix: str, *, limit: int) -> list[ScheduleRow]:
    """Single events whose id begins so."""
    return [ScheduleRow(*found) for found in connection.execute(_BEGINNING, (prefix, prefix + "\U0010ffff", limit))]


def recurring(connection: sqlite3.Connection) -> list[ScheduleRow]:
    """All that recur."""
    return [ScheduleRow(*found) for found in connection.execute(_RECURRING).fetchall()]


def due_events(connection: sqlite3.Connection, now: str, limit: int) -> list[ScheduleRow]:
    """Single events whose time has come; those of one time in the order in which they were asked for."""
    return [ScheduleRow(*found) for found in connection.execute(_DUE, (now, limit)).fetchall()]


def next_event(connection: sqlite3.Connection) -> str | None:
    """When the next single event is due."""
    (found,) = connection.execute(_NEXT_DUE).fetchone()
    return found if isinstance(found, str) else None


def asked_in_the_future(connection: sqlite3.Connection, now: str) -> list[ScheduleRow]:
    """Events to be published so many seconds after they were asked for, which is later than now."""
    return [ScheduleRow(*found) for found in connection.execute(_SET_BACK, (now,)).fetchall()]


def listed(connection: sqlite3.Connection, limit: int) -> list[ScheduleRow]:
    """All, the next one first."""
    return [ScheduleRow(*found) for found in connection.execute(_LISTED, (limit,)).fetchall()]
