"""One change that was applied before its event was handled, and what a window holds of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from eventbus.asking import check_seconds
from eventbus.bus.judging import State, Undone, Verdict
from eventbus.bus.transacting import refuse_on_a_loop
from eventbus.engine import Engine
from eventbus.errors import WaitTimeout, WouldDeadlock
from eventbus.events import Receipt
from eventbus.handlers import Registration

if TYPE_CHECKING:
    from eventbus.placement import Via


class Change:
    """A change that was applied, and what is to be called when it is settled: once."""

    def __init__(
        self,
        event: object,
        rollback: Callable[[Undone], object],
        confirm: Callable[[], object] | None,
        via: Via | None,
    ) -> None:
        self.event, self.rollback, self.confirm, self.via = event, rollback, confirm, via
        self.state: State = "applied"
        self.receipt: Receipt | None = None
        self.why: Undone | None = None
        self.engine: Engine | None = None
        self.is_open = True
        self.wakers: list[Registration] = []
        self.over = threading.Event()
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Optimistic {type(self.event).__name__} {self.state}>"

    def settle(self, verdict: Verdict) -> bool:
        """Note what has become of it; False if that is settled already, or of no interest any more."""
        with self._lock:
            if not self.is_open:
                return False
            self.is_open = False
            if isinstance(verdict, Undone):
                self.state, self.why = "rolled back", verdict
            else:
                self.state = verdict
        return True

    def close(self) -> None:
        """Call nothing any more."""
        with self._lock:
            self.is_open = False
        self.end()

    def end(self) -> None:
        """Let go on whoever waits for it."""
        while self.wakers:
            self.wakers.pop().close()
        self.over.set()


class Optimistic:
    """A change that was applied before its event was handled; it is followed until it, or the bus, is closed."""

    def __init__(self, change: Change) -> None:
        self._change = change

    def __repr__(self) -> str:
        return repr(self._change)

    @property
    def state(self) -> State:
        """ "applied", "confirmed" or "rolled back"."""
        return self._change.state

    @property
    def receipt(self) -> Receipt | None:
        """What publishing its event returned, None until it is stored."""
        return self._change.receipt

    @property
    def why(self) -> Undone | None:
        """Why it was rolled back."""
        return self._change.why

    def wait(self, timeout: float | None = 5.0) -> State:
        """Block until it is "confirmed" or "rolled back", at most `timeout` seconds; "applied" once it was closed.

        What is called on the bus's own thread has run by then. Raises WaitTimeout, and WouldDeadlock on a loop.
        """
        refuse_on_a_loop("wait", "await asyncio.to_thread(change.wait)")
        check_seconds(timeout)
        if self._change.engine is not None and self._change.engine.is_telling_here:
            raise WouldDeadlock("wait was called by a live handler, and waits for its end.", hint="Use confirm=.")
        if not self._change.over.wait(timeout):
            raise WaitTimeout("A change was neither confirmed nor rolled back", timeout or 0.0)
        return self.state

    def close(self) -> None:
        """Follow it no more: it stays as it is, and nothing is called any more."""
        self._change.close()
