"""Which runs are to be published now, and which time comes next. Rules only: no clock, no file, no thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import attrs

from eventbus.clock import STEADY_SECONDS, from_iso, iso, waits_until
from eventbus.recurrence import Every, Recurrence
from eventbus.store.schedules import ScheduleRow

CatchUp = Literal["all", "latest", "skip"]

LATE_SECONDS = 60.0  # a run that somebody was there for is missed only if it could not be published for so long
AT_ONCE = 100  # missed runs of one schedule that are published in one commit; then all others have their turn
WRONG_BEFORE = 86400.0  # seconds; a last run further ahead than this was counted by a clock that was wrong


@attrs.frozen
class Plan:
    """`runs` are to be published, oldest first; `passed` others are not, the first and last of them at `between`."""

    runs: tuple[float, ...]
    following: float | None
    passed: int = 0
    between: tuple[float, float] | None = None


def plan(
    recurrence: Recurrence,
    start: float,
    run: float,
    catch_up: str,
    now: float,
    *,
    watched_since: float,
    gaps: Sequence[tuple[float, float]] = (),
) -> Plan:
    """What to do about a `run` whose time has come.

    `watched_since`: since when somebody would have published it in time. `gaps`: times that nobody has lived
    through, because the clock was put forward over them; of the runs in there the last one counts.
    """
    if catch_up == "all":
        return _all(recurrence, start, run, now, gaps)
    last = _latest(recurrence, start, run, now)
    is_missed = last < watched_since or now - last > LATE_SECONDS
    following = recurrence.next(last, start)
    passed = recurrence.count(run, last, start) if last > run else 0
    if catch_up == "skip" and is_missed:
        return Plan((), following, passed + 1, (run, last))
    return Plan((last,), following, passed, (run, last) if passed else None)


def _all(recurrence: Recurrence, start: float, run: float, now: float, gaps: Sequence[tuple[float, float]]) -> Plan:
    runs: list[float] = []
    passed, between = 0, None
    found: float | None = run
    while found is not None and found <= now and len(runs) < AT_ONCE:
        for before, after in gaps:
            if before < found <= after:
                last = _latest(recurrence, start, found, min(after, now))
                if last > found:
                    passed += recurrence.count(found, last, start)
                    between = (between[0] if between else found, last)
                    found = last
        runs.append(found)
        found = recurrence.next(found, start)
    return Plan(tuple(runs), found, passed, between)


def _latest(recurrence: Recurrence, start: float, run: float, now: float) -> float:
    last = recurrence.latest(now, start)
    return run if last is None else max(run, last)


def first_run(recurrence: Recurrence, start: float, now: float, last_run: float | None = None) -> float | None:
    """The next run of a schedule that is new, or goes on: never one up to the last again.

    A last run that lies far ahead was counted by a clock that was wrong, and does not count.
    """
    after = now if last_run is None or last_run > now + WRONG_BEFORE else max(now, last_run)
    return recurrence.next(after, start)


def set_right(row: ScheduleRow, recurrence: Recurrence | None, now: float) -> ScheduleRow:
    """The row as it should be after the clock was set back; the row itself where it was not."""
    since = seconds(row.since)
    if row.run is None or row.due is None or since <= now + STEADY_SECONDS:
        return row
    run, due = seconds(row.run), seconds(row.due)
    if recurrence is None or row.attempts > 0:
        until = due if row.kind == "at" else waits_until(due, since, now)
        return row if until == due else attrs.evolve(row, due=iso(until), since=iso(now))
    if isinstance(recurrence, Every):
        return moved(attrs.evolve(row, start=iso(now)), now + recurrence.seconds, now)
    last_run = None if row.last_run is None else seconds(row.last_run)
    expected = first_run(recurrence, seconds(row.start), now, last_run)
    return row if expected is None or run <= expected else moved(row, expected, now)


def moved(row: ScheduleRow, run: float | None, now: float) -> ScheduleRow:
    """The row with another next run, which nobody has tried yet."""
    text = None if run is None else iso(run)
    return attrs.evolve(row, run=text, due=text, since=iso(now), attempts=0)


def seconds(text: str) -> float:
    """A stored time as seconds since 1970 UTC."""
    return from_iso(text).timestamp()
