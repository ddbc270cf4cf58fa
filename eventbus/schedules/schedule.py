"""One schedule, as an app looks at it."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Literal

import attrs

from eventbus.clock import from_iso
from eventbus.store.schedules import Kind, ScheduleRow

ScheduleState = Literal["active", "retrying", "failed", "cancelled", "orphan", "published"]


@attrs.frozen
class Schedule:
    """What is to be published, and when.

    `name`: of a single event, the id that it will have. `when`: its time, the seconds or the cron expression.
    `state`: "active"; "retrying" where its factory failed; "orphan" where no factory is declared for it here;
    "cancelled"; "failed": an event that could not be published; "published": one that is in the log already.
    `runs`: how many times have passed, `missed`: for how many of them nothing was published (see `catch_up`).
    `type` and `payload` are those of a single event.
    """

    name: str
    kind: Kind
    state: ScheduleState
    when: str
    timezone: str | None
    catch_up: str
    next_run: datetime | None
    due: datetime | None
    last_run: datetime | None
    runs: int
    missed: int
    attempts: int
    error: str | None
    type: str | None = None
    stream: str | None = None
    payload: Any = None

    @property
    def event_id(self) -> str | None:
        """The id that a single event will have; None for what recurs."""
        return self.name if self.kind in ("at", "in") else None

    @classmethod
    def of(cls, row: ScheduleRow, type_name: str | None, *, is_declared: bool) -> Schedule:
        """Around a row."""
        state: ScheduleState = row.state
        if row.state == "active" and row.spec is not None and not is_declared:
            state = "orphan"
        elif row.state == "active" and row.attempts:
            state = "retrying"
        return cls(
            name=row.name,
            kind=row.kind,
            state=state,
            when=row.spec or row.run or "",
            timezone=row.timezone,
            catch_up=row.catch_up,
            next_run=_time(row.run),
            due=_time(row.due),
            last_run=_time(row.last_run),
            runs=row.runs,
            missed=row.missed,
            attempts=row.attempts,
            error=row.error,
            type=type_name,
            stream=row.stream,
            payload=_decoded(row.payload),
        )


def _time(text: str | None) -> datetime | None:
    return None if text is None else from_iso(text)


def _decoded(payload: Any) -> Any:
    """The JSON of an event that is to come; as it is where it is none, for whoever shows it."""
    try:
        return json.loads(payload) if isinstance(payload, str) else payload
    except (ValueError, RecursionError):
        return payload
