"""Some events of one subscription on their way through its handler, and what came of them so far."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import attrs

from eventbus.delivery import Handled, Item, Left, Outcome, Stretch
from eventbus.errors import EventBusError
from eventbus.events import Row
from eventbus.store.names import NameBook
from eventbus.worker.delivering import Underway

if TYPE_CHECKING:
    from eventbus.worker.lane import Lane

BATCH = 256  # events that are looked at each, in one job


@attrs.define(eq=False)
class Job:
    """Some events of one lane on their way through its handler; results come back in order.

    Whoever runs it appends to `results`, and sets `finished` last. `trouble` is an error of the log's
    that kept it from going on: no fault of the handler's. Under `lock` it goes on to its next event, or is
    `detached` because the one it is `trying` takes too long: then that one's result is all that counts.

    Or it has `rows`, in a row: whoever runs it counts those that are `done`, of which nothing is to be said. From the
    first on of which there is something, they are `items`. `back` is how many of them the pump has heard of.
    """

    lane: Lane
    items: list[Item]
    rows: Sequence[Row] = ()
    done: int = 0
    back: int = 0
    under_way: Underway | None = None  # where there are rows
    begun: bool = False
    results: deque[tuple[Item, Outcome]] = attrs.field(factory=deque[tuple[Item, Outcome]])
    trouble: EventBusError | None = None
    reported: set[int] = attrs.field(factory=set[int])  # positions
    finished: bool = False
    trying: Item | None = None
    detached: bool = False
    cancel: Callable[[Item], object] | None = None  # asks an async handler to end
    lock: threading.Lock = attrs.field(factory=threading.Lock)

    def call_off(self) -> None:
        """It could not be started: its events come back as not tried, unless it has begun all the same."""
        with self.lock:
            if self.finished or self.trying is not None or self.reported or self.begun:
                return
            self.detached = True
        self.results.extend((item, Left()) for item in self.items)
        self.reported.update(item.position for item in self.items)
        self.finished = True

    @classmethod
    def of(cls, lane: Lane, rows: Sequence[Row], names: NameBook) -> Job:
        """One with rows."""
        return cls(lane, [], rows, under_way=Underway(lane.name, names))

    def begin(self) -> Underway | None:
        """Its rows are handled from now on; None if it was called off."""
        with self.lock:
            self.begun = not self.detached
            return self.under_way if self.begun else None

    @property
    def position(self) -> int | None:
        """The position that it is trying."""
        if self.trying is not None:
            return self.trying.position
        return None if self.under_way is None else self.under_way.position

    def unfold(self) -> None:
        """Make items of the next rows that are not done, as many as are looked at in one job."""
        assert self.under_way is not None
        rows = self.rows[self.done : self.done + BATCH]
        self.items = [self.lane.item(self.under_way.envelope(row)) for row in rows]

    def come_back(self) -> list[tuple[Item, Outcome]]:
        """What there is to be heard of it since this was last asked, in order."""
        count, done = len(self.results), self.done  # in this order: results come after all that is done
        heard: list[tuple[Item, Outcome]] = []
        if done > self.back:
            outcome = Handled(recorded=self.lane.work.kind == "transactional")
            heard.append((self._stretch(self.rows[self.back : done]), outcome))
            self.back = done
        results = [self.results.popleft() for _ in range(count)]
        self.back += len(results) if self.rows else 0
        return heard + results

    def left(self) -> list[tuple[Item, Outcome]]:
        """What was not tried, once it is finished and all has been heard of it."""
        left: list[tuple[Item, Outcome]] = [(item, Left()) for item in self.items if item.position not in self.reported]
        rest, self.back = self.rows[self.done + len(self.items) :], len(self.rows)
        return [*left, (self._stretch(rest), Left())] if rest else left

    def _stretch(self, rows: Sequence[Row]) -> Stretch:
        assert self.under_way is not None
        return Stretch.of(rows, self.under_way.envelope, self.lane.name)
