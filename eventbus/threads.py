"""Threads of our own: daemons that start when there is work and go away when there is none.

`concurrent.futures` is not used because its threads delay the interpreter's exit.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from typing import Any, Generic, Literal, TypeVar

IDLE_SECONDS = 10.0  # a thread that was idle this long ends; the next work starts another
HUNG_SECONDS = 10.0  # a thread that was busy this long does not count towards its pool's limit

T = TypeVar("T")

_log = logging.getLogger("eventbus.threads")


class Batches(Generic[T]):
    """One daemon thread that takes everything queued at once and hands it to `work`, in order.

    `work` must not raise; what it raises is logged and the thread goes on.
    """

    def __init__(self, name: str, work: Callable[[list[T]], None], limit: int = 1000) -> None:
        self._name, self._work, self._limit = name, work, limit
        self._queue: deque[T] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._given = self._done = 0  # items, since it was made

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, item: T) -> None:
        """Queue one item; the thread starts if there is none."""
        with self._changed:
            self._queue.append(item)
            self._given += 1
            if self._thread is not None:
                self._changed.notify_all()
                return
            thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the interpreter is ending and has no new threads to give: the work is done here
                batch, self._busy = self._take(), True
            else:
                self._thread = thread
                return
        try:
            self._do(batch)
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    @property
    def is_here(self) -> bool:
        """True on its own thread."""
        return threading.current_thread() is self._thread

    def join(self, timeout: float | None) -> bool:
        """Wait at most `timeout` seconds until nothing is queued or being worked on; True if so."""
        if threading.current_thread() is self._thread:
            return True
        with self._changed:
            return self._changed.wait_for(lambda: not self._queue and not self._busy, timeout)

    def flush(self, timeout: float | None) -> bool:
        """Wait for what is queued by now, whatever is queued after it; False after `timeout` seconds."""
        if threading.current_thread() is self._thread:
            return True
        with self._changed:
            given = self._given
            return self._changed.wait_for(lambda: self._done >= given, timeout)

    def _run(self) -> None:
        while batch := self._next():
            self._do(batch)
            batch.clear()

    def _do(self, batch: list[T]) -> None:
        try:
            self._work(batch)
        except BaseException:  # a handler that calls sys.exit() must not take the thread along
            _log.exception("%s: a batch of %d failed", self._name, len(batch))
        finally:
            with self._changed:
                self._done += len(batch)
                self._changed.notify_all()

    def _take(self) -> list[T]:
        return [self._queue.popleft() for _ in range(min(self._limit, len(self._queue)))]

    def _next(self) -> list[T] | None:
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: bool(self._queue), IDLE_SECONDS):
                self._thread = None
                return None
            self._busy = True
            return self._take()


class Pool:
    """At most `limit` daemon threads that run thunks; a thunk waits when all are busy.

    One that has been busy for long, as `look` sees it, does not count any more: others get its place.
    """

    def __init__(self, name: str, limit: int = 8) -> None:
        self._name, self._limit = name, limit
        self._queue: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._idle = self._threads = self._hung = 0
        self._busy: dict[object, float | None] = {}  # each thunk that runs, and when `look` first saw it

    def run(self, thunk: Callable[[], None]) -> None:
        """Run `thunk` on a thread as soon as one is free. It must not raise; if it does, that is logged."""
        with self._changed:
            self._queue.append(thunk)
            if self._idle >= len(self._queue):
                self._changed.notify()
            elif self._threads - self._hung < self._limit:
                self._start()

    def allow(self, limit: int) -> None:
        """Have at least so many threads from now on."""
        with self._changed:
            self._limit = max(self._limit, limit)

    def look(self, now: float) -> None:
        """Find out which threads have been busy for long; `now` is monotonic, and this is called now and then."""
        with self._changed:
            for run, since in self._busy.items():
                self._busy[run] = now if since is None else since
            hung = [since for since in self._busy.values() if since is not None and now - since >= HUNG_SECONDS]
            self._hung = len(hung)
            room = self._limit - (self._threads - self._hung)
            for _ in range(min(len(self._queue) - self._idle, room)):
                self._start()

    def _start(self) -> None:
        try:
            threading.Thread(target=self._work, name=self._name, daemon=True).start()
        except RuntimeError as error:  # the process may have no more; the thunk waits, and `look` tries again
            _log.warning("%s: no thread could be started: %s", self._name, error)
        else:
            self._threads += 1

    def _work(self) -> None:
        while (thunk := self._next()) is not None:
            run = object()
            with self._changed:
                self._busy[run] = None
            try:
                thunk()
            except BaseException:
                _log.exception("%s: a thunk failed", self._name)
            with self._changed:
                del self._busy[run]
            del thunk  # an idle thread must not keep the last handler's objects alive

    def _next(self) -> Callable[[], None] | None:
        with self._changed:
            self._idle += 1
            found = self._changed.wait_for(lambda: bool(self._queue), IDLE_SECONDS)
            self._idle -= 1
            if not found:
                self._threads -= 1
                return None
            return self._queue.popleft()


def is_ctrl_c(error: BaseException) -> bool:
    """True for Ctrl-C, which the main thread alone gets: it means the program, not what happened to run there."""
    return isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread()


async def raised_by(call: Callable[[], Coroutine[Any, Any, object]]) -> BaseException | None:
    """Await what `call` makes; returns what it raised: asyncio ends the loop on which a task raises SystemExit.

    Ctrl-C and the cancellation of the task that awaits this are raised; a CancelledError of its own is not.
    """
    from asyncio import CancelledError, current_task

    task = current_task()
    assert task is not None
    try:
        await call()
    except BaseException as error:
        is_ended = current_task(task.get_loop()) is not task  # closed from outside, as when its loop was closed
        is_cancelled = isinstance(error, CancelledError) and task.cancelling()
        if is_ended or is_cancelled or is_ctrl_c(error):
            raise
        return error
    return None


def running_loop() -> object | None:
    """The asyncio loop that runs on this thread, if any; asyncio is not imported to find out."""
    # Another thread may be importing asyncio at this moment: what is not there yet cannot run here.
    get = getattr(sys.modules.get("asyncio.events"), "_get_running_loop", None)
    return None if get is None else get()


# What a thread of ours waits for. "open": the file. "wait": handlers, or transactions that are open, so
# that any number of such threads may stand still. "turn": a transaction's own begin and end, which wait
# for none of these and so always get a thread.
Purpose = Literal["open", "wait", "turn"]


def _make_helpers() -> dict[Purpose, Pool]:
    return {
        "open": Pool("eventbus-helper", limit=4),
        "wait": Pool("eventbus-helper", limit=1000),
        "turn": Pool("eventbus-helper", limit=4),
    }


_helpers = _make_helpers()


def _renew_helpers() -> None:
    """In a fork: the threads of the parent are not there."""
    global _helpers
    _helpers = _make_helpers()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_helpers)


def aside(thunk: Callable[[], None], purpose: Purpose) -> None:
    """Run something that waits on a thread of ours."""
    _helpers[purpose].run(thunk)


async def off_the_loop(function: Callable[[], T], purpose: Purpose = "wait") -> T:
    """Run something that waits on a thread of ours, in the context of the caller."""
    import asyncio

    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: Callable[[], None]) -> None:
        if not future.done():
            result()

    def back(result: Callable[[], None]) -> None:
        try:
            loop.call_soon_threadsafe(settle, result)
        except RuntimeError:  # the loop was closed: nobody waits any more
            _log.debug("a result came back to a closed loop", exc_info=True)

    def run() -> None:
        try:
            value = function()
        except BaseException as error:
            failure = error
            back(lambda: future.set_exception(failure))
        else:
            back(lambda: future.set_result(value))

    context = copy_context()
    aside(lambda: context.run(run), purpose)
    return await future
