"""What is next for a handler: chosen from the lanes, counted where that comes first, and handed to the runners."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from eventbus.breaker import Admits
from eventbus.clock import Clock, from_iso, iso
from eventbus.delivery import Failed, Item, NotMeant
from eventbus.errors import EventBusError
from eventbus.events import Envelope
from eventbus.store import deliveries, reading
from eventbus.store.storage import Storage
from eventbus.worker.circuits import Circuits
from eventbus.worker.job import Job
from eventbus.worker.lane import Lane
from eventbus.worker.passing import is_passed, pass_over
from eventbus.worker.runners import Runners
from eventbus.worker.standing import RETRIES_FIRST

UNKNOWN = -1  # changes of a subscription: other than what its row says, so that it is looked at


class Launcher:
    """Starts jobs, as many on each lane as it has room for."""

    def __init__(self, storage: Storage, clock: Clock, runners: Runners, circuits: Circuits) -> None:
        self._storage, self._clock, self._runners, self._circuits = storage, clock, runners, circuits

    def launch(self, lanes: Iterable[Lane], *, here: bool) -> bool:
        """Start a job on every lane that has something to do; True if any has."""
        taken: list[tuple[Lane, int]] = []
        try:
            moved = self._choose(lanes, taken, here=here)
            counted = self._counted(taken)
        except BaseException:
            for lane, position in taken:
                if position in lane.trying:
                    lane.untake(position)
            raise
        self._start(counted, here=here)
        return moved

    def _choose(self, lanes: Iterable[Lane], taken: list[tuple[Lane, int]], *, here: bool) -> bool:
        """Start what was never tried, and take what is parked and due; True if there was anything to do."""
        moved, now = False, self._clock.time()
        for lane in lanes:
            lane.reach()
            admits = self._admitted(lane, now)
            room = 0 if admits == "none" else 1 if admits == "probe" else lane.work.concurrency - len(lane.jobs)
            while room > 0 and lane.idle():
                room -= 1
                position = self._parked(lane, now)
                if position is None:
                    if not self._fresh(lane, admits, here=here):
                        break
                elif not (self._pass(lane, position) or self._give_up(lane, position)):
                    taken.append((lane, position))
                    if lane.take(position):  # nothing else is to run meanwhile
                        room = 0
                moved = True
        return moved

    def _admitted(self, lane: Lane, now: float) -> Admits:
        admits = self._circuits.admits(lane, now)
        if admits != "probe":
            return admits
        if not lane.idle() or lane.is_under_way() or not (lane.has_fresh() or lane.parked(now) is not None):
            return "none"
        return "probe" if self._circuits.take_probe(lane) else "none"

    def _parked(self, lane: Lane, now: float) -> int | None:
        """What was tried before and is due; what was never tried gets its turn in between."""
        position = lane.parked(now)
        if position is not None and lane.due[position].again:
            # What fails again and again must not keep out all others, but going on too soon piles up held ones.
            lane.retries_first -= 1
            if lane.retries_first < 0:
                lane.retries_first = RETRIES_FIRST
                if lane.has_fresh():
                    return None
        return position

    def _fresh(self, lane: Lane, admits: Admits, *, here: bool) -> bool:
        passed = pass_over(lane, self._storage.names)
        if admits == "all" and (rows := lane.fresh_rows()):
            self._start([Job.of(lane, rows, self._storage.names)], here=here)
            return True
        if items := lane.fresh(1 if admits == "probe" else None):
            self._start([Job(lane, items)], here=here)
        return passed or bool(items) or bool(lane.pending)

    def _counted(self, taken: list[tuple[Lane, int]]) -> list[Job]:
        """Jobs for parked deliveries, each counted before it runs: one that kills the process has been counted.

        What may fail, as reading may, comes before that commit: what was counted is started.
        """
        if not taken:
            return []
        found = [(lane, position, self._item(lane, position)) for lane, position in taken]
        with self._storage.writing(synced=False) as connection:
            now = iso(self._clock.time())
            counts = [
                deliveries.count_attempt(connection, lane.row.id, lane.epoch, position, now) for lane, position in taken
            ]
        jobs: list[Job] = []
        for (lane, position, item), count in zip(found, counts, strict=True):
            if item is None or count is None:  # settled or taken over by somebody: the rows are to be read again
                lane.trying.pop(position, None)
                lane.row = attrs.evolve(lane.row, changes=UNKNOWN)
            else:
                item.attempt, item.tries = count
                jobs.append(Job(lane, [item]))
        return jobs

    def _pass(self, lane: Lane, position: int) -> bool:
        """True for a parked delivery that turns out not to be for the handler."""
        with self._storage.reading() as connection:
            row = reading.one(connection, position)
        names = self._storage.names
        if row is None or not is_passed(lane.matching, names, names.type_named(row[2])):
            return False
        item = self._item(lane, position)
        if item is not None:
            lane.pending.append((item, NotMeant()))
        return item is not None

    def _give_up(self, lane: Lane, position: int) -> bool:
        """True for a delivery that is out of attempts: its last one was counted, and the process ended in it."""
        attempts = lane.due[position].attempts
        if attempts < lane.most_attempts:
            return False
        with self._storage.reading() as connection:
            row = deliveries.one(connection, lane.row.id, position)
            tries = 0 if row is None else row.tries
            began = deliveries.began(connection, lane.row.id, lane.row.run, position, tries)
        item = self._item(lane, position) if row is not None else None
        if row is None or item is None:
            lane.due.pop(position, None)
        else:
            item.tries = row.tries
            ended = EventBusError("The process ended while the handler ran, in each of its last attempts.")
            started_at = self._clock.time() if began is None else from_iso(began).timestamp()
            lane.pending.append((item, Failed(ended, started_at, None, final=True)))
        return True

    def _item(self, lane: Lane, position: int) -> Item | None:
        """A parked delivery, with the attempts that it has used up."""
        with self._storage.reading() as connection:
            row = reading.one(connection, position)
            parked = deliveries.one(connection, lane.row.id, position)
        if row is None:
            return None
        if parked is not None and parked.payload is not None:
            row = reading.with_payload(row, parked.payload)
        due = lane.trying.get(position) or lane.due[position]
        item = lane.item(Envelope(row, self._storage.names))
        item.key, item.attempt, item.tries, item.parked = due.key, due.attempts, 0, True
        return item

    def _start(self, jobs: list[Job], *, here: bool) -> None:
        """Have them run; what cannot be started comes back as not tried."""
        for job in jobs:
            job.lane.launch(job)
        try:
            for job in jobs:
                work = job.lane.work
                self._runners.start(job, here=here and work.concurrency == 1 and work.timeout is None)
        except BaseException:
            for job in jobs:
                job.call_off()
            raise
