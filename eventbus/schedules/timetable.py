"""What is due in this process, and when the next time comes; looked at in each of the pump's rounds.

The table is the truth: what is kept here in between is read again once a second, after each change, and when
the wall clock was set.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from eventbus.clock import STEADY_SECONDS, ClockWatch, iso
from eventbus.errors import EventDefinitionError, LogCorrupt
from eventbus.events import Vocabulary
from eventbus.recurrence import Recurrence, restored
from eventbus.schedules import planning
from eventbus.schedules.factories import Factory, Made, make
from eventbus.schedules.planning import Plan, seconds
from eventbus.schedules.publishing import Publisher
from eventbus.schedules.recording import settled
from eventbus.store import schedules
from eventbus.store.drafts import Appended
from eventbus.store.schedules import ScheduleRow
from eventbus.store.storage import Storage
from eventbus.store.trouble import is_of_the_log
from eventbus.threads import Pool

LOOK_SECONDS = 1.0  # between two looks at the table when nothing is known to be due
REST_SECONDS = 60.0  # before something is tried again that cannot be understood
_FACTORIES_AT_ONCE = 4

_log = logging.getLogger("eventbus.schedules")


class Timetable:
    """The schedules of one log, as far as this process publishes them; implements `worker.pump.Companion`."""

    def __init__(
        self,
        storage: Storage,
        vocabulary: Vocabulary,
        *,
        ring: Callable[[], None],
        announce: Callable[[Sequence[Appended]], None],
        emit: Callable[[object], None],
    ) -> None:
        self._storage, self._clock = storage, storage.clock
        self._ring, self._emit = ring, emit
        self._publisher = Publisher(storage, vocabulary, announce=announce, emit=emit)
        self._lists, self._recording = threading.RLock(), threading.RLock()
        self._declared: dict[str, list[Factory]] = {}
        self._waiting: list[Factory] = []
        self._rows: dict[str, ScheduleRow] = {}
        self._next_event: float | None = None
        self._running: set[str] = set()
        self._resting: dict[str, float] = {}  # until when, monotonic
        self._made: deque[Made] = deque()
        self._pool = Pool("eventbus-schedule", limit=_FACTORIES_AT_ONCE)
        self._watch = ClockWatch(self._clock)
        self._gaps: list[tuple[float, float]] = []
        self._watched_since: float | None = None
        self._next_look = 0.0
        self._is_stale = True

    # -- what is declared --------------------------------------------------------------------------
    def declare(self, factory: Factory) -> None:
        """Publish what a factory makes, from the next round on; the same function again replaces the one before.

        EventDefinitionError where another function has the name.
        """
        with self._lists:
            others = self._declared.setdefault(factory.name, [])
            for other in others:
                refuse_other(other, factory)
            warn_of_other_times(others, factory)
            others.append(factory)
            self._waiting.append(factory)
        self._ring()

    def take_out(self, factory: Factory) -> None:
        """Call it no more; its row stays, as an orphan's, unless another bus here has declared the same."""
        with self._lists:
            left = [each for each in self._declared.get(factory.name, []) if each is not factory]
            self._waiting = [each for each in self._waiting if each is not factory]
            if left:
                self._declared[factory.name] = left
            else:
                self._declared.pop(factory.name, None)

    def is_declared(self, name: str) -> bool:
        """Whether a factory is there for it."""
        return name in self._declared

    def settle(self) -> None:
        """Record what was declared since."""
        if not self._waiting or self._storage.has_open_here():
            return
        with self._recording:
            waiting = list(self._waiting)
            if not waiting:  # another thread has done it meanwhile
                return
            with self._storage.writing() as connection:
                now = self._clock.time()
                refused = {
                    id(each): error
                    for each in waiting
                    if (error := settled(connection, each.declaration, self._clock.new_id(), now)) is not None
                }
            for factory in waiting:
                factory.watched_since = now
                if (error := refused.get(id(factory))) is not None:
                    self.refuse(factory, error)
            with self._lists:
                self._waiting = [each for each in self._waiting if each not in waiting]
            self._is_stale = True

    def refuse(self, factory: Factory, error: EventDefinitionError) -> None:
        """Tell of a declaration that cannot be kept: whoever takes that, as a bus does for its plugins, or the log."""
        self.take_out(factory)
        if factory.declaration.refused is not None:
            factory.declaration.refused(error)
        else:
            _log.error("%s", error)

    def changed(self) -> None:
        """The table has changed."""
        self._is_stale = True

    # -- worker.pump.Companion ---------------------------------------------------------------------
    def look_again(self) -> None:
        """Read the table in the next round."""
        self._is_stale = True

    def is_busy(self) -> bool:
        """True while a factory runs whose events are still to come."""
        return bool(self._running)

    def next_due(self) -> float | None:
        """When the next one is due, wall clock; that of a factory that runs, or rests, comes up by itself."""
        dues = [] if self._next_event is None else [self._next_event]
        dues += [seconds(row.due) for _, row in self._ready() if row.due is not None]
        return min(dues, default=None)

    # -- a round -----------------------------------------------------------------------------------
    def look(self) -> bool:
        """Publish what is due, and begin to make what is; True if anything was written."""
        self.settle()
        moved = self._take_made()
        monotonic, now = self._clock.monotonic(), self._clock.time()
        if self._is_stale or monotonic >= self._next_look:
            self._next_look = monotonic + LOOK_SECONDS
            self._pool.look(monotonic)
            self._notice_the_clock(now)
            self._read(now)
        if self._next_event is not None and self._next_event <= now:
            moved = self._publish_events(now) or moved
        for factory, row in self._ready():
            if row.due is not None and seconds(row.due) <= now:
                moved = self._begin(factory, row, now) or moved
        return moved

    def _ready(self) -> list[tuple[Factory, ScheduleRow]]:
        """What could be begun when its time comes."""
        with self._lists:
            declared = {name: factories[-1] for name, factories in self._declared.items()}
        monotonic = self._clock.monotonic()
        found = [(declared[name], row) for name, row in self._rows.items() if name in declared]
        return [
            (factory, row)
            for factory, row in found
            if row.state == "active"
            and row.name not in self._running
            and self._resting.get(row.name, monotonic) <= monotonic
        ]

    def _notice_the_clock(self, now: float) -> None:
        if self._watched_since is None:
            self._watched_since = now
        moved = self._watch.moved()
        if moved > 0:
            _log.info("the clock was put forward by %.0f s", moved)
            self._gaps = [*self._gaps[-20:], (now - moved, now)]
        if moved < 0:
            _log.info("the clock was put back by %.0f s", -moved)
            self._gaps = []
            self._watched_since = min(self._watched_since, now)
            with self._lists:
                for each in [factory for factories in self._declared.values() for factory in factories]:
                    each.watched_since = min(each.watched_since, now)

    def _read(self, now: float) -> None:
        """Read the table, and set right what a clock that was set back has put off."""
        self._is_stale = False
        with self._storage.reading() as connection:
            rows = schedules.recurring(connection)
            late = schedules.asked_in_the_future(connection, iso(now + STEADY_SECONDS))
            due = schedules.next_event(connection)
        self._rows = {row.name: row for row in rows}
        self._next_event = None if due is None else seconds(due)
        odd = [row for row in (*rows, *late) if self._right(row, now) is not row]
        if odd:
            self._set_right([row.name for row in odd], now)

    def _set_right(self, names: list[str], now: float) -> None:
        with self._storage.writing(synced=False) as connection:
            for name in names:
                row = schedules.one(connection, name)
                if row is not None and (right := self._right(row, now)) is not row:
                    schedules.change(connection, right, iso(now))
        self._is_stale = True

    def _right(self, row: ScheduleRow, now: float) -> ScheduleRow:
        if row.spec is not None and row.name not in self._declared:
            return row
        try:
            return planning.set_right(row, _recurrence(row), now)
        except (ValueError, EventDefinitionError, LogCorrupt) as error:
            self._rest(row, error)
            return row

    # -- single events -----------------------------------------------------------------------------
    def _publish_events(self, now: float) -> bool:
        assert self._watched_since is not None
        published = self._publisher.events(now, self._watched_since)
        self._is_stale = True
        return published

    # -- what recurs -------------------------------------------------------------------------------
    def _begin(self, factory: Factory, row: ScheduleRow, now: float) -> bool:
        """Have a factory called for the runs that are due; True where there is nothing to make, and that is written."""
        try:
            plan = self._plan(factory, row, now)
        except (ValueError, EventDefinitionError, LogCorrupt) as error:
            self._rest(row, error)
            return False
        if plan.runs:
            self._running.add(row.name)
            self._pool.run(lambda: self._make(factory, row, plan))
            return False
        return self._publish(Made(factory, row, plan))

    def _plan(self, factory: Factory, row: ScheduleRow, now: float) -> Plan:
        recurrence = _recurrence(row)
        assert recurrence is not None
        assert row.run is not None
        return planning.plan(
            recurrence,
            seconds(row.start),
            seconds(row.run),
            row.catch_up,
            now,
            watched_since=factory.watched_since,
            gaps=self._gaps,
        )

    def _make(self, factory: Factory, row: ScheduleRow, plan: Plan) -> None:
        self._made.append(make(factory, row, plan))
        self._ring()

    def _take_made(self) -> bool:
        moved = False
        while self._made:
            made = self._made[0]
            if self.is_declared(made.row.name):
                moved = self._publish(made) or moved  # first: what the log refuses is tried again in the next round
            self._made.popleft()
            self._running.discard(made.row.name)
            self._is_stale = True
        return moved

    def _publish(self, made: Made) -> bool:
        try:
            return self._publisher.made(made)
        except Exception as error:
            if is_of_the_log(error):
                raise
            self._rest(made.row, error)
            return False
        finally:
            self._is_stale = True

    def _rest(self, row: ScheduleRow, error: Exception) -> None:
        """Leave something alone for a while: it must not keep all others from their time."""
        if self._resting.get(row.name, 0.0) <= self._clock.monotonic():
            _log.error("the schedule %s is looked at again in %g s", row.name, REST_SECONDS, exc_info=error)
        self._resting[row.name] = self._clock.monotonic() + REST_SECONDS


