"""One subscription at work in this process: what is ready, what is blocked, what comes next.

In memory only. The log and the rows in eventbus_deliveries are the truth: a lane is rebuilt from them,
and changes after a commit, never before it. It changes in the pump's turn, but for `paused` and `lost`,
which any thread may set; a job's thread reads its cursor and claim.
"""

from __future__ import annotations

import heapq
from bisect import insort
from collections import deque
from collections.abc import Iterable, Sequence

import attrs

from eventbus.delivery import Behind, Careful, Item, Outcome, Stretch, each
from eventbus.events import Envelope, Row
from eventbus.store.deliveries import DeliveryRow
from eventbus.worker.job import BATCH, Job
from eventbus.worker.rows import Page
from eventbus.worker.standing import Due, Standing
from eventbus.worker.work import order_key

WINDOW = 512  # events read ahead
CLAIM = 1024  # positions claimed beyond the cursor, so that a trickle of events needs no commit to claim each
STRETCH = 1024  # events handed to a handler's thread at once, where it takes them in a row
MOST_HELD = 10_000  # then the subscription pauses and says so


@attrs.define(eq=False)
class Lane(Standing):
    """One generation of one subscription, and what comes next in it."""

    # -- what the log brings -----------------------------------------------------------------------
    def wants(self, head: int, page: int = 0) -> bool:
        """True if it should read on; what is taken in a row is read in pages of `page` while as much is handled."""
        if self.paused or self.lost or len(self.ready) + len(self.flight) >= WINDOW or len(self.rows) > page // 2:
            return False
        return self.stuck_at is None and self.scanned < self._last_free(head)

    def _last_free(self, until: int) -> int:
        """`until`, or the last position before the first stop."""
        return min(until, self.stops[0] - 1) if self.stops else until

    def offer(self, envelopes: Iterable[Envelope], until: int) -> None:
        """Take the matching events up to the position `until`; in strict order none behind a stop."""
        until = self._last_free(until)
        items = [
            self.item(envelope)
            for envelope in envelopes
            if envelope.position not in self.apart and envelope.position <= until
        ]
        self.ready.extend(items)  # all or, after Ctrl-C in a function of the app's, none
        self.scanned = until

    def offer_rows(self, page: Page) -> None:
        """The same with rows of a page, where the lane takes them as they are."""
        rows, until = page.meant(self.matching), self._last_free(page.until)
        if rows and (self.apart or rows[-1][0] > until):
            rows = [row for row in rows if row[0] not in self.apart and row[0] <= until]
        if rows:
            self.rows.extend(rows, page.names)
        self.scanned = until

    def item(self, envelope: Envelope) -> Item:
        """An event with its order key; where the app's own function fails, the delivery fails."""
        item = Item(envelope, envelope.position, None, subscription=self.name)
        item.key, item.problem = order_key(self.work, envelope)
        return item

    def reach(self) -> None:
        """Stand at the next stop, if all before it is done."""
        if not self.stops or self.stuck_at is not None or self._next_ready() or self.is_under_way() or self.pending:
            return
        if self.scanned >= self.stops[0] - 1:
            self.stuck_at = self.stops[0]
            self.scanned = max(self.scanned, self.stuck_at)

    def _first_ready(self) -> int | None:
        """The position of the next event that was never tried."""
        return self.ready[0].position if self.ready else self.rows.first if self.rows else None

    def _next_ready(self) -> int | None:
        """The position of the next event that was never tried; in strict order none from a stop on."""
        position = self._first_ready()
        if position is None or self.stuck_at is not None:
            return None
        return None if self.stops and position >= self.stops[0] else position

    # -- what comes next ---------------------------------------------------------------------------
    def idle(self) -> bool:
        """True if it could be given something to run."""
        if self.paused or self.lost or self.pending or len(self.jobs) >= self.work.concurrency:
            return False
        return not self._is_alone()

    def _is_alone(self) -> bool:
        """True while something runs that may have ended the last process: nothing else is to end with it."""
        return any(position <= self.careful for position in self.flight)

    def has_fresh(self) -> bool:
        """True if something that was never tried is there and claimed."""
        position = self._first_ready()
        return position is not None and position <= self._last_to_begin()

    def _last_to_begin(self) -> int:
        """The last position of which something may be begun that was never tried."""
        return 0 if self.stuck_at is not None else self._last_free(self.claim)

    def parked(self, now: float) -> int | None:
        """The position of a parked delivery that is due."""
        first_due = self.next_due()
        if first_due is None or first_due > now:
            return None
        position = self._order[0][1] if self.stuck_at is None else self.stuck_at
        return None if position <= self.careful and (self.is_under_way() or self.trying) else position

    def take(self, position: int) -> bool:
        """A parked delivery is to be tried now; True if nothing else may run meanwhile."""
        self.trying[position] = self.due.pop(position)
        return position <= self.careful

    def untake(self, position: int) -> None:
        """It is not tried after all."""
        due = self.due[position] = self.trying.pop(position)
        heapq.heappush(self._order, (due.when, position))

    def launch(self, job: Job) -> None:
        """These are with the handler now."""
        self.jobs.append(job)
        for item in job.items:
            self.hold(item)

    def fresh_rows(self) -> Sequence[Row]:
        """The next events that were never tried, in a row, for one job; none where one of them has to be looked at."""
        if self.ready or not self.rows or self.pending or self.rows.first <= self.careful:
            return ()
        return self.rows.take(STRETCH, self._last_to_begin(), self.blocked)

    def _unfold(self) -> None:
        """Make items of the rows that are to be looked at: the next one, and all like it that follow."""
        while self.rows and (not self.ready or self.rows.is_next(self.careful, self.blocked)):
            self.ready.append(self.item(self.rows.pop()))

    def fresh(self, most: int | None = None) -> list[Item] | None:
        """The next events that were never tried, for one job; what may not run now is parked instead.

        `most`: how many, by default as many as a job takes.
        """
        # One after the other: a transactional handler moves the cursor itself, past nothing that has no row yet, and
        # what it settles lies below the cursor.
        in_turn = self.work.concurrency == 1
        most = most or max(self.work.batch or 1, BATCH if in_turn else 1)
        if self.has_fresh():
            self._unfold()
        batch: list[Item] = []
        stays: list[Item] = []
        waiting: set[str] = set()
        last = self._last_to_begin()
        while self.ready and len(batch) < most and self.ready[0].position <= last:
            item = self.ready[0]
            if not in_turn and item.key is not None and (item.key in self.busy or item.key in waiting):
                stays.append(self.ready.popleft())
                continue
            waits = self._why_not(item)
            if waits is None and self.pending and (in_turn or isinstance(self.pending[0][1], Careful)):
                break
            if waits is not None and batch and in_turn:
                break
            self.ready.popleft()
            if waits is None:
                batch.append(item)
                continue
            self.pending.append((item, waits))
            if item.key is not None:
                waiting.add(item.key)
            if self.strict:
                break
        self.ready.extendleft(reversed(stays))
        for item, _ in self.pending:
            self.hold(item)
        return batch or None

    def hold(self, item: Item) -> None:
        """It is with the handler, or its outcome is to be recorded: the cursor stays before it."""
        if item.position not in self.flight:
            self.flight[item.position] = item
            if item.key is not None:
                self.busy[item.key] += 1

    def hear(self, results: Iterable[tuple[Item, Outcome]]) -> None:
        """Outcomes came back."""
        for unit, outcome in results:
            for item in each(unit):
                self.hold(item)
            self.pending.append((unit, outcome))

    def _out(self) -> int:
        """How many rows have not come back from the handler."""
        return sum([len(job.rows) - job.back for job in self.jobs])

    def is_under_way(self) -> bool:
        """True while something is with the handler, or has an outcome to record."""
        return bool(self.flight) or self._out() > 0

    def _land(self, position: int) -> None:
        item = self.flight.pop(position, None)
        if item is not None and item.key is not None:
            self.busy[item.key] -= 1
            if self.busy[item.key] <= 0:
                del self.busy[item.key]

    def _why_not(self, item: Item) -> Outcome | None:
        """What becomes of an event that is not to be tried now."""
        if item.position <= self.careful:
            return Careful()
        if item.key is not None and item.key in self.blocked:
            return Behind()
        return None

    def wants_claim(self) -> bool:
        """True if the next event lies beyond what is claimed, and it could be run now."""
        position = self._next_ready()
        if position is None or self.is_under_way() or self.paused or self.lost:
            return False
        return position > self.claim

    def next_due(self) -> float | None:
        """When the first parked delivery is due, wall clock; in strict order that is the stop it stands at."""
        if self.stops:
            due = None if self.stuck_at is None else self.due.get(self.stuck_at)
            return None if due is None else due.when
        while self._order:
            when, position = self._order[0]
            if position in self.due and self.due[position].when == when:
                return when
            heapq.heappop(self._order)  # it was settled, put off or taken meanwhile
        return None

    def cursor_after(self, settled: Iterable[int], *, stuck: int | None) -> int:
        """Where the cursor will be once these positions are settled or parked: below the first that is not done.

        It moves over what is not meant for this subscription as well. `stuck`: the position it stops at.
        """
        done = set(settled)
        undone = [position for position, item in self.flight.items() if not (item.parked or position in done)]
        undone.extend([job.rows[job.back][0] for job in self.jobs if job.back < len(job.rows)])
        if (following := self._first_ready()) is not None:
            undone.append(following)
        undone.extend([position for position in self.stops if position not in done][:1])
        if stuck is not None:
            undone.append(stuck)
        return max(self.cursor, min(undone) - 1 if undone else self.scanned)

    # -- after a commit ----------------------------------------------------------------------------
    def park(self, row: DeliveryRow, due: float | None, *, new: bool = True) -> None:
        """A delivery has a row now, or, if that is not `new`, its row has changed."""
        position, key = row.position, row.order_key
        self._land(position)
        self.trying.pop(position, None)
        if key is not None and new:
            self.blocked[key] += 1
            self.held += row.state == "held"
        self.unloaded.pop(position, None)
        self.due.pop(position, None)
        if row.state == "waiting":
            self.unloaded[position] = row
        elif due is not None:
            self.make_due(position, due, row.attempts, key, again=row.tries > 0)
        if self.strict:
            if position not in self.stops:
                insort(self.stops, position)
            self.stuck_at = self.stops[0]
        else:
            self.passed = max(self.passed, position)

    def make_due(self, position: int, due: float, attempts: int, key: str | None, *, again: bool) -> None:
        """A parked delivery is to be tried at `due`, wall clock."""
        self.due[position] = Due(due, attempts, key, again)
        heapq.heappush(self._order, (due, position))

    def forget_rows(self) -> None:
        """They are about to be read again."""
        self.due.clear()
        self._order.clear()
        self.unloaded.clear()
        self.blocked.clear()
        self.stops.clear()
        self.stuck_at = None

    def wake(self, row: DeliveryRow, now: float) -> None:
        """A delivery that waited for its class is to be tried."""
        del self.unloaded[row.position]
        self.make_due(row.position, now, row.attempts, row.order_key, again=row.tries > 0)

    def settle(self, item: Item, released: tuple[int, int] | None, now: float) -> None:
        """A delivery is done; `released` is the next of its key."""
        self._land(item.position)
        if item.parked:
            self.trying.pop(item.position, None)
            self.due.pop(item.position, None)
            if item.key is not None:
                self.blocked[item.key] -= 1
                if self.blocked[item.key] <= 0:
                    del self.blocked[item.key]
            if item.position in self.stops:
                self.stops.remove(item.position)
            if self.stuck_at == item.position:
                self.stuck_at = None
        if released is not None:
            self.held -= 1
            self.make_due(released[0], now, released[1], item.key, again=released[1] > 0)

    def put_back(self, item: Item, *, held: bool = False) -> None:
        """It was not run after all: it comes up again where it was, if that is not behind another one."""
        self._land(item.position)
        if held:
            return
        if isinstance(item, Stretch) and (not self.ready or self.ready[-1].position < item.position):
            self.rows.put_back(item.rows)
        elif isinstance(item, Stretch):
            self.ready = deque(sorted([*self.ready, *map(self.item, item.envelopes())], key=lambda each: each.position))
        elif not item.parked:
            insort(self.ready, item, key=lambda each: each.position)
        elif item.position in self.trying:
            self.untake(item.position)
        else:  # it was parked while it ran
            self.make_due(item.position, 0.0, item.attempt - 1, item.key, again=True)

    # -- how far it is -----------------------------------------------------------------------------
    def behind_scan(self) -> bool:
        """True if only events that are not meant for it lie between the cursor and what was read."""
        if self.ready or self.rows or self.pending or self.is_under_way() or self.stuck_at is not None:
            return False
        return self.cursor < self._last_free(self.scanned) and not self.lost

    def owes_cursor(self) -> bool:
        """True if the cursor is to move at once over what was passed: until then that is taken for to come."""
        return self.passed > self.cursor and self.behind_scan() and not self.paused

    def caught_up(self, head: int) -> bool:
        """True if all up to `head` is handled: nothing is running, to come, parked or kept from running."""
        if self.paused or self.lost or self.jobs or self.strays or self.pending or self.ready or self.rows:
            return False
        return not (self.stops or self.due or self.unloaded or self.blocked) and self.scanned >= head

    def quiet(self, head: int, now: float) -> bool:
        """True if there is nothing it could do now."""
        if self.paused or self.lost:
            return not self.jobs
        if self.jobs or self.pending or self.owes_cursor():
            return False
        first_due = self.next_due()
        if first_due is not None and first_due <= now:
            return False
        return self.stuck_at is not None or (not (self.ready or self.rows) and self.scanned >= head)
