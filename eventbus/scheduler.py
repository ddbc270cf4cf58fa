"""The alarm clock that wakes a sleeping bus when a retry is due. It rings; it never runs anybody's code."""

# APScheduler has no type hints.
# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from eventbus.clock import Clock, SystemClock

if TYPE_CHECKING:
    from apscheduler.schedulers.background import BackgroundScheduler

__all__ = ["AlarmClock"]

_log = logging.getLogger("eventbus.scheduler")

_JOB = "wake at the next due time"
_NAME = "eventbus"


class AlarmClock:
    """Calls `ring` once when a point of wall-clock time has come, however late.

    It holds the next point only, and only in memory: due times live in the log. A timer stands still
    while the machine is suspended, so whoever sleeps also looks at the wall clock now and then.
    `ring` is called in the scheduler's thread, which holds locks: it may set a flag, no more.
    """

    def __init__(self, ring: Callable[[], None], clock: Clock) -> None:
        self._ring = ring
        self._clock = clock
        self._lock = threading.Lock()  # never taken by the scheduler's thread
        self._when: float | None = None
        self._scheduler: BackgroundScheduler | None = None
        self._unfollow: Callable[[], None] | None = None
        self._closed = False

    def set(self, when: float | None) -> None:
        """Ring at `when`, in wall-clock seconds, and no longer at any time set before; None: do not ring."""
        with self._lock:
            if self._closed or when == self._when:
                return
            self._when = when
            if isinstance(self._clock, SystemClock):
                self._schedule(when)
                return
            self._follow()
        self._look()

    def rest(self) -> None:
        """End the scheduler's thread if no time is set; the next time that is set starts another."""
        with self._lock:
            if self._when is None:
                self._end_scheduler()

    def close(self) -> None:
        """Stop for good; a time set later is ignored."""
        with self._lock:
            self._closed, self._when = True, None
            self._end_scheduler()
            unfollow, self._unfollow = self._unfollow, None
        if unfollow is not None:
            unfollow()

    def _end_scheduler(self) -> None:
        # Waits for a ring in progress: a scheduler shut down in the middle of it fails in its own thread.
        self._unschedule()
        scheduler, self._scheduler = self._scheduler, None
        if scheduler is not None:
            scheduler.shutdown(wait=False)

    def _schedule(self, when: float | None) -> None:
        if when is None:
            self._unschedule()
            return
        from apscheduler.triggers.date import DateTrigger

        if self._scheduler is None:
            self._scheduler = _start_scheduler()
        # One microsecond later: rounding must not ring before `when` and find nothing due.
        date = datetime.fromtimestamp(when, UTC) + timedelta(microseconds=1)
        self._scheduler.add_job(
            self._went_off,
            DateTrigger(date),
            id=_JOB,
            name=_JOB,
            executor=_NAME,
            jobstore=_NAME,
            misfire_grace_time=None,  # a laptop that slept would lose a job that is a second late
            coalesce=True,
            replace_existing=True,
        )

    def _unschedule(self) -> None:
        if self._scheduler is None:
            return
        from apscheduler.jobstores.base import JobLookupError

        try:
            self._scheduler.remove_job(_JOB, _NAME)
        except JobLookupError:
            _log.debug("The alarm went off while it was being taken back.")

    def _follow(self) -> None:
        """A simulated clock says itself when it moves; one that does not is looked at by the bus."""
        subscribe = getattr(self._clock, "on_advance", None)
        if self._unfollow is None and subscribe is not None:
            self._unfollow = subscribe(self._look)

    def _look(self) -> None:
        when = self._when
        if when is not None and self._clock.time() >= when:
            self._went_off()

    def _went_off(self) -> None:
        self._when = None
        try:
            self._ring()
        except Exception:
            _log.exception("The bus could not be woken; it looks by itself within a second.")


def _start_scheduler() -> BackgroundScheduler:
    from apscheduler.executors.debug import DebugExecutor
    from apscheduler.jobstores.memory import MemoryJobStore
    from apscheduler.schedulers.background import BackgroundScheduler

    # A line in the app's log for every retry would be noise; its own schedulers keep their loggers.
    logger = logging.getLogger("eventbus.scheduler.apscheduler")
    for each in (logger, logging.getLogger(f"apscheduler.executors.{_NAME}")):
        each.setLevel(logging.WARNING)
    scheduler = BackgroundScheduler(
        daemon=True,
        timezone=UTC,
        logger=logger,
        # Inline, under "default" too: otherwise a thread pool is made, which delays the interpreter's exit.
        executors={_NAME: DebugExecutor(), "default": DebugExecutor()},
        jobstores={_NAME: MemoryJobStore()},
    )
    scheduler.start()
    return scheduler
