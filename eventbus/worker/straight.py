"""Events in a row, straight through a plain handler: for each there is no more than its decoding and the call.

As soon as there is something to be said of one, because it failed, published or has steps, or because its class is not
loaded, the ordinary course takes over from there (`worker.attempts`), by the rules that hold for all.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeAlias

from eventbus.clock import Clock
from eventbus.delivery import Handled, Item, Outcome
from eventbus.handlers import Context, handling, returned
from eventbus.store.names import NameBook
from eventbus.worker.attempts import ending, raise_interrupt
from eventbus.worker.delivering import Current, Underway, delivering
from eventbus.worker.job import Job
from eventbus.worker.work import Wants, Work

Way: TypeAlias = tuple[Callable[[Any], Any], Callable[..., Any], Wants]
"""What reads the payloads of a type, the function for its events, and what that takes beside them."""

REPORT_SECONDS = 0.002  # within a job, results wait at most this long before the pump is told
TURN_SECONDS = 0.05  # then the rest waits for its turn: in drain() one subscription keeps no other waiting for long


class End(Protocol):
    """Whoever knows whether the bus is closing; an attribute, for it is looked at before each event."""

    stopping: bool


class Ways(dict[int, "Way | None"]):
    """The way of each type through a handler, by its id; None where each event of it has to be looked at."""

    def __init__(self, names: NameBook, work: Work) -> None:
        self._names, self._work = names, work

    def __missing__(self, type_id: int) -> Way | None:
        found = self._names.reader(type_id)
        way: Way | None = None
        if found is not None:
            cls, read = found
            handler = self._work.handler_of(cls)
            function = handler.function
            way = (read, _pass, "nothing") if function is None else (read, function, handler.wants)
        self[type_id] = way
        return way


def _pass(event: object, _: object = None) -> None:
    """For what is not meant for the handler."""


class Straight:
    """Drives the rows of jobs, on whatever thread that is."""

    def __init__(
        self,
        names: NameBook,
        clock: Clock,
        *,
        contexts: Callable[[Job], Callable[[Item], Context]],
        wait: Callable[[Coroutine[Any, Any, object]], None],
        end: End,
        tell: Callable[[float], None],
    ) -> None:
        self._names, self._clock = names, clock
        self._contexts, self._wait, self._end, self._tell = contexts, wait, end, tell

    def run(self, job: Job) -> Outcome | None:
        """Go as far as there is nothing to say; what is left then are the job's items.

        Returns how the first of those has ended, None if it was not tried.
        """
        under_way = job.begin()
        if under_way is None:
            return None
        tokens = handling.set(None), delivering.set(None)
        try:
            return self._go(job, under_way)
        finally:
            under_way.current = None
            handling.reset(tokens[0])
            delivering.reset(tokens[1])

    def _go(self, job: Job, under_way: Underway) -> Outcome | None:
        lane, end, monotonic = job.lane, self._end, self._clock.monotonic
        ways, context_of, is_coroutine = Ways(self._names, lane.work), self._contexts(job), inspect.iscoroutine
        now = told = monotonic()
        until = now + TURN_SECONDS
        whole = self._names.whole_from(job.rows)
        for number, row in enumerate(job.rows[:whole], 1):
            if lane.paused or told > until or end.stopping:
                return None
            way = ways[row[2]]
            if way is None:
                return unfold(job)
            try:
                event = way[0](row[11])
            except Exception:  # its envelope says what that means
                return unfold(job)
            under_way.current = current = Current(row, under_way, event)
            handling.set(current)
            delivering.set(current)
            item: Item | None = None
            try:
                if way[2] == "context":
                    item = Item(current, row[0], None, subscription=under_way.subscription)
                    self._call(way[1], event, item, context_of(item))
                elif (result := way[1](event)) is not None and is_coroutine(result):
                    self._wait(result)
            except BaseException as error:
                seconds = monotonic() - now
                outcome = ending(current, error, self._clock.time() - seconds, seconds)
                raise_interrupt(outcome)
                return unfold(job, outcome, item)
            if item is not None and (item.drafts or item.has_steps):
                return unfold(job, Handled(), item)
            job.done = number
            now = monotonic()
            if now - told > REPORT_SECONDS:
                told = now
                self._tell(now)
        return unfold(job) if whole < len(job.rows) else None

    def _call(self, function: Callable[..., Any], event: object, item: Item, context: Context) -> None:
        item.running = True
        try:
            result = function(event, context)
            if inspect.iscoroutine(result):
                self._wait(result)
            returned(context)
        finally:
            item.running = False


def unfold(job: Job, outcome: Outcome | None = None, first: Item | None = None) -> Outcome | None:
    """Make items of the rows that are not done; the outcome, and the item if there is one, are those of the first."""
    job.unfold()
    if first is not None:
        first.key = job.items[0].key
        job.items[0] = first
    return outcome
