"""The kinds of subscriptions a simulation delivers to, as a table, and what happens in their handlers.

How an attempt ends follows from the event; what else happens meanwhile is up to the scheduler, which each handler
asks as it begins and before it ends.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Protocol

import attrs

from eventbus import Breaker, Context, EventBus, Retry, event
from eventbus.retry import fixed

PAUSE = 1.0
ATTEMPTS = 3


@event(name="simulated.Happened")
class Happened:
    """Its first `fails` attempts fail, then it ends as it says: well, with a drop, or with a death."""

    number: int
    key: str
    fails: int = 0
    ends: str = "well"


@event(name="echo.Echoed")
class Echoed:
    """What handlers publish."""

    by: str
    number: int


class Oops(Exception):
    """An attempt that fails."""


class Drop(Exception):
    """Not to be tried again."""


RETRY = Retry(attempts=ATTEMPTS, backoff=fixed(PAUSE), outage=(ConnectionError,), on={Drop: "discard"})


@attrs.frozen
class Kind:
    """A subscription as it is declared, and what its order key is: None for an event that stands alone."""

    name: str
    how: dict[str, Any] = attrs.field(factory=dict)
    key_of: Callable[[int, str | None], Hashable] = lambda number, stream: stream
    echoes: bool = False
    via: bool = False  # given to somebody else's thread, as a GUI's
    hangs: bool = False

    @property
    def transactional(self) -> bool:
        """True if its effects are rows of the file."""
        return bool(self.how.get("transactional"))

    @property
    def batch(self) -> bool:
        """True if its handler takes lists."""
        return "batch" in self.how


def _of_parity(envelope: Any) -> str:
    return str(envelope.event.number % 2)


_TX = {"transactional": True}
_LOG = {"order_by": "log"}
_TIME = {"timeout": 2.0}

KINDS = {
    kind.name: kind
    for kind in (
        Kind("stream", echoes=True),
        Kind("alone", {"order_by": None}, key_of=lambda number, stream: None),
        Kind("log", _LOG, key_of=lambda number, stream: "the log"),
        Kind("parity", {"order_by": _of_parity}, key_of=lambda number, stream: number % 2, echoes=True),
        Kind("lists", {"batch": 3}),
        Kind("guarded", {"breaker": Breaker(failures=2, seconds=PAUSE)}),
        Kind("elsewhere", via=True),
        Kind("hanging", _TIME, hangs=True, echoes=True),
        Kind("hanging elsewhere", _TIME, via=True, hangs=True),
        Kind("parallel", {"concurrency": 3}, echoes=True),
        Kind("parallel, hanging", {"concurrency": 3, **_TIME}, hangs=True),
        Kind("parallel lists", {"concurrency": 2, "batch": 2}),
        Kind("ledger", _TX, echoes=True),
        Kind("log ledger", {**_TX, **_LOG}, key_of=lambda number, stream: "the log"),
        Kind("lists ledger", {**_TX, "batch": 2}),
    )
}


class Stage(Protocol):
    """Where handlers play: the process that runs them, and the world that watches."""

    def enters(self, kind: Kind, positions: list[int]) -> None:
        """A handler has been called."""
        ...

    def acts(self, kind: Kind) -> None:
        """It is in the middle of its work: anything may happen."""
        ...

    def is_broken(self, kind: Kind) -> bool:
        """What it needs cannot be reached."""
        ...

    def is_mended(self) -> bool:
        """Nothing fails any more."""
        ...

    def kills(self) -> None:
        """It takes the process with it."""
        ...

    def leaves(self, kind: Kind, positions: list[int]) -> None:
        """It returns: its effects outside the file are there."""
        ...


def subscribe(bus: EventBus, kind: Kind, stage: Stage, via: Callable[[Callable[[], None]], object]) -> None:
    """Declare a kind on a bus."""
    how = {"retry": RETRY, "after": 0, **kind.how}
    if kind.via:
        how["via"] = via
    handler = _of_lists(kind, stage) if kind.batch else _of_one(kind, stage)
    bus.subscribe(kind.name, Happened, handler=handler, **how)


def _of_one(kind: Kind, stage: Stage) -> Callable[[Happened, Context], None]:
    def handle(happened: Happened, ctx: Context) -> None:
        stage.enters(kind, [ctx.envelope.position])
        _work(kind, stage, happened, ctx, ctx.envelope.position)
        stage.leaves(kind, [ctx.envelope.position])

    return handle


def _of_lists(kind: Kind, stage: Stage) -> Callable[[list[Happened], Context], None]:
    def handle(events: list[Happened], ctx: Context) -> None:
        positions = [envelope.position for envelope in ctx.envelopes]
        stage.enters(kind, positions)
        for happened, position in zip(events, positions, strict=True):
            _work(kind, stage, happened, ctx, position)
        stage.leaves(kind, positions)

    return handle


def _work(kind: Kind, stage: Stage, happened: Happened, ctx: Context, position: int) -> None:
    if kind.transactional:
        ctx.tx.execute("INSERT INTO effects (kind, position) VALUES (?, ?)", (kind.name, position))
    stage.acts(kind)
    if not stage.is_mended():
        if stage.is_broken(kind):
            raise ConnectionError("nobody there")
        if happened.ends == "death":
            stage.kills()
        if ctx.attempt <= happened.fails:
            raise Oops(f"attempt {ctx.attempt}")
    if happened.ends == "drop":
        raise Drop("never")
    if kind.echoes:
        ctx.publish(Echoed(kind.name, happened.number))
