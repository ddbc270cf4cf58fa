"""The pump: one thread that moves the log through the lanes, or the same steps in whoever drains."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from eventbus.clock import Bell, Clock, Deadline, iso
from eventbus.errors import BusClosed, EventBusError, LeaseLost, WaitTimeout
from eventbus.store.append import Appended
from eventbus.store.storage import Storage
from eventbus.worker.adopting import adopt
from eventbus.worker.lane import Lane
from eventbus.worker.loop import BusLoop
from eventbus.worker.progress import Progress
from eventbus.worker.recording import Effect
from eventbus.worker.rounds import Rounds
from eventbus.worker.runners import Draft, Runners
from eventbus.worker.work import Work

TICK = 1.0  # seconds between looks at the log when nothing rings: the safety net under every wake-up
LONGEST_LET_GO = 10.0  # seconds to wait for the handler of a subscription that is being forgotten
LOOK_AGAIN = 0.1  # seconds after which somebody who waits looks again, though nothing has told him to
REST_AFTER_TROUBLE = 1.0  # seconds before a lane, or the pump, tries again after an error of the log's

_log = logging.getLogger("eventbus.worker")


class Pump:
    """Delivers to the subscriptions it is given; `bell` tells it to look at the log now."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        loop: BusLoop,
        *,
        draft: Draft,
        announce: Callable[[list[Appended]], None],
        observe: Callable[[Lane, Effect], None],
        alarm: Callable[[float | None], None],
        between: Callable[[], bool],
        at_rest: Callable[[], None],
    ) -> None:
        self._storage, self._clock = storage, clock
        self._alarm, self._between, self._at_rest = alarm, between, at_rest
        self.bell, self.progress = Bell(), Progress()
        self._runners = Runners(storage, clock, loop, self.bell, draft=draft, announce=announce)
        self._rounds = Rounds(
            storage, clock, self._runners, observe=observe, announce=announce, troubled=self._troubled
        )
        self._turn = threading.RLock()
        self._wanted: dict[int, Work] = {}
        self._reload: dict[int, float] = {}
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._stop = False
        self._next_look = 0.0

    # -- what it delivers to -----------------------------------------------------------------------
    def add(self, row_id: int, work: Work) -> None:
        """Deliver to a subscription from the next round on."""
        self._wanted[row_id] = work
        self.bell.ring()

    def remove(self, row_id: int) -> None:
        """Stop delivering to a subscription; what its handler is doing is finished and recorded first."""
        self._wanted.pop(row_id, None)
        self.reload(row_id)

    def reload(self, row_id: int) -> None:
        """Read a subscription's rows again: somebody has changed them. No further event is begun before."""
        if row_id in self._wanted or row_id in self._rounds.lanes:
            self._reload[row_id] = 0.0  # first: a lane that is being made right now is paused by whoever makes it
        lane = self._rounds.lanes.get(row_id)
        if lane is not None:
            lane.paused = True
        self.bell.ring()

    def works(self) -> dict[int, Work]:
        """What is to be run, by the id of its row."""
        return dict(self._wanted)

    def _is_at_work(self, row_id: int, work: Work) -> bool:
        """False for what has no lane yet, and while a lane still ends that ran what has been replaced since."""
        lane = self._rounds.lanes.get(row_id)
        return lane is not None and lane.work is work

    def caught_up(self, row_id: int, work: Work, *, head: int | None = None, epoch: int | None = None) -> bool:
        """True if this very work has handled all up to `head`, and is still its owner in `epoch`.

        By default: to the end of the log as it was last seen, by whoever this process takes for the owner.
        """
        if not self._is_at_work(row_id, work) or self._wanted.get(row_id) is not work or row_id in self._reload:
            return False
        lane = self._rounds.lanes[row_id]
        return epoch in (None, lane.epoch) and lane.caught_up(self._rounds.head if head is None else head)

    def forget(self, row_id: int) -> None:
        """Its row is gone: drop it without recording anything more. Waits for the step that is under way."""
        self._wanted.pop(row_id, None)
        if not self._turn.acquire(timeout=LONGEST_LET_GO):
            return  # the step hangs in a via=; what is lost already is dropped after it
        try:
            self._reload.pop(row_id, None)
            lane = self._rounds.lanes.pop(row_id, None)
            if lane is not None:
                lane.lost = True
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
                if self._clock.wait(self.bell, TICK):
                    rested = False
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

    def _rest(self) -> None:
        with self._turn:
            self._rounds.catch_up()
        self._storage.rest()
        self._at_rest()

    # -- one step ----------------------------------------------------------------------------------
    def step(self, *, here: bool = False, only: int | None = None) -> bool:
        """Record, read and hand out once; True if there was anything to do. `here`: run handlers on this thread."""
        with self._turn:
            moved = self._between()
            moved = self._adopt() or moved
            self._look_around()
            handled = self._rounds.record()
            read = self._rounds.read()
            launched = False if self._stop else self._rounds.launch(here=here, only=only)
        if moved or handled or read:
            self.progress.change()
        return moved or handled or read or launched

    def _adopt(self) -> bool:
        """Bring the lanes in line with what is wanted."""
        lanes, now, dropped = self._rounds.lanes, self._clock.time(), False
        for row_id, lane in list(lanes.items()):
            again = self._reload.get(row_id)
            if self._wanted.get(row_id) is lane.work and (again is None or again > now):
                continue
            lane.paused = True
            if lane.job is None and not lane.pending:
                del lanes[row_id]
                self._reload.pop(row_id, None)
                dropped = True
                if not lane.lost:
                    self._rounds.give_back_one(lane)
        missing = [(row_id, work) for row_id, work in self.works().items() if row_id not in lanes]
        if not missing:
            return dropped
        for row_id, _ in missing:
            self._reload.pop(row_id, None)  # what changes from here on is read again
        owner = f"pid {os.getpid()}"
        with self._storage.writing(synced=False) as connection:
            made = [(row_id, adopt(connection, row_id, work, owner, now, iso(now))) for row_id, work in missing]
        for row_id, new in made:
            if new is None:
                self._wanted.pop(row_id, None)
            else:
                lanes[row_id] = new
                if row_id in self._reload or self._wanted.get(row_id) is not new.work:
                    new.paused = True
        self._rounds.look_again()
        self._next_look = 0.0
        return True

    def _look_around(self) -> None:
        """Find what nobody rings for, as often as the pump ticks: classes that were loaded, handlers that hang."""
        now = self._clock.monotonic()
        if now >= self._next_look:
            self._next_look = now + TICK
            self._rounds.wake_loaded()
            self._runners.look()

    def _troubled(self, lane: Lane, error: EventBusError) -> None:
        if isinstance(error, LeaseLost):
            _log.warning("%s", error)
            self._wanted.pop(lane.row.id, None)
            return
        _log.warning("%s goes on in %g s: %s", lane.name, REST_AFTER_TROUBLE, error)
        lane.paused = True
        self._reload[lane.row.id] = self._clock.time() + REST_AFTER_TROUBLE

    # -- looking at it -----------------------------------------------------------------------------
    @property
    def handled(self) -> int:
        """How many deliveries succeeded in this process."""
        return self._rounds.handled

    def next_due(self) -> float | None:
        """When the next parked delivery is due, wall clock."""
        with self._turn:  # looking drops what is stale from a lane's heap
            due = [when for lane in self._rounds.lanes.values() if (when := lane.next_due()) is not None]
        return min(due, default=None)

    def quiet(self) -> bool:
        """True if nothing is due now: everything is handled, or waits for a later time or a person."""
        with self._turn:
            if self._between() or not all(self._is_at_work(row_id, work) for row_id, work in self.works().items()):
                return False
            now = self._clock.time()
            if any(row_id in self._reload for row_id in self._rounds.lanes):
                return False
            with self._storage.reading() as connection:
                head = self._rounds.look(connection)
            return all(lane.quiet(head, now) for lane in self._rounds.lanes.values())

    # -- draining and stopping ---------------------------------------------------------------------
    def drain(self, deadline: Deadline | None) -> int:
        """Handle all that is due now, on this thread unless the pump's own delivers; returns how many succeeded.

        Raises WaitTimeout after the deadline.
        """
        before = self.handled
        self._next_look = 0.0
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

    def stop(self, deadline: Deadline) -> bool:
        """Hand out nothing more, wait for what runs, record it, give the claims back; False if some still ran."""
        self._stop = self._runners.stopping = True
        self.bell.ring()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join(deadline.left())
        if not self._turn.acquire(timeout=deadline.left()):  # another thread drains, and its handler runs
            return False
        try:
            lanes = self._rounds.lanes.values()
            self._rounds.record()
            while any(lane.job is not None for lane in lanes) and deadline.left():
                self.bell.wait(deadline.left(0.05))
                self._rounds.record()
            finished = not any(lane.job is not None for lane in lanes)
            self._rounds.give_back()
            self._rounds.lanes.clear()
        finally:
            self._turn.release()
        self.progress.change()
        return finished


def _left(deadline: Deadline | None) -> float:
    """How long to wait until looking again, in seconds."""
    return LOOK_AGAIN if deadline is None else deadline.left(LOOK_AGAIN)
