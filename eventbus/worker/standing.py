"""What is known in memory of one subscription at work: what is ready, blocked, under way and to be recorded."""

from __future__ import annotations

import math
from collections import Counter, deque

import attrs

from eventbus.delivery import Item, Outcome
from eventbus.store.deliveries import DeliveryRow
from eventbus.store.subscriptions import SubscriptionRow
from eventbus.worker.job import Job
from eventbus.worker.matching import Matching
from eventbus.worker.rows import Rows
from eventbus.worker.work import Work

RETRIES_FIRST = 256  # so many are tried again before it goes on with what was never tried
CRASHES = 5  # attempts of a projection that may end with the process before it is taken for the reason


@attrs.frozen
class Due:
    """When a parked delivery is to be tried, wall clock, what that cost it so far, and its order key."""

    when: float
    attempts: int
    key: str | None
    again: bool  # it was tried before


@attrs.define(eq=False)
class Standing:
    """Where one generation of one subscription stands; `Lane` moves it."""

    row: SubscriptionRow
    work: Work
    epoch: int
    cursor: int
    claim: int
    careful: int  # positions up to here may have been running when the last owner died
    matching: Matching
    scanned: int = 0
    passed: int = 0  # the last position that is parked, or was taken out of what is ready: not for the handler
    held: int = 0
    retries_first: int = RETRIES_FIRST
    paused: bool = False
    lost: bool = False
    jobs: list[Job] = attrs.field(factory=list[Job])
    strays: list[Job] = attrs.field(factory=list[Job])  # detached ones, which still run
    ready: deque[Item] = attrs.field(factory=deque[Item])
    rows: Rows = attrs.field(factory=Rows)  # what comes after all that is ready
    flight: dict[int, Item] = attrs.field(factory=dict[int, Item])  # with a handler, or with an outcome to record
    trying: dict[int, Due] = attrs.field(factory=dict[int, Due])  # those of them that were parked
    busy: Counter[str] = attrs.field(factory=Counter[str])  # order keys of what is in flight
    blocked: Counter[str] = attrs.field(factory=Counter[str])
    due: dict[int, Due] = attrs.field(factory=dict[int, Due])  # by position
    unloaded: dict[int, DeliveryRow] = attrs.field(factory=dict[int, DeliveryRow])
    apart: frozenset[int] = frozenset()  # positions beyond the cursor that were done, or have a row, when it was made
    ahead: frozenset[int] = frozenset()  # positions beyond the cursor that are done
    missed: set[str] = attrs.field(factory=set[str])  # types whose class was missing, said once
    stops: list[int] = attrs.field(factory=list[int])  # strict order only: all that has a row, in order
    stuck_at: int | None = None  # the first of them, once all before it is done: it stops the cursor
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

    @property
    def waits(self) -> int:
        """How many deliveries wait for another one, or for their class."""
        return self.held + len(self.unloaded)

    def runs(self) -> bool:
        """True while one of its handlers runs, or has come back unheard."""
        return bool(self.jobs) or any(not (self.lost and job.finished) for job in self.strays)
