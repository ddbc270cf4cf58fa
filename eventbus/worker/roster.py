"""Which subscriptions this process is to deliver, and the lanes of those that no other process delivers."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from eventbus.clock import Clock
from eventbus.errors import EventBusError, LeaseLost
from eventbus.store import subscriptions
from eventbus.store.lockfile import Leases
from eventbus.store.storage import Storage
from eventbus.worker.adopting import adopt
from eventbus.worker.lane import Lane
from eventbus.worker.reloading import reload
from eventbus.worker.rounds import Rounds
from eventbus.worker.work import Work

REST_AFTER_TROUBLE = 1.0  # seconds before a lane is made again after an error of the log's

_log = logging.getLogger("eventbus.worker")


class Roster:
    """What is wanted, by the id of its row. Lanes change in the pump's turn; what is wanted, at any time."""

    def __init__(self, storage: Storage, clock: Clock, rounds: Rounds, ring: Callable[[], None]) -> None:
        self._storage, self._clock, self._rounds, self._ring = storage, clock, rounds, ring
        self._leases = Leases(storage.location)
        self._wanted: dict[int, Work] = {}
        self._reload: dict[int, float] = {}  # and from when on, monotonic
        self._ended: dict[int, Lane] = {}  # lanes of which something may still run here, until the next is made
        self.standby: frozenset[int] = frozenset()  # what another process delivers
        self.gone: Callable[[int], object] = lambda row_id: None  # told of a row that another process has removed
        self.given_up: Callable[[], object] = lambda: None  # told when another process could go on with something

    # -- what is wanted ----------------------------------------------------------------------------
    def add(self, row_id: int, work: Work) -> None:
        """Deliver to a subscription from the next round on."""
        self._wanted[row_id] = work
        self._ring()

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
        self._ring()

    def begin_anew(self, row_id: int) -> None:
        """A new run of a subscription has begun: what its lane is doing counts for nothing."""
        lane = self._rounds.lanes.get(row_id)
        if lane is not None:
            lane.lost = True
        self.reload(row_id)

    def reload_all(self) -> None:
        """Read the rows of every lane again: the wall clock was set back, and their due times are later by that."""
        for row_id in list(self._rounds.lanes):
            self.reload(row_id)

    def works(self) -> dict[int, Work]:
        """What is to be run, by the id of its row."""
        return dict(self._wanted)

    # -- where it stands ---------------------------------------------------------------------------
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

    def settled(self) -> bool:
        """True if every subscription has its lane, or is another process's, and none is to be read again."""
        if not all(row_id in self.standby or self._is_at_work(row_id, work) for row_id, work in self.works().items()):
            return False
        if self.reload_changed():
            return False
        now = self._clock.monotonic()  # what is another process's now is looked at again later, and not waited for
        lanes = self._rounds.lanes.items()
        return not any(
            row_id in self._reload and (self._reload[row_id] <= now or not lane.lost) for row_id, lane in lanes
        )

    # -- bringing the lanes in line ----------------------------------------------------------------
    def adopt(self, *, stopping: bool) -> bool:
        """End the lanes of what is not wanted or was changed, and make those that are missing; True if any."""
        lanes, now, changed, given_up = self._rounds.lanes, self._clock.monotonic(), False, False
        for row_id, lane in list(lanes.items()):
            again = self._reload.get(row_id)
            if self._wanted.get(row_id) is lane.work and (again is None or again > now):
                continue
            lane.paused = True
            if lane.pending and not lane.lost:
                continue
            if self._read_again(row_id, lane):
                changed = True
            elif not lane.jobs:
                changed = True
                given_up = self._end(row_id, lane) or given_up
        if given_up:
            self.given_up()
        missing = [(row_id, work) for row_id, work in self.works().items() if row_id not in lanes]
        mine = [] if stopping else [each for each in missing if self._leases.take(each[0])]
        self.standby = frozenset(row_id for row_id, _ in missing) - {row_id for row_id, _ in mine}
        if mine:
            self._take(mine, self._clock.time())
        return changed or bool(mine)

    def _read_again(self, row_id: int, lane: Lane) -> bool:
        """Read its rows again while what runs goes on; False if the lane has to end first."""
        # A transactional handler writes the rows itself, from its own thread.
        recorded_here = lane.work.kind != "transactional" or not lane.jobs
        if lane.lost or self._wanted.get(row_id) is not lane.work or not recorded_here:
            return False
        asked = self._reload.pop(row_id)  # what changes from here on is read again
        done = False
        try:
            with self._storage.writing(synced=False) as connection:
                is_read = reload(connection, lane, self._clock.time())
            done = is_read  # only now: where the commit fails, it is paused, and has to be read again
            self._rounds.heeding.begin_anew()
        finally:
            if not done:
                self._reload.setdefault(row_id, asked)
        if done:
            lane.paused = lane.row.state in subscriptions.STANDING
            if row_id in self._reload or self._wanted.get(row_id) is not lane.work:
                lane.paused = True
            self._rounds.look_again()
        return done

    def _end(self, row_id: int, lane: Lane) -> bool:
        """Part with a lane of which nothing runs; True if its subscription is another process's to take, too."""
        del self._rounds.lanes[row_id]
        self._ended[row_id] = lane
        self._reload.pop(row_id, None)
        if not lane.lost:
            self._rounds.give_back_one(lane, strays=row_id not in self._wanted)
        if row_id in self._wanted and not lane.lost:
            return False
        self._leases.give_up(row_id)
        return True

    def owners(self) -> frozenset[int]:
        """The processes that deliver what this one stands by for; 0 is one that the system does not name."""
        found = {self._leases.holder(row_id) for row_id in self.standby}
        if None in found:  # it was given up this moment
            self._ring()
        return frozenset(pid for pid in found if pid is not None)

    def _take(self, mine: list[tuple[int, Work]], now: float) -> None:
        """Make lanes of what this process has the leases of."""
        for row_id, _ in mine:
            self._reload.pop(row_id, None)  # what changes from here on is read again
        owner = f"pid {os.getpid()}"
        try:
            with self._storage.writing(synced=False) as connection:
                names = self._storage.names
                made = [
                    (row_id, adopt(connection, row_id, work, names, owner, now, self._ended.get(row_id)))
                    for row_id, work in mine
                ]
        except BaseException:
            for row_id, _ in mine:
                self._leases.give_up(row_id)
            raise
        for row_id, new in made:
            self._ended.pop(row_id, None)
            if new is None:
                self._lose(row_id)
            else:
                self._rounds.lanes[row_id] = new
                self._rounds.heeding.begin_anew()
                if row_id in self._reload or self._wanted.get(row_id) is not new.work:
                    new.paused = True
        self._rounds.circuits.look(new for _, new in made if new is not None)
        self._rounds.look_again()

    def _lose(self, row_id: int) -> None:
        """Its row is gone; where another generation took its place, that is wanted next."""
        self._leases.give_up(row_id)
        self._wanted.pop(row_id, None)
        self._ended.pop(row_id, None)
        self.gone(row_id)

    def reload_changed(self) -> bool:
        """Look for rows that another process, or a person there, has changed or removed; True if there were any."""
        changed, removed = self._rounds.changed_elsewhere()
        for row_id in changed:
            self.reload(row_id)
        for row_id in removed:
            self._rounds.lanes[row_id].lost = True
            self._lose(row_id)
        return bool(changed or removed)

    def drop(self, row_id: int) -> None:
        """Its row is gone: record nothing more. Only in the pump's turn."""
        for known in (self._wanted, self._reload, self._ended):
            known.pop(row_id, None)
        lane = self._rounds.lanes.pop(row_id, None)
        if lane is not None:
            lane.lost = True
        self._leases.give_up(row_id)

    def troubled(self, lane: Lane, error: EventBusError) -> None:
        """A lane met an error of the log's, or its subscription is another process's now: it is made again."""
        lane.paused = True
        self._reload[lane.row.id] = self._clock.monotonic() + REST_AFTER_TROUBLE
        if isinstance(error, LeaseLost):  # whoever has it goes on; this process stands by like any other
            lane.lost = True
            if (change := self._changed_by_a_person(lane)) is not None:
                self._reload[lane.row.id] = 0.0
                _log.info("%s was %s; it goes on from there", lane.name, change)
                return
            self._leases.give_up(lane.row.id)
            _log.warning("%s", error)
            return
        _log.warning("%s goes on in %g s: %s", lane.name, REST_AFTER_TROUBLE, error)

    def _changed_by_a_person(self, lane: Lane) -> str | None:
        """What was done to its row, where nobody else delivers it: what is there now is delivered here."""
        with self._storage.reading() as connection:
            row = subscriptions.with_id(connection, lane.row.id)
        if row is None:
            return "rebuilt or forgotten"
        return "rewound" if row.run != lane.row.run else None

    def close(self) -> None:
        """Leave everything to other processes."""
        self._leases.close()
