"""The future of an event that was submitted: it knows where waiting for it would never end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

from eventbus.engine import Engine
from eventbus.errors import WouldDeadlock
from eventbus.events import Receipt


class Submitted(Future[Receipt]):
    """Settled on the dispatch thread, once the live handlers have run there: so not while another one waits for it."""

    def __init__(self, engine: Callable[[], Engine | None]) -> None:
        super().__init__()
        self._engine = engine

    def result(self, timeout: float | None = None) -> Receipt:
        """The receipt; raises what kept the event from being stored, TimeoutError after `timeout` seconds."""
        self._refuse("result")
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What kept the event from being stored, None if nothing did; TimeoutError after `timeout` seconds."""
        self._refuse("exception")
        return super().exception(timeout)

    def _refuse(self, verb: str) -> None:
        engine = self._engine()
        if not self.done() and engine is not None and engine.is_telling_here:
            raise WouldDeadlock(
                f"{verb}() of a submitted event was called by a live handler, and waits for its end.",
                stored="",
                hint="Use bus.publish(...), or add_done_callback.",
            )
