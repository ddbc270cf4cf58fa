"""How a batch of events goes through a handler: one rule, run by a thread, a loop or somebody's GUI.

The rule is a generator that yields the next event to try and is sent how it ended; the drivers differ
only in how they call the handler.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Token
from types import TracebackType
from typing import Any, NoReturn

import attrs

from eventbus.clock import Clock
from eventbus.delivery import Behind, Bundle, Failed, Handled, Item, Left, Outcome, Unloaded, tame
from eventbus.errors import EventDefinitionError, HandlerTimeout, LogCorrupt, UnknownEvent
from eventbus.events import Envelope
from eventbus.handlers import Context, handling, returned
from eventbus.threads import is_ctrl_c
from eventbus.worker.delivering import delivering
from eventbus.worker.job import Job

_log = logging.getLogger("eventbus.worker")

Attempts = Generator[Item, Outcome, None]
Report = Callable[[Item, Outcome], None]


def attempts(job: Job, report: Report, stopping: Callable[[], bool], ended: Outcome | None = None) -> Attempts:
    """Yield each event, or each bundle of them, that is to be tried, and report the outcome of all.

    A failure blocks its own order key for the rest of the job; in strict order, where it pauses the
    subscription, and where it opens its breaker, it stops the job. A success whose publishes the log may
    still refuse leaves the rest of its key for when it is recorded. A bundle that fails is tried again
    event by event, which uses up no attempt. `ended`: how the first has ended already.
    """
    course = _Course(job, report, stopping)
    left = deque(job.items)
    if ended is not None:
        course.end(left.popleft(), ended)
    most = job.lane.work.batch
    while left:
        chunk = [left.popleft()]
        while left and most is not None and len(chunk) < most and not (chunk[0].alone or left[0].alone):
            chunk.append(left.popleft())
        yield from course.take(chunk, bundled=most is not None)


class _Course:
    """How far a job has come: whether it is stopped, and which order keys are blocked."""

    def __init__(self, job: Job, report: Report, stopping: Callable[[], bool]) -> None:
        self._job, self._report, self._stopping = job, report, stopping
        self._stopped = False
        self._blocked: set[str] = set()
        self._uncertain: set[str] = set()  # order keys of what has succeeded only if the log agrees
        self._failures = 0  # in a row, as the breaker counts them

    def take(self, items: list[Item], *, bundled: bool) -> Attempts:
        """Try these together; what is behind a blocked key is left out."""
        free = [item for item in items if not self._waits(item)]
        if not free:
            return
        unit = Bundle.of(free) if bundled else free[0]
        if not self._begin(unit):
            self._left(free)
            return
        outcome = yield unit
        self._end()
        if len(free) > 1 and isinstance(outcome, Failed | Unloaded):
            for item in free:
                yield from self.take([item], bundled=True)
            return
        if isinstance(outcome, Left):
            self._stopped = True
        if len(free) == 1:
            free[0].drafts = unit.drafts
            self.end(free[0], outcome)
            return
        self._came_together(unit, free, outcome)
        self._report(unit, outcome)  # as one: what a list has published is for all of it

    def end(self, item: Item, outcome: Outcome) -> None:
        """This is how one has ended that was tried alone."""
        self._came_together(item, [item], outcome)
        self._report(item, outcome)

    def _came_together(self, unit: Item, items: list[Item], outcome: Outcome) -> None:
        if isinstance(outcome, Handled) and not outcome.recorded and _may_be_refused(unit):
            self._uncertain.update(item.key for item in items if item.key is not None)
            self._stopped = self._stopped or self._job.lane.strict
        for item in items:
            self._came(item, outcome)

    def _waits(self, item: Item) -> bool:
        """True for what is reported as not tried, because of what came before it."""
        if item.key in self._uncertain:
            self._report(item, Left())
            return True
        if item.key is None or item.key not in self._blocked or self._stopped:
            return False
        self._report(item, Behind())
        return True

    def _begin(self, unit: Item) -> bool:
        job = self._job
        with job.lock:
            if self._stopped or job.detached or self._stopping() or job.lane.paused:
                self._stopped = True
                return False
            job.trying = unit
        return True

    def _end(self) -> None:
        with self._job.lock:
            self._job.trying = None

    def _left(self, items: list[Item]) -> None:
        for item in items:
            self._report(item, Left())

    def _came(self, item: Item, outcome: Outcome) -> None:
        work = self._job.lane.work
        if not isinstance(outcome, Failed | Unloaded):
            self._failures = 0
            return
        if item.key is not None:
            self._blocked.add(item.key)
        self._stopped = self._stopped or self._job.lane.strict
        if isinstance(outcome, Failed):
            counts = work.breaker is not None and work.breaker.counts(outcome.error)
            self._failures = self._failures + 1 if counts else 0
            if work.breaker is not None and self._failures >= work.breaker.failures:
                self._stopped = True
            if work.retry is not None and work.retry.pauses(outcome.error):
                self._stopped = True


class Attempt:
    """One try of a handler, as a context: what it raises becomes the `outcome`.

    A handler that calls sys.exit() or raises another BaseException is a failed attempt, not a dead bus.
    """

    __slots__ = ("_cancelled", "_clock", "_delivering", "_item", "_started", "_token", "_wall", "outcome")

    def __init__(self, item: Item, clock: Clock, cancelled: Callable[[], bool] = lambda: False) -> None:
        self._item, self._clock, self._cancelled = item, clock, cancelled
        self.outcome: Outcome = Handled()
        self._token: Token[Envelope | None] | None = None

    def __enter__(self) -> Attempt:
        item = self._item
        item.drafts.clear()  # what an earlier try published counts only if that try succeeded
        self._wall, self._started = self._clock.time(), self._clock.monotonic()
        item.started, item.thread = self._started, threading.get_ident()
        item.running = True
        self._token = handling.set(self._item.envelope)
        self._delivering = delivering.set(self._item)
        return self

    def event(self) -> Any:
        """What to hand over, an event or a list; raises what kept the delivery from being told its order key."""
        if isinstance(self._item, Bundle):
            return [_event(item) for item in self._item.items]
        return _event(self._item)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        self._item.running = False
        if self._token is not None:
            handling.reset(self._token)
            delivering.reset(self._delivering)
        if error is None:
            return True
        if self._cancelled():
            self.outcome = Left()
        else:
            seconds = self._clock.monotonic() - self._started
            self.outcome = ending(self._item.envelope, error, self._wall, seconds)
        return True


def ending(envelope: Envelope, error: BaseException, started_at: float, seconds: float) -> Outcome:
    """What it means that a handler has raised this."""
    error = tame(error)
    if isinstance(error, UnknownEvent) and error.type_name == envelope.type:
        return Unloaded()
    if isinstance(error, LogCorrupt) and error.position == envelope.position:
        return Failed(error, started_at, seconds, final=True)  # trying again reads the same
    return Failed(error, started_at, seconds)


def _may_be_refused(unit: Item) -> bool:
    """What was published there has a version that another writer may have taken by the time it is recorded."""
    return any(draft.expected_version is not None for draft in unit.drafts)


def _event(item: Item) -> Any:
    if item.problem is not None:
        raise item.problem
    return item.envelope.event


def run_here(
    attempts: Attempts, call: Callable[[Any, Context], Any], context: Callable[[Item], Context], clock: Clock
) -> None:
    """Drive a batch on this thread."""
    item = next(attempts, None)
    while item is not None:
        with Attempt(item, clock) as attempt:
            call(attempt.event(), context(item))
        raise_interrupt(attempt.outcome)
        item = _send(attempts, attempt.outcome)


def refuse_coroutine(name: str, coroutine: Coroutine[Any, Any, object], why: str) -> NoReturn:
    """EventDefinitionError where nobody could await what a handler returned."""
    coroutine.close()
    raise EventDefinitionError(
        f"The handler of {name!r} returned a coroutine, which nothing can await: {why}.",
        hint="Give it a handler that is done when it returns.",
    )


def raise_interrupt(outcome: Outcome) -> None:
    """Ctrl-C in the main thread means the program, not the handler that happened to run: drain() raises it."""
    if isinstance(outcome, Failed) and is_ctrl_c(outcome.error):
        raise KeyboardInterrupt


async def run_on_loop(job: Job, attempts: Attempts, context: Callable[[Item], Context], clock: Clock) -> bool:
    """Drive a job on this loop; one event is awaited before the next begins. True if it was cancelled.

    One that was cancelled from outside was not tried; a CancelledError of the handler's own is a failure, and
    so is one that the bus cancelled because it took too long.
    """
    from asyncio import current_task

    task = current_task()
    assert task is not None
    loop = task.get_loop()

    def is_cancelled() -> bool:
        return task.cancelling() > (item is not None and item.cancelled is not None) or loop.is_closed()

    def cancel(item: Item) -> None:
        if job.trying is item and item.running:
            task.cancel()

    job.cancel = lambda item: loop.call_soon_threadsafe(cancel, item)
    item = next(attempts, None)
    while item is not None:
        with Attempt(item, clock, is_cancelled) as attempt:
            await job.lane.work.call(attempt.event(), told := context(item))
            returned(told)
        outcome = attempt.outcome
        if item.cancelled is not None:
            task.uncancel()
            outcome = _timed_out(job, outcome)
        item = _send(attempts, outcome)
    return task.cancelling() > 0 or loop.is_closed()


def _timed_out(job: Job, outcome: Outcome) -> Outcome:
    """What a handler raised after it was cancelled came of that; one that returned all the same is done."""
    if not isinstance(outcome, Failed):
        return outcome
    timeout = HandlerTimeout(job.lane.name, job.lane.work.timeout or 0.0)
    timeout.__cause__ = outcome.error
    return attrs.evolve(outcome, error=timeout)


@attrs.define(eq=False)
class _Sent:
    """One event that was given to `via`: run once, there or here, or refused."""

    giver: int | None  # the thread that is inside `via` with it
    taken: bool = False
    ran_here: bool = False
    following: Item | None = None


def run_via(
    attempts: Attempts,
    call: Callable[[Any, Context], Any],
    context: Callable[[Item], Context],
    clock: Clock,
    via: Callable[[Callable[[], None]], object],
    done: Callable[[], None],
) -> None:
    """Drive a batch elsewhere, one event a turn, so that a GUI draws in between; no thread waits for it.

    `done` is called there after the last event. A `via` that fails is a failed attempt.
    """

    def turn(item: Item, sent: _Sent) -> None:
        if sent.taken:
            return
        sent.taken = True
        with Attempt(item, clock) as attempt:
            call(attempt.event(), context(item))
        following = _send(attempts, attempt.outcome)
        if sent.giver == threading.get_ident():  # still inside `via`: a batch must not grow the stack
            sent.ran_here, sent.following = True, following
        else:
            send(following)

    def give(item: Item) -> _Sent:
        sent = _Sent(threading.get_ident())
        try:
            via(functools.partial(turn, item, sent))
        except BaseException as error:
            _let_through(error, sent, done)
            if sent.taken:
                _log.exception("via= failed after it had run what it was given")
            else:
                sent.taken = sent.ran_here = True
                sent.following = _send(attempts, Failed(error, clock.time(), 0.0))
        sent.giver = None
        return sent

    def send(item: Item | None) -> None:
        while item is not None:
            sent = give(item)
            if not sent.ran_here:
                return
            item = sent.following
        done()

    send(next(attempts, None))


def _let_through(error: BaseException, sent: _Sent, done: Callable[[], None]) -> None:
    """Ctrl-C while `via` was called ends the batch, unless that goes on where it was taken; what is left is due."""
    if is_ctrl_c(error):
        if sent.ran_here or not sent.taken:
            sent.taken = True
            done()
        raise error


def _send(attempts: Attempts, outcome: Outcome) -> Item | None:
    try:
        return attempts.send(outcome)
    except StopIteration:
        return None
