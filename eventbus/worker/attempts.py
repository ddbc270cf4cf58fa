"""How a batch of events goes through a handler: one rule, run by a thread, a loop or somebody's GUI.

The rule is a generator that yields the next event to try and is sent how it ended; the drivers differ
only in how they call the handler.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Any, NoReturn

import attrs

from eventbus.clock import Clock
from eventbus.delivery import Behind, Failed, Handled, Item, Left, Outcome, Unloaded
from eventbus.errors import EventDefinitionError, UnknownEvent
from eventbus.events import Envelope
from eventbus.handlers import Context, handling
from eventbus.threads import is_ctrl_c
from eventbus.worker.lane import Job

delivering: ContextVar[bool] = ContextVar("delivering", default=False)
"""True while a durable handler runs."""

_log = logging.getLogger("eventbus.worker")

Attempts = Generator[Item, Outcome, None]
Report = Callable[[Item, Outcome], None]


def attempts(job: Job, report: Report, stopping: Callable[[], bool]) -> Attempts:
    """Yield each event that is to be tried, in order, and report the outcome of all of them.

    A failure blocks its own order key for the rest of the batch; in strict order, and where it pauses the
    subscription, it stops the batch.
    """
    stopped, blocked = False, set[str]()
    for item in job.items:
        if stopped or stopping() or job.lane.paused:
            report(item, Left())
        elif item.key is not None and item.key in blocked:
            report(item, Behind())
        else:
            outcome = yield item
            if isinstance(outcome, Failed | Unloaded):
                stopped = job.lane.strict or _pauses(job, outcome)
                if item.key is not None:
                    blocked.add(item.key)
            elif isinstance(outcome, Left):
                stopped = True
            report(item, outcome)


def _pauses(job: Job, outcome: Failed | Unloaded) -> bool:
    retry = job.lane.work.retry
    return isinstance(outcome, Failed) and retry is not None and retry.pauses(outcome.error)


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
        self._item.running = True
        self._item.drafts.clear()  # what an earlier try published counts only if that try succeeded
        self._wall, self._started = self._clock.time(), self._clock.monotonic()
        self._token = handling.set(self._item.envelope)
        self._delivering = delivering.set(True)
        return self

    def event(self) -> Any:
        """The event to hand over; raises what kept the delivery from being told its order key."""
        if self._item.problem is not None:
            raise self._item.problem
        return self._item.envelope.event

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
        elif isinstance(error, UnknownEvent) and error.type_name == self._item.envelope.type:
            self.outcome = Unloaded()
        else:
            self.outcome = Failed(error, self._wall, self._clock.monotonic() - self._started)
        return True


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


async def run_on_loop(
    attempts: Attempts, call: Callable[[Any, Context], Any], context: Callable[[Item], Context], clock: Clock
) -> bool:
    """Drive a batch on this loop; one event is awaited before the next begins. True if it was cancelled.

    One that was cancelled from outside was not tried; a CancelledError of the handler's own is a failure.
    """
    from asyncio import current_task

    task = current_task()
    assert task is not None
    loop = task.get_loop()
    item = next(attempts, None)
    while item is not None:
        with Attempt(item, clock, lambda: task.cancelling() > 0 or loop.is_closed()) as attempt:
            await call(attempt.event(), context(item))
        item = _send(attempts, attempt.outcome)
    return task.cancelling() > 0 or loop.is_closed()


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
