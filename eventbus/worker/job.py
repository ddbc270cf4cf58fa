"""Some events of one subscription on their way through its handler, and what came of them so far."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import attrs

from eventbus.delivery import Item, Left, Outcome
from eventbus.errors import EventBusError

if TYPE_CHECKING:
    from eventbus.worker.lane import Lane


@attrs.define(eq=False)
class Job:
    """Some events of one lane on their way through its handler; results come back in order.

    Whoever runs it appends to `results`, and sets `finished` last. `trouble` is an error of the log's
    that kept it from going on: no fault of the handler's. Under `lock` it goes on to its next event, or is
    `detached` because the one it is `trying` takes too long: then that one's result is all that counts.
    """

    lane: Lane
    items: list[Item]
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
            if self.finished or self.trying is not None or self.reported:
                return
            self.detached = True
        self.results.extend((item, Left()) for item in self.items)
        self.reported.update(item.position for item in self.items)
        self.finished = True
