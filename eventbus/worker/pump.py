"""The pump: one thread that moves the log through the lanes, or the same steps in whoever drains."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from eventbus.clock import Bell, Clock, ClockWatch, Deadline
from eventbus.errors import BusClosed, EventBusError, WaitTimeout
from eventbus.store.drafts import Appended
from eventbus.store.storage import Storage
from eventbus.worker.lane import Lane
from eventbus.worker.loop import BusLoop
from eventbus.worker.progress import Progress
from eventbus.worker.recording import Effect
from eventbus.worker.roster import Roster
from eventbus.worker.rounds import Rounds
from eventbus.worker.runners import Draft, Runners
from eventbus.worker.waking import SETTLING_SECONDS, Neighbours

TICK = 1.0  # seconds between looks at the log when nothing rings: the safety net under every wake-up
STANDBY_TICK = 0.25  # the same while another process delivers something whose end would not be heard
LONGEST_LET_GO = 10.0  # seconds to wait for the handler of a subscription that is being forgotten
LOOK_AGAIN = 0.1  # seconds after which somebody who waits looks again, though nothing has told him to
REST_AFTER_TROUBLE = 1.0  # seconds before a lane, or the pump, tries again after an error of the log's

_log = logging.getLogger("eventbus.worker")


class Companion(Protocol):
    """Another room that works beside delivery, in each round, and has times of its own."""

    def look_again(self) -> None:
        """Look at the log in the next round, however short ago that was done."""
        ...

    def is_busy(self) -> bool:
        """True while something is on its way that it will take up."""
        ...

    def next_due(self) -> float | None:
        """When it has something to do next, wall clock."""
        ...


class Pump:
    """Delivers to the subscriptions it is given; `bell` tells it to look at the log now."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        loop: BusLoop,
        *,
        bell: Bell,
        neighbours: Neighbours,
        draft: Draft,
        announce: Callable[[list[Appended]], None],
        observe: Callable[[Lane, Effect], None],
        emit: Callable[[object], None],
        alarm: Callable[[float | None], None],
        between: Callable[[], bool],
        at_rest: Callable[[], None],
    ) -> None:
        self._storage, self._clock = storage, clock
        self._alarm, self._between, self._at_rest = alarm, between, at_rest
        self.bell, self.neighbours, self.progress = bell, neighbours, Progress()
        self._runners = Runners(storage, clock, loop, self.bell, draft=draft, announce=announce)
        self._rounds = Rounds(
            storage, clock, self._runners, observe=observe, announce=announce, troubled=self._troubled, emit=emit
        )
        self.roster = Roster(storage, clock, self._rounds, self.bell.ring)
        self.roster.given_up = self.neighbours.wake
        self._stood_by: frozenset[int] = frozenset()  # what was another process's when its end began to be listened for
        self._hears_ends = True
        self._turn = threading.RLock()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._stop = False
        self._passed_over = False  # events were committed that are for nobody here, and the log was not looked at since
        self._next_look = 0.0
        self._next_overdue = math.inf  # seconds, as of the last step
        self.tick: Callable[[], float] = lambda: TICK  # seconds; a room above may want to look more often
        self._watch = ClockWatch(clock)
        self.companions: list[Companion] = []

    # -- what it delivers to -----------------------------------------------------------------------
    def forget(self, row_id: int) -> None:
        """Its row is gone: drop it without recording anything more. Waits for the step that is under way."""
        self.roster.remove(row_id)
        if not self._turn.acquire(timeout=LONGEST_LET_GO):
            return  # the step hangs in a via=; what is lost already is dropped after it
        try:
            self.roster.drop(row_id)
        finally:
            self._turn.release()

    def let_go(self, row_id: int) -> None:
        """Return once nothing of a removed subscription runs here any more; bounded by its handler, and in time.

        What was given to via= is not waited for: it may need the very thread that calls this.
        """
        deadline = Deadline(self._clock, LONGEST_LET_GO)
        while (lane := self._rounds.lanes.get(row_id)) is not None:
            if lane.work.via is not None or not deadline.left():
                lane.lost = lane.paused = True
                self.forget(row_id)
                return
            version = self.progress.version
            if self.started:
                self.bell.ring()
                self.progress.wait(version, LOOK_AGAIN)
            elif not self.step(here=True, only=row_id):
                self.bell.wait(LOOK_AGAIN)

    def heed(self, appended: Iterable[Appended]) -> None:
        """These were committed: look at the log now if one is for somebody here, and else at the next tick."""
        if self._rounds.heeding.ignores(appended):
            self._passed_over = True
        else:
            self.bell.ring()

    # -- its own thread ----------------------------------------------------------------------------
    @property
    def started(self) -> bool:
        """True while its thread delivers."""
        return self._thread is not None

    def start(self) -> None:
        """Deliver in a thread of its own from now on."""
        with self._starting:  # two buses on one file may do so at once
            if self._thread is None and not self._stop:
                self._thread = threading.Thread(target=self._run, name="eventbus-pump", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        rested = False
        while not self._stop:
            try:
                if self.step():
                    rested = False
                    continue
                self._alarm(self.next_due())
                if self._clock.wait(self.bell, self._tick()) or self._passed_over:
                    rested = self._passed_over = False
                elif not rested:
                    self._rest()
                    rested = True
            except BusClosed:
                return
            except EventBusError as error:
                _log.warning("delivery goes on in %g s: %s", REST_AFTER_TROUBLE, error)
                self._clock.wait(self.bell, REST_AFTER_TROUBLE)
            except BaseException:  # what it calls is the app's too: a sys.exit() in there must not end all delivery
                _log.exception("delivery goes on in %g s after an unexpected error", REST_AFTER_TROUBLE)
                self._clock.wait(self.bell, REST_AFTER_TROUBLE)

    def _tick(self) -> float:
        if self.neighbours.is_settling:
            return SETTLING_SECONDS
        return min(TICK if self._hears_ends else STANDBY_TICK, self._next_overdue, self.tick())

    def _rest(self) -> None:
        with self._turn:
            self._rounds.catch_up()
        self._storage.rest()
        self._at_rest()

    # -- one step ----------------------------------------------------------------------------------
    def step(self, *, here: bool = False, only: int | None = None) -> bool:
        """Record, read and hand out once; True if there was anything to do. `here`: run handlers on this thread."""
        with self._turn:
            moved = self._adopt()
            moved = self._look_around() or moved
            overdue = self._rounds.find_overdue()
            self._next_overdue = math.inf if overdue is None else overdue
            handled = self._rounds.record()
            read = self._rounds.read()
            launched = False if self._stop else self._rounds.launch(here=here, only=only)
            moved = self._between() or moved  # last: a handler that an event has been waiting for is not kept waiting
        if moved or handled or read:
            self.progress.change()
        return moved or handled or read or launched

    def _adopt(self) -> bool:
        moved = self.roster.adopt(stopping=self._stop)
        if self.started and self.roster.works():
            self.neighbours.join()
            if self.roster.standby != self._stood_by:
                self._listen_for_ends()
        return moved

    def _listen_for_ends(self) -> None:
        """Have the end of each process that delivers what this one stands by for ring the bell."""
        self._stood_by = self.roster.standby
        self._hears_ends = self.neighbours.watch(self.roster.owners())

    def _look_around(self) -> bool:
        """As often as the pump ticks, what nobody rings for: classes that were loaded, handlers that hang, rows that
        another process has changed, processes that ended without a word; True if rows were changed.
        """
        now = self._clock.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + TICK
        if self._watch.moved() < 0:
            self.roster.reload_all()
        self._rounds.wake_loaded()
        self._runners.look()
        self._rounds.circuits.look(self._rounds.lanes.values())
        self.neighbours.tidy()
        if self._stood_by:
            self._listen_for_ends()  # it may be yet another process's by now
        return self.roster.reload_changed()

    def _troubled(self, lane: Lane, error: EventBusError) -> None:
        self.roster.troubled(lane, error)

    # -- looking at it -----------------------------------------------------------------------------
    @property
    def handled(self) -> int:
        """How many deliveries succeeded in this process."""
        return self._rounds.handled

    def next_due(self) -> float | None:
        """When the next parked delivery, or companion, is due, wall clock; those of a paused subscription are not."""
        with self._turn:  # looking drops what is stale from a lane's heap
            dues = [self._rounds.next_due(), *(each.next_due() for each in self.companions)]
            return min((when for when in dues if when is not None), default=None)

    def quiet(self) -> bool:
        """True if nothing is due now: everything is handled, or waits for a later time or a person."""
        with self._turn:
            if self._between() or not self.roster.settled() or any(each.is_busy() for each in self.companions):
                return False
            now = self._clock.time()
            with self._storage.reading() as connection:
                head = self._rounds.look(connection)
            return self._rounds.quiet(head, now)

    # -- draining and stopping ---------------------------------------------------------------------
    def drain(self, deadline: Deadline | None) -> int:
        """Handle all that is due now, on this thread unless the pump's own delivers; returns how many succeeded.

        Raises WaitTimeout after the deadline.
        """
        before = self.handled
        self._next_look = 0.0
        for each in self.companions:
            each.look_again()
        while True:
            version = self.progress.version
            if self.started:
                if self.quiet():
                    return self.handled - before
                self.bell.ring()
                self.progress.wait(version, _left(deadline))
            elif not self.step(here=True):
                if self.quiet():
                    return self.handled - before
                self.bell.wait(_left(deadline))
            if deadline is not None and not deadline.left():
                raise WaitTimeout("Not everything that was due was handled", deadline.seconds)

    def stop(self, deadline: Deadline) -> list[str]:
        """Hand out nothing more, wait for what runs, record it, give the claims back; returns what still ran."""
        self._stop = self._runners.stopping = True
        self.bell.ring()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(deadline.left())
        entered = self._turn.acquire(timeout=deadline.left())
        try:
            return self._finish(deadline) if entered else self._abandon()
        finally:  # whatever could not be written: what is not ours any more is another's at once
            self.roster.close()
            if entered:
                self._rounds.lanes.clear()
                self._turn.release()
            self.neighbours.leave()
            self.progress.change()

    def _finish(self, deadline: Deadline) -> list[str]:
        """In the pump's turn: record what still comes back, and give the claims back."""
        lanes = self._rounds.lanes.values()
        self._rounds.record()
        while any(lane.runs() for lane in lanes) and deadline.left():
            self.bell.wait(deadline.left(0.05))
            self._rounds.record()
        left = self._running()
        if left:
            self._storage.end_delivery()
        self._rounds.give_back()
        return left

    def _running(self) -> list[str]:
        """The subscriptions whose handlers run, each with the positions that they handle."""
        told: list[str] = []
        for lane in list(self._rounds.lanes.values()):
            jobs = [*lane.jobs, *lane.strays]
            positions = [str(position) for job in jobs if (position := job.position) is not None]
            if lane.runs():
                told.append(f"{lane.name!r}" + (f" (position {', '.join(positions)})" if positions else ""))
        return told

    def _abandon(self) -> list[str]:
        """Give the claims back while a thread that drains is still in its handler: it records nothing any more."""
        left = self._running() or ["a thread that drains"]
        for lane in list(self._rounds.lanes.values()):
            if not lane.lost:
                lane.lost = lane.paused = True
                self._storage.end_delivery()
                self._rounds.give_back_one(lane)
        return left


def _left(deadline: Deadline | None) -> float:
    """How long to wait until looking again, in seconds."""
    return LOOK_AGAIN if deadline is None else deadline.left(LOOK_AGAIN)
