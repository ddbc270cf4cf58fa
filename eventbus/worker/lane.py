"""One subscription at work in this process: what is ready, what is blocked, what comes next.

In memory only. The log and the rows in eventbus_deliveries are the truth: a lane is rebuilt from them,
and changes after a commit, never before it. It changes in the pump's turn, but for `paused` and `lost`,
which any thread may set; a job's thread reads its cursor and claim.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Iterable

import attrs

from eventbus.delivery import Behind, Careful, Item, Outcome
from eventbus.errors import EventBusError
from eventbus.events import Envelope
from eventbus.store.deliveries import DeliveryRow
from eventbus.store.subscriptions import SubscriptionRow
from eventbus.threads import is_ctrl_c
from eventbus.worker.matching import Matching
from eventbus.worker.work import Work

WINDOW = 512  # events read ahead
CLAIM = 512  # positions claimed beyond the cursor, so that a trickle of events needs no commit to claim each
BATCH = 256  # events handed to a handler's thread at once
CRASHES = 5  # attempts of a projection that may end with the process before it is taken for the reason
MOST_HELD = 10_000  # then the subscription pauses and says so


@attrs.define(eq=False)
class Job:
    """Some events of one lane on their way through its handler; results come back in order.

    Whoever runs it appends to `results`, and sets `finished` last. `trouble` is an error of the log's
    that kept it from going on: no fault of the handler's.
    """

    lane: Lane
    items: list[Item]
    results: deque[tuple[Item, Outcome]] = attrs.field(factory=deque[tuple[Item, Outcome]])
    trouble: EventBusError | None = None
    reported: int = 0  # of its items, in their order
    finished: bool = False


@attrs.frozen
class Due:
    """When a parked delivery is to be tried, wall clock, what that cost it so far, and its order key."""

    when: float
    attempts: int
    key: str | None
    again: bool  # it was tried before


@attrs.define(eq=False)
class Lane:
    """The state of one generation of one subscription."""

    row: SubscriptionRow
    work: Work
    epoch: int
    cursor: int
    claim: int
    careful: int  # positions up to here may have been running when the last owner died
    matching: Matching
    scanned: int = 0
    passed: int = 0  # the last position that was taken out of what is ready, for it is not for the handler
    held: int = 0
    retries_first: int = BATCH  # so many are tried again before it goes on with what was never tried
    paused: bool = False
    lost: bool = False
    job: Job | None = None
    ready: deque[Item] = attrs.field(factory=deque[Item])
    blocked: Counter[str] = attrs.field(factory=Counter[str])
    due: dict[int, Due] = attrs.field(factory=dict[int, Due])  # by position
    unloaded: dict[int, DeliveryRow] = attrs.field(factory=dict[int, DeliveryRow])
    apart: frozenset[int] = frozenset()  # positions beyond the cursor that have a row of their own already
    missed: set[str] = attrs.field(factory=set[str])  # types whose class was missing, said once
    stuck_at: int | None = None  # strict order only: the delivery that stops the cursor
    pending: list[tuple[Item, Outcome]] = attrs.field(
        factory=list[tuple[Item, Outcome]]
    )  # outcomes that are not recorded yet
    _order: list[tuple[float, int]] = attrs.field(factory=list[tuple[float, int]])

    def __attrs_post_init__(self) -> None:
        self.scanned = max(self.scanned, self.cursor)

    @property
    def name(self) -> str:
        """The subscription's name."""
        return self.row.name

    @property
    def strict(self) -> bool:
        """True where the whole log is one order, so that a failure stops the cursor."""
        return self.work.key_of is None

    @property
    def most_attempts(self) -> float:
        """How many attempts a delivery has, those included that ended with the process."""
        retry = self.work.retry
        if retry is None:
            return CRASHES
        return math.inf if retry.attempts is None else retry.attempts

    # -- what the log brings -----------------------------------------------------------------------
    def wants(self, head: int) -> bool:
        """True if it should read on."""
        if self.paused or self.lost or self.scanned >= head or len(self.ready) >= WINDOW:
            return False
        return self.stuck_at is None

    def offer(self, envelopes: Iterable[Envelope], until: int) -> None:
        """Take the matching events up to the position `until`."""
        items = [self.item(envelope) for envelope in envelopes if envelope.position not in self.apart]
        self.ready.extend(items)  # all or, after Ctrl-C in a function of the app's, none
        self.scanned = until

    def item(self, envelope: Envelope) -> Item:
        """An event with its order key; where the app's own function fails, the delivery fails."""
        item = Item(envelope, envelope.position, None)
        if self.work.key_of is not None:
            try:
                item.key = self.work.key_of(envelope)
            except BaseException as error:
                if is_ctrl_c(error):
                    raise
                item.problem = error
        return item

    # -- what comes next ---------------------------------------------------------------------------
    def idle(self) -> bool:
        """True if it could be given something to run."""
        return self.job is None and not self.pending and not (self.paused or self.lost)

    def parked(self, now: float) -> int | None:
        """The position of a parked delivery that is due."""
        first_due = self.next_due()
        return self._order[0][1] if first_due is not None and first_due <= now else None

    def fresh(self) -> list[Item] | None:
        """The next events that were never tried; those behind a blocked key or a crash are parked instead."""
        if self.stuck_at is not None:
            return None
        batch: list[Item] = []
        for item in self.ready:
            if len(batch) >= BATCH or item.position > self.claim:
                break
            if (waits := self._why_not(item)) is not None:
                if batch:
                    break
                self.pending.append((item, waits))
                if self.strict:
                    break
            elif self.pending:
                break
            else:
                batch.append(item)
        return batch or None

    def _why_not(self, item: Item) -> Outcome | None:
        """What becomes of an event that is not to be tried now."""
        if item.position <= self.careful:
            return Careful()
        if item.key is not None and item.key in self.blocked:
            return Behind()
        return None

    def wants_claim(self) -> bool:
        """True if the next event lies beyond what is claimed, and it could be run now."""
        if not self.ready or self.job is not None or self.stuck_at is not None or self.paused or self.lost:
            return False
        return self.ready[0].position > self.claim

    def next_due(self) -> float | None:
        """When the first parked delivery is due, wall clock."""
        while self._order:
            when, position = self._order[0]
            if position in self.due and self.due[position].when == when:
                return when
            heapq.heappop(self._order)  # it was settled or put off meanwhile
        return None

    def cursor_after(self, settled: Iterable[Item], *, stuck: bool) -> int:
        """Where the cursor will be once these were settled or parked.

        It moves over what is not meant for this subscription as well, up to the next event that is.
        """
        cursor, fresh = self.cursor, 0
        for item in settled:
            fresh += not item.parked
            if self.strict or not item.parked:
                cursor = max(cursor, item.position)
        if not stuck and self.job is None and self._nothing_stuck(settled):
            seen = self.ready[fresh].position - 1 if fresh < len(self.ready) else self.scanned
            cursor = max(cursor, seen)
        return cursor

    def _nothing_stuck(self, settled: Iterable[Item]) -> bool:
        return self.stuck_at is None or any(item.position == self.stuck_at for item in settled)

    # -- after a commit ----------------------------------------------------------------------------
    def park(self, row: DeliveryRow, due: float | None) -> None:
        """A delivery has a row now, or its row has changed."""
        position, key = row.position, row.order_key
        self._pop(position)
        known = position in self.due or position in self.unloaded
        if key is not None and not known and position > self.cursor:
            self.blocked[key] += 1
            self.held += row.state == "held"
        self.unloaded.pop(position, None)
        self.due.pop(position, None)
        if row.state == "waiting":
            self.unloaded[position] = row
        elif due is not None:
            self.make_due(position, due, row.attempts, key, again=row.tries > 0)
        if self.strict:
            self.stuck_at = position
        elif not known:
            self.cursor = max(self.cursor, position)

    def make_due(self, position: int, due: float, attempts: int, key: str | None, *, again: bool) -> None:
        """A parked delivery is to be tried at `due`, wall clock."""
        self.due[position] = Due(due, attempts, key, again)
        heapq.heappush(self._order, (due, position))

    def wake(self, row: DeliveryRow, now: float) -> None:
        """A delivery that waited for its class is to be tried."""
        del self.unloaded[row.position]
        self.make_due(row.position, now, row.attempts, row.order_key, again=row.tries > 0)

    def settle(self, item: Item, released: tuple[int, int] | None, now: float) -> None:
        """A delivery is done; `released` is the next of its key."""
        self._pop(item.position)
        if item.parked:
            self.due.pop(item.position, None)
            if item.key is not None:
                self.blocked[item.key] -= 1
                if self.blocked[item.key] <= 0:
                    del self.blocked[item.key]
            if self.stuck_at == item.position:
                self.stuck_at = None
        if released is not None:
            self.held -= 1
            self.make_due(released[0], now, released[1], item.key, again=released[1] > 0)
        if self.strict or not item.parked:
            self.cursor = max(self.cursor, item.position)

    @property
    def waits(self) -> int:
        """How many deliveries wait for another one, or for their class."""
        return self.held + len(self.unloaded)

    def behind_scan(self) -> bool:
        """True if only events that are not meant for it lie between the cursor and what was read."""
        if self.ready or self.pending or self.job is not None or self.stuck_at is not None:
            return False
        return self.cursor < self.scanned and not self.lost

    def owes_cursor(self) -> bool:
        """True if the cursor is to move at once over what was passed: until then that is taken for to come."""
        return self.passed > self.cursor and self.behind_scan() and not self.paused

    def caught_up(self, head: int) -> bool:
        """True if all up to `head` is handled: nothing is running, to come, parked or kept from running."""
        if self.paused or self.lost or self.job is not None or self.pending or self.ready:
            return False
        return self.stuck_at is None and not (self.due or self.unloaded or self.blocked) and self.scanned >= head

    def quiet(self, head: int, now: float) -> bool:
        """True if there is nothing it could do now."""
        if self.paused or self.lost:
            return self.job is None
        if self.job is not None or self.pending or self.owes_cursor():
            return False
        first_due = self.next_due()
        if first_due is not None and first_due <= now:
            return False
        return self.stuck_at is not None or (not self.ready and self.scanned >= head)

    def _pop(self, position: int) -> None:
        if self.ready and self.ready[0].position == position:
            self.ready.popleft()
