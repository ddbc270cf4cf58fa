"""Handlers that run for longer than their timeout: an async one is cancelled, a thread is reported and gone around."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable, Iterable

from eventbus.clock import Clock
from eventbus.delivery import Behind, Item, Left, Overdue, among, each
from eventbus.errors import HandlerTimeout
from eventbus.technical import HandlerOverdue
from eventbus.worker.job import Job
from eventbus.worker.lane import Lane
from eventbus.worker.reordering import IN_LINE

GRACE_SECONDS = 1.0  # what an async handler gets to end after it was cancelled

_log = logging.getLogger("eventbus.delivery")


class OverdueWatch:
    """Looks at the jobs of all lanes, in the pump's turn."""

    def __init__(self, clock: Clock, emit: Callable[[object], None]) -> None:
        self._clock, self._emit = clock, emit

    def look(self, lanes: Iterable[Lane]) -> float | None:
        """Do what is to be done; returns in how many seconds the next handler may be overdue."""
        now = self._clock.monotonic()
        ends: list[float] = []
        for lane in lanes:
            if lane.work.timeout is None:
                continue
            for job in list(lane.jobs):
                end = self._look_at(lane, job, lane.work.timeout, now)
                if end is not None:
                    ends.append(end)
        return max(0.0, min(ends) - now) if ends else None

    def _look_at(self, lane: Lane, job: Job, timeout: float, now: float) -> float | None:
        """When the event it is trying will be overdue, monotonic; None if it tries none, or has been parted with."""
        with job.lock:
            item = job.trying
            if item is None or not item.running:
                return None if job.finished else now + timeout
            end = item.started + timeout if item.cancelled is None else item.cancelled + GRACE_SECONDS
            if now < end:
                return end
            if job.cancel is not None and item.cancelled is None:
                item.cancelled = now
                job.cancel(item)
                return now + GRACE_SECONDS
            job.detached = True
        self._part(lane, job, item, now)
        return None

    def _part(self, lane: Lane, job: Job, trying: Item, now: float) -> None:
        """Go on without a job: what it tries is parked until that returns, what it has not begun is free."""
        stuck = each(trying)
        lane.jobs.remove(job)
        lane.strays.append(job)
        seconds = now - trying.started
        stack = _stack(trying.thread)
        if lane.lost:  # nothing of it is recorded here; the lane that follows waits no longer
            job.items = stuck
        else:
            self._set_aside(lane, job, stuck, seconds, stack)
        for item in stuck:
            envelope = item.envelope
            _log.error(
                "%r, %r at position %d: the handler has run for %g s; its order key waits for it:\n%s",
                lane.name, envelope.type, item.position, seconds, stack,
            )  # fmt: skip
            self._emit(
                HandlerOverdue(lane.name, envelope.id, envelope.type, item.position, item.attempt, seconds, stack)
            )

    def _set_aside(self, lane: Lane, job: Job, stuck: list[Item], seconds: float, stack: str) -> None:
        while job.results:
            lane.pending.append(job.results.popleft())
        known = {item.position for unit, _ in lane.pending for item in each(unit)}
        known.update(item.position for item in stuck)
        for item in job.items:
            if item.position not in known:
                lane.put_back(item)
        job.items = stuck
        first: set[str] = set()  # of their keys; what is behind one of these in the list waits for it, as always
        for item in stuck:
            if lane.strict and len(stuck) > 1:
                item.key = IN_LINE
            error = HandlerTimeout(lane.name, lane.work.timeout or seconds)
            overdue = Overdue(error, self._clock.time() - seconds, seconds, stack, not item.parked)
            lane.pending.append((item, Behind() if item.key in first else overdue))
            first.update([] if item.key is None else [item.key])
            item.parked = True


def collect_strays(lane: Lane) -> None:
    """What came back from handlers that the lane has parted with; that of a lost one is for the next to read."""
    if lane.lost:
        return
    for job in list(lane.strays):
        finished = job.finished
        while job.results:
            unit, outcome = job.results.popleft()
            if (mine := among(unit, job.items)) is not None:
                lane.pending.append((mine, outcome))
        if finished:
            lane.strays.remove(job)
            left = [item for item in job.items if item.position not in job.reported]
            lane.pending.extend((item, Left()) for item in left)


def _stack(thread: int | None) -> str:
    # Its name has an underscore, and its documentation says what it is for: this.
    frame = sys._current_frames().get(thread) if thread is not None else None  # pyright: ignore[reportPrivateUsage]
    if frame is None:
        return "(its thread has ended)"
    return "".join(traceback.format_stack(frame))
