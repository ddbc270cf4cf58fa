"""The order in which writers of one process take turns: first come, first served.

Threads block in it, coroutines await it, and a turn may end on another thread than it began on, which
is what `async with bus.transaction()` needs. Fairness matters: with a plain lock, a thread that
publishes in a loop takes the lock again before any waiter wakes up.

Ctrl-C may come between any two steps of the main thread, also after a turn was given and before its
taker knows. So a turn is an object that is made before it is asked for, and leaving it is right whatever
came before, and done again if it was interrupted itself:

    turn = Turn()
    try:
        turnstile.enter(turn)
        ...
    finally:
        try:
            turnstile.leave(turn)
        except BaseException:
            turnstile.leave(turn)
            raise
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import msgspec

from eventbus.errors import WouldDeadlock
from eventbus.threads import running_loop

if TYPE_CHECKING:
    import asyncio


def _nobody_waits() -> None:
    """A turn that was not asked for is let in by nobody."""


class Turn(msgspec.Struct, eq=False):
    """One stay: not begun, in the line, inside, or over.

    `loop` is the event loop it leaves to other tasks, if any, `thread` the one that it ends on, if that is known.
    """

    loop: object = None
    thread: int | None = None
    grant: Callable[[], object] = _nobody_waits  # lets it in; called twice if the first time was cut short


class Turnstile:
    """A first-in, first-out mutex that knows which event loops hold it or stand in its line."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[Turn] = deque()
        self._inside: Turn | None = None

    @property
    def inside(self) -> Turn | None:
        """Whose turn it is."""
        return self._inside

    def try_enter(self, turn: Turn) -> bool:
        """Enter only if that takes no waiting."""
        with self._lock:
            if self._inside is not None or self._waiting:
                return False
            self._inside = turn
            return True

    def enter(self, turn: Turn, *, timeout: float | None = None) -> bool:
        """Enter, blocking this thread until it is its turn; False if that did not come within `timeout` seconds.

        Raises WouldDeadlock where this thread, or a task of the loop that runs here, is inside or would be first.
        """
        gate: SimpleQueue[None] = SimpleQueue()
        with self._lock:
            if self._inside is None and not self._waiting:
                self._inside = turn
                return True
            self._refuse(running_loop())
            turn.grant = partial(gate.put, None)
            self._waiting.append(turn)
            self._admit()
        try:
            gate.get(timeout=timeout)
        except Empty:
            return not self._give_up(turn)
        return True

    async def enter_async(self, turn: Turn) -> None:
        """Enter, without blocking the loop. Whoever is cancelled meanwhile leaves like everybody else."""
        import asyncio

        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            turn.loop = loop
            if self._inside is None and not self._waiting:
                self._inside = turn
                return
            turn.grant = lambda: loop.call_soon_threadsafe(_wake, future)
            self._waiting.append(turn)
            self._admit()
        await future

    def leave(self, turn: Turn) -> None:
        """Leave, or step out of the line; whoever comes next is inside before this returns.

        Does nothing for a turn that is over or was never asked for.
        """
        with self._lock:
            if self._inside is turn and not self._waiting:
                self._inside = None
                return
            if turn in self._waiting:
                self._waiting.remove(turn)
            if self._inside is turn:
                self._inside = None
            self._admit()

    @contextmanager
    def turn(self, *, timeout: float | None = None) -> Generator[bool, None, None]:
        """A turn for the length of a `with` block; False if it did not come within `timeout` seconds.

        Where Ctrl-C skips the end of the block, the turn ends with the error's traceback.
        """
        turn = Turn(thread=threading.get_ident())
        try:
            yield self.enter(turn, timeout=timeout)
        finally:
            try:
                self.leave(turn)
            except BaseException:
                self.leave(turn)
                raise

    def check(self) -> None:
        """Raise WouldDeadlock where waiting here would stop whoever is inside, or in the line, for ever."""
        with self._lock:
            self._refuse(running_loop())

    def _admit(self) -> None:
        """Let in whoever is first, if nobody is inside; after an interrupt it goes on where it stopped."""
        while self._waiting and self._inside in (None, self._waiting[0]):
            self._inside = first = self._waiting[0]
            try:
                first.grant()
            except RuntimeError:  # the waiter's loop was closed: its turn goes to the next
                self._inside = None
            self._waiting.popleft()

    def _refuse(self, loop: object) -> None:
        if self._inside is not None and self._inside.thread == threading.get_ident():
            raise WouldDeadlock(
                "The bus is reading or writing the log on this thread, and asks the app's code meanwhile.",
                hint="Use the bus in handlers, not in order_by= and the like.",
            )
        if loop is None:
            return
        if any(turn.loop is loop for turn in (self._inside, *self._waiting) if turn is not None):
            raise WouldDeadlock(
                "A transaction is open on this thread's event loop, and waiting for it here would stop it for ever.",
                hint="Use await bus.publish_async(...), or tx.publish(...) inside the transaction.",
            )

    def _give_up(self, turn: Turn) -> bool:
        """Leave the line; False if the turn was granted meanwhile."""
        with self._lock:
            if self._inside is turn:
                return False
            self._waiting.remove(turn)
            return True


def _wake(waiter: asyncio.Future[None]) -> None:
    """On the waiter's loop. One that was cancelled has left, or is about to."""
    if not waiter.done():
        waiter.set_result(None)
