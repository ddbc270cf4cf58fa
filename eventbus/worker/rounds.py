"""What the pump does in a round: record what came back, read on, hand out what is next.

Everything here runs on one thread at a time, the pump's or the one that drains. A lane changes only
after the commit that its change stands for.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterable

from eventbus.breaker import Circuit
from eventbus.clock import Clock, iso
from eventbus.delivery import each
from eventbus.errors import EventBusError, LeaseLost, LogError
from eventbus.store import deliveries, reading, subscriptions
from eventbus.store.drafts import Appended
from eventbus.store.storage import Storage
from eventbus.store.trouble import is_of_the_log
from eventbus.worker.circuits import Circuits
from eventbus.worker.doubting import is_in_doubt, was_stored
from eventbus.worker.heeding import Heeding
from eventbus.worker.inheriting import is_heir
from eventbus.worker.lane import CLAIM, MOST_HELD, Lane
from eventbus.worker.launching import Launcher
from eventbus.worker.overdue import OverdueWatch, collect_strays
from eventbus.worker.passing import is_loaded
from eventbus.worker.readahead import ReadAhead
from eventbus.worker.recording import Effect, Recorder, needs_writing
from eventbus.worker.runners import Runners
from eventbus.worker.telling import tell

REST_SECONDS = 1.0  # before a pause that could not be written is tried again
LAZY = 10_000  # positions a cursor may stay behind over events that are not meant for it, while there is other work

_log = logging.getLogger("eventbus.worker")

_Place = tuple[int, int, frozenset[int]]  # cursor, claim, ahead
_OfLane = tuple[Lane, list[Effect], _Place]
_Written = list[_OfLane]


class Rounds:
    """The lanes of this process and the steps that move them."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        runners: Runners,
        *,
        observe: Callable[[Lane, Effect], None],
        announce: Callable[[list[Appended]], None],
        troubled: Callable[[Lane, EventBusError], None],
        emit: Callable[[object], None],
    ) -> None:
        self._storage, self._clock = storage, clock
        self._observe, self._announce, self._troubled = observe, announce, troubled
        self.lanes: dict[int, Lane] = {}
        self.heeding = Heeding()
        self.circuits = Circuits(storage, clock, emit)
        self._launcher = Launcher(storage, clock, runners, self.circuits)
        self._overdue = OverdueWatch(clock, emit)
        self._ahead = ReadAhead(storage, self.heeding)
        self.head = 0
        self.handled = 0
        self._doubtful: list[tuple[_OfLane, int]] = []  # what was written, and how many outcomes that was
        self._overfull: dict[int, float] = {}  # lanes to be paused in the log, and when that is tried
        self._looked: object = None  # the vocabulary as it was when deliveries that wait for it were looked at

    # -- what came back ----------------------------------------------------------------------------
    def record(self) -> bool:
        """Write all outcomes that came back since, in one commit; True if there were any."""
        if self._doubtful:
            self._resolve()
        for lane in self.lanes.values():
            self._collect(lane)
        lanes = [lane for lane in self.lanes.values() if not lane.lost]
        busy = [lane for lane in lanes if lane.pending or lane.wants_claim() or lane.owes_cursor()]
        written: list[Lane] = []
        for lane in busy:
            if _needs_commit(lane):
                written.append(lane)
            else:
                effects = [Effect(item, outcome) for unit, outcome in lane.pending for item in each(unit)]
                self._apply(lane, effects)
                self._tell(lane, effects)
        if written:
            self._commit(written)
        if self._overfull:
            self._pause_overfull()
        return bool(busy)

    def _collect(self, lane: Lane) -> None:
        for job in list(lane.jobs):
            finished = job.finished  # looked at first: results that come in between are read in the next round
            if lane.lost:  # it is done again, or recorded, where the lane is next
                lane.strays.extend([job] if finished else [])
            else:
                lane.hear(job.come_back())
            if not finished:
                continue
            lane.jobs.remove(job)
            if not lane.lost:
                lane.hear(job.left())  # where Ctrl-C ended it: what was counted is uncounted
                if job.trouble is not None:
                    self._troubled(lane, job.trouble)
        if lane.strays:
            collect_strays(lane)

    def _commit(self, lanes: list[Lane]) -> None:
        """Write the outcomes of these lanes; one that was taken over by another process drops out."""
        ids = {lane.row.id for lane in lanes}
        lazy = [lane for lane in self.lanes.values() if lane.scanned - lane.cursor > LAZY and lane.row.id not in ids]
        try:
            written = self._commit_together(lanes, lazy)
        except Exception as error:
            if is_of_the_log(error) or is_in_doubt(error):
                raise
            # One of them is the reason, and must not keep the others from going on.
            for lane in lanes:
                self._keep(self._commit_alone(lane))
        else:
            self._keep(written)

    def _keep(self, written: _Written) -> None:
        """What was written is stored: bring the lanes up to date, and tell of it."""
        for lane, effects, (cursor, claim, ahead) in written:
            self._apply(lane, effects)
            lane.cursor, lane.claim, lane.ahead = max(lane.cursor, cursor), claim, ahead
        for lane, effects, _ in written:
            self._tell(lane, effects)

    def _commit_together(self, lanes: list[Lane], lazy: list[Lane]) -> _Written:
        while lanes:
            written: _Written = []
            try:
                self._write(lanes, lazy, written)
            except LeaseLost as lost:
                lanes, lazy = self._drop(lanes, lost), self._drop(lazy, lost)
            except BaseException as error:
                if is_in_doubt(error):
                    self._doubtful = [(each, len(each[0].pending)) for each in written if each[1]]
                raise
            else:
                return written
        return []

    def _resolve(self) -> None:
        """Find out what has become of the last commit: what is stored is not written again, and the rest is."""
        with self._storage.writing(synced=False) as connection:
            stored = [each for each, _ in self._doubtful if was_stored(connection, each[0], each[1])]
        doubtful, self._doubtful = self._doubtful, []
        later = [(written[0], written[0].pending[count:]) for written, count in doubtful if written in stored]
        self._keep(stored)
        for lane, pending in later:
            lane.pending.extend(pending)

    def _write(self, lanes: list[Lane], lazy: list[Lane], written: _Written) -> None:
        """Write in one commit; what is `written` is known before that ends."""
        synced = any(item.drafts for lane in lanes for item, _ in lane.pending)
        moved: dict[str, Circuit] = {}
        with self._storage.writing(synced=synced) as connection:
            now = iso(self._clock.time())
            for lane in lanes:
                recorder = Recorder(connection, self._storage.appender, lane, self._clock)
                effects = [effect for unit, outcome in lane.pending for effect in recorder.record(unit, outcome)]
                self.circuits.after(connection, lane, effects, moved)
                written.append((lane, effects, self._advance(connection, lane, effects, now)))
            for lane in lazy:
                if lane.behind_scan():
                    written.append((lane, [], self._advance(connection, lane, [], now)))
        self.circuits.keep(moved)

    def _commit_alone(self, lane: Lane) -> _Written:
        """What cannot be recorded counts as not done: the lane begins anew, as after a crash."""
        try:
            return self._commit_together([lane], [])
        except Exception as error:
            if is_of_the_log(error) or is_in_doubt(error):
                raise
            _log.exception("%s: what its handler did could not be recorded", lane.name)
            lane.lost = True
            lane.pending.clear()
            self._troubled(lane, EventBusError(f"What its handler did could not be recorded: {error!r}."))
            return []

    def _advance(self, connection: sqlite3.Connection, lane: Lane, effects: list[Effect], now: str) -> _Place:
        """Move the cursor and the claim in the open transaction; returns where they are."""
        moved = [effect for effect in effects if effect.moves and not (lane.strict and effect.row)]
        stuck = next((effect.item.position for effect in effects if lane.strict and effect.row), None)
        cursor = lane.cursor_after((effect.item.position for effect in moved), stuck=stuck)
        claim = max(lane.claim, cursor + CLAIM)
        done = [effect.item for effect in moved if effect.row is None and effect.item.last > cursor]
        beyond = (position for item in done for position in item.positions())
        ahead = frozenset(position for position in (*lane.ahead, *beyond) if position > cursor)
        subscriptions.advance(
            connection,
            lane.row.id,
            lane.name,
            lane.epoch,
            cursor=cursor,
            claim=claim,
            handled=sum(effect.item.count for effect in effects if effect.counts),
            discarded=sum(effect.discarded is not None for effect in effects),
            ahead=ahead if ahead != lane.ahead else None,
            now=now,
        )
        return cursor, claim, ahead

    def _apply(self, lane: Lane, effects: list[Effect]) -> None:
        lane.pending.clear()
        now = self._clock.time()
        for effect in effects:
            effect.apply(lane, now)
            self.handled += effect.item.count if effect.succeeded else 0
            if effect.already_recorded and (lane.strict or not effect.item.parked):
                lane.cursor = max(lane.cursor, effect.item.last)
                lane.claim = max(lane.claim, effect.item.last + CLAIM)
            elif effect.already_recorded and effect.item.position > lane.cursor:
                lane.ahead |= {effect.item.position}
            if effect.row is not None and effect.row.state == "waiting":
                self._looked = None
        # Only what grows is stopped: one that was mended and resumed would otherwise pause at its first success.
        grew = any(effect.row is not None and effect.row.state in ("held", "waiting") for effect in effects)
        if grew and lane.waits > MOST_HELD and not lane.paused:
            lane.paused = True
            self._overfull[lane.row.id] = self._clock.monotonic()

    def _tell(self, lane: Lane, effects: list[Effect]) -> None:
        if appended := [each for effect in effects for each in effect.appended]:
            self._announce(appended)
        for effect in effects:
            tell(lane, effect)
            self._observe(lane, effect)

    def _pause_overfull(self) -> None:
        """Write down that lanes are paused; what came back is recorded by then, whether this succeeds or not."""
        reason = f"more than {MOST_HELD} deliveries are held behind failing ones or wait for their class"
        now = self._clock.monotonic()
        for row_id in [row_id for row_id, when in self._overfull.items() if when <= now]:
            lane = self.lanes.get(row_id)
            if lane is not None and lane.waits > MOST_HELD and not lane.lost:
                try:
                    with self._storage.writing() as connection:
                        subscriptions.set_state(connection, row_id, "paused", reason, iso(self._clock.time()))
                except LogError as error:
                    _log.warning("%s: that it is paused is written in %g s: %s", lane.name, REST_SECONDS, error)
                    self._overfull[row_id] = now + REST_SECONDS
                    continue
                _log.error("%s: paused, because %s", lane.name, reason)
            del self._overfull[row_id]

    def _drop(self, lanes: Iterable[Lane], lost: LeaseLost) -> list[Lane]:
        """Another process delivers this subscription now: what is not recorded here is done there."""
        for lane in self.lanes.values():
            if lane.name == lost.name and not lane.lost:
                lane.lost = True
                self._troubled(lane, lost)
        return [lane for lane in lanes if lane.name != lost.name]

    # -- what is next in the log -------------------------------------------------------------------
    def read(self) -> bool:
        """Read a page for those that want one; lanes at the same place share it. True if anything came."""
        with self._storage.reading() as connection:
            # The head first: a type's row is committed with or before its first event, so that types read
            # afterwards cover every event up to here.
            return self._ahead.read(connection, self.lanes.values(), self.look(connection))

    def look_again(self) -> None:
        """There are deliveries now that wait for a class, which may be loaded already."""
        self._looked = None

    def wake_loaded(self) -> None:
        """Make due what waits for a class that is loaded by now; quick where no class has come since."""
        version = self._storage.names.vocabulary.version
        if version == self._looked:
            return
        self._looked = version
        loaded: dict[int | None, bool] = {None: True}  # trying an event that is gone says so
        for lane in self.lanes.values():
            if not lane.unloaded:
                continue
            with self._storage.reading() as connection:
                waiting = deliveries.waiting(connection, lane.row.id)
            for position, type_id in waiting:
                if type_id is not None and type_id not in loaded:
                    loaded[type_id] = is_loaded(self._storage.names, self._storage.names.type_named(type_id))
                if loaded[type_id] and position in lane.unloaded:
                    lane.wake(lane.unloaded[position], self._clock.time())

    def changed_elsewhere(self) -> tuple[list[int], list[int]]:
        """The subscriptions that somebody has changed since their lanes were made, and those that are gone."""
        with self._storage.reading() as connection:
            found = subscriptions.changes(connection)
        known = {row_id: lane.row.changes for row_id, lane in self.lanes.items() if not lane.lost}
        changed = [row_id for row_id, changes in known.items() if found.get(row_id, changes) != changes]
        return changed, [row_id for row_id in known if row_id not in found]

    # -- what is next for a handler ----------------------------------------------------------------
    def launch(self, *, here: bool, only: int | None = None) -> bool:
        """Start a job on every lane that has something to do, or on the one of `only`; True if any has."""
        lanes = [lane for row_id, lane in self.lanes.items() if only in (None, row_id)]
        return self._launcher.launch(lanes, here=here)

    def next_due(self) -> float | None:
        """When the next parked delivery is due, wall clock; those of a paused subscription are not."""
        now, due = self._clock.time(), list[float]()
        for lane in self.lanes.values():
            if lane.paused or lane.lost:
                continue
            when = now if self.circuits.admits(lane, now) == "none" and lane.has_fresh() else lane.next_due()
            if when is not None:
                due.append(max(when, self.circuits.due(lane, now)))
        return min(due, default=None)

    def quiet(self, head: int, now: float) -> bool:
        """True if nothing is due now; behind an open breaker nothing is."""
        return all(
            lane.quiet(head, now) or (not lane.is_under_way() and self.circuits.admits(lane, now) == "none")
            for lane in self.lanes.values()
        )

    def find_overdue(self) -> float | None:
        """Part with handlers that take too long; returns when to look next, in seconds."""
        return self._overdue.look(self.lanes.values())

    # -- at rest -----------------------------------------------------------------------------------
    def catch_up(self) -> None:
        """Move the cursors that were left behind over events that are not meant for them."""
        lazy = [lane for lane in self.lanes.values() if lane.behind_scan()]
        if lazy:
            self._commit(lazy)

    def give_back(self) -> None:
        """A clean end: nothing is claimed any more, so nothing will be taken for crashed."""
        for lane in self.lanes.values():
            self.give_back_one(lane)

    def give_back_one(self, lane: Lane, *, strays: bool = True) -> None:
        """This lane ends here; an attempt that did not end was counted all the same, and is uncounted.

        `strays`: those of overdue handlers, too, which are not another lane's here from now on.
        """
        ran = [(item, False) for job in lane.jobs for item in job.items]
        ran += [(item, False) for unit, _ in lane.pending for item in each(unit)]
        ran += [(item, True) for job in lane.strays for item in job.items] if strays else []
        counted = [(item.position, noted) for item, noted in ran if item.parked]
        with self._storage.writing(synced=False) as connection:
            row = subscriptions.with_id(connection, lane.row.id) if counted else None
            if row is not None and is_heir(row, lane):
                for position, noted in counted:
                    deliveries.uncount_attempt(connection, lane.row.id, position, noted=noted)
            subscriptions.release(connection, lane.row.id, lane.epoch, iso(self._clock.time()))

    def look(self, connection: sqlite3.Connection) -> int:
        """The last position there is."""
        self.head = reading.last_position(connection)
        return self.head


def _needs_commit(lane: Lane) -> bool:
    written = any(needs_writing(item, outcome) for item, outcome in lane.pending)
    return written or lane.wants_claim() or lane.owes_cursor()