def _recurrence(row: ScheduleRow) -> Recurrence | None:
    return None if row.spec is None else restored(row.kind, row.spec, row.timezone)


def refuse_other(old: Factory, new: Factory) -> None:
    """The same function again replaces, as in a reload or a notebook; another one is a mistake."""
    ours, theirs = old.declaration.qualified, new.declaration.qualified
    if ours != theirs:
        raise EventDefinitionError(
            f"The schedule {new.name!r} is declared twice: by {ours} and by {theirs}.",
            hint="Give one of them another name=, or close the first registration.",
        )


def warn_of_other_times(others: Sequence[Factory], new: Factory) -> None:
    """Log that the same function is declared with other times, too: as a reload does, or a mistake."""
    times = _times(new)
    other = next((each for each in reversed(others) if _times(each) != times), None)
    if other is not None:
        _log.warning(
            "the schedule %r is declared twice: before with %s, now with %s, which counts from now on",
            new.name, _times(other), times,
        )  # fmt: skip


def _times(factory: Factory) -> str:
    declaration, recurrence = factory.declaration, factory.declaration.recurrence
    catch_up = f"catch_up={declaration.catch_up!r}"
    if recurrence.kind == "every":
        return f"every={float(recurrence.spec):g}, {catch_up}"
    return f"cron={recurrence.spec!r}, timezone={recurrence.timezone!r}, {catch_up}"
