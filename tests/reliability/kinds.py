"""Every kind of subscription, as a table: what the processes of the storm deliver, and how each is judged afterwards.

A new kind of delivery is one more line in KINDS: what `subscribe` is told, what goes wrong, in which order effects are
to be. One whose handler takes something else than (event, ctx) needs a case in `Declared._handler`.

What goes wrong follows from the event's amount, so that a person can mend a delivery by editing it; what fails at
random fails in one process and not in the next.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import attrs
from workload import AGAIN, Balances, Deposited, Diary

from eventbus import Breaker, Context, EventBus, Retry, event, placement
from eventbus.events import Envelope

MENDED = 1  # the amount that no handler fails on
PATIENT = Retry(attempts=None, backoff=AGAIN)


class Poison(Exception):
    """No attempt survives it, until the handler or the event is mended."""


class Void(Exception):
    """Not to be tried again."""


class Mood(Exception):
    """Nothing is delivered until a person resumes."""


@event
class Echoed:
    """What handlers publish: `by` says which kind, `position` for which event."""

    by: str
    position: int


def is_void(amount: int) -> bool:
    """The ones that "picky" discards."""
    return amount % 53 == 52


def _poisons(amount: int) -> None:
    if amount % 199 == 198:
        raise Poison(f"the amount is {amount}")


def _voids(amount: int) -> None:
    if is_void(amount):
        raise Void(f"the amount is {amount}")


def _moods(amount: int) -> None:
    if amount % 83 == 82 and random.random() < 0.5:
        raise Mood("not now")


def _chances(amount: int) -> None:
    if random.random() < 0.1:
        raise RuntimeError("by chance")


def _stream(envelope: Envelope) -> str | None:
    return envelope.stream


def parity(envelope: Envelope) -> str:
    """An order key of the app's own."""
    return str(envelope.event.account % 2)


@attrs.frozen
class Kind:
    """One subscription: how it is declared, what goes wrong with it, and in which order it is to be."""

    name: str
    how: dict[str, Any] = attrs.field(factory=dict)  # what `subscribe` is told
    fault: Callable[[int], None] | None = None
    key: Callable[[Envelope], str | None] | None = _stream  # effects of one key are in order; None: no order
    is_async: bool = False
    echoes: bool = False  # publishes an event of its own for every third
    has_step: bool = False

    @property
    def transactional(self) -> bool:
        """True if its effects are rows of the table "effects", false if they are lines of a diary."""
        return bool(self.how.get("transactional"))


_FEW = Retry(attempts=4, backoff=AGAIN)
_LOG = {"order_by": "log"}
_TX = {"transactional": True}

KINDS = (
    Kind("plain", echoes=True),
    Kind("async", fault=_chances, is_async=True),
    Kind("flaky", fault=_chances),
    Kind("alone", {"order_by": None}, fault=_chances, key=None),
    Kind("parity", {"order_by": parity}, fault=_chances, key=parity),
    Kind("log", _LOG, fault=_chances, key=lambda envelope: ""),
    Kind("elsewhere", {"via": "thread"}),
    Kind("step", fault=_chances, has_step=True),
    Kind("parallel", {"concurrency": 4}, fault=_chances, echoes=True),
    Kind("async_parallel", {"concurrency": 4}, fault=_chances, is_async=True),
    Kind("guarded", {"breaker": Breaker(failures=3, seconds=0.05)}, fault=_chances),
    Kind("lists", {"batch": 7}, fault=_chances),
    Kind("parallel_lists", {"batch": 3, "concurrency": 3}, fault=_chances),
    Kind("lists_ledger", {**_TX, "batch": 5}, fault=_chances),
    Kind("picky", {"retry": Retry(attempts=None, backoff=AGAIN, on={Void: "discard"})}, fault=_voids),
    Kind("moody", {"retry": Retry(attempts=None, backoff=AGAIN, on={Mood: "pause"})}, fault=_moods),
    Kind("doomed", {"retry": _FEW}, fault=_poisons),
    Kind("async_doomed", {"retry": _FEW}, fault=_poisons, is_async=True),
    Kind("doomed_parallel", {"concurrency": 4, "retry": _FEW}, fault=_poisons),
    Kind("ledger", _TX, fault=_chances, echoes=True),
    Kind("log_ledger", {**_TX, **_LOG}, fault=_chances, key=lambda envelope: ""),
    Kind("doomed_ledger", {**_TX, "retry": _FEW}, fault=_poisons),
    Kind("doomed_log", {**_TX, **_LOG, "retry": _FEW}, fault=_poisons, key=lambda envelope: ""),
)


class Declared:
    """All of KINDS and a projection on a bus; `mended`, nothing goes wrong any more but what is void."""

    def __init__(self, bus: EventBus, folder: Path, life: str, *, mended: bool = False) -> None:
        self._life, self._mended = life, mended
        self._tokens = Diary(folder / "step.tokens.txt")
        self._elsewhere: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._run_elsewhere, daemon=True).start()
        self.diaries = {kind.name: Diary(folder / f"{kind.name}.txt") for kind in KINDS if not kind.transactional}
        for kind in KINDS:
            how = {"after": 0, "retry": PATIENT, **kind.how}
            if "via" in how:
                how["via"] = placement.queue(self._elsewhere)
            bus.subscribe(kind.name, Deposited, handler=self._handler(kind), **how)
        bus.project(Balances)

    def close(self) -> None:
        """Close the diaries."""
        for diary in (*self.diaries.values(), self._tokens):
            diary.close()

    def _run_elsewhere(self) -> None:
        while True:
            self._elsewhere.get()()

    def _handler(self, kind: Kind) -> Callable[[Deposited, Context], Any]:
        def handle(deposited: Deposited, ctx: Context) -> None:
            position = ctx.envelope.position
            if kind.transactional:
                ctx.tx.execute("INSERT INTO effects (kind, position) VALUES (?, ?)", (kind.name, position))
            token = ctx.step("token", self._token, position) if kind.has_step else ""
            if kind.fault is not None and (kind.fault is _voids or not self._mended):
                kind.fault(deposited.amount)
            if not kind.transactional:
                self.diaries[kind.name].write(position, self._life, token)
            if kind.echoes and deposited.amount % 3 == 0:
                ctx.publish(Echoed(kind.name, position))

        async def handle_later(deposited: Deposited, ctx: Context) -> None:
            handle(deposited, ctx)

        if kind.how.get("batch"):
            return self._list_handler(kind)
        return handle_later if kind.is_async else handle

    def _list_handler(self, kind: Kind) -> Callable[[list[Deposited], Context], None]:
        def handle(deposits: list[Deposited], ctx: Context) -> None:
            positions = [envelope.position for envelope in ctx.envelopes]
            if kind.transactional:
                ctx.tx.executemany(
                    "INSERT INTO effects (kind, position) VALUES (?, ?)", [(kind.name, each) for each in positions]
                )
            for deposited in deposits:
                if kind.fault is not None and not self._mended:
                    kind.fault(deposited.amount)
            if not kind.transactional:
                for position in positions:
                    self.diaries[kind.name].write(position, self._life, "")

        return handle

    def _token(self, position: int) -> str:
        token = f"{random.getrandbits(48):x}"
        self._tokens.write(position, token)
        return token


def make_tables(bus: EventBus) -> None:
    """The app's own tables, in the log's file; nothing in them keeps an effect from being there twice."""
    with bus.transaction() as tx:
        tx.execute("CREATE TABLE IF NOT EXISTS effects (number INTEGER PRIMARY KEY, kind TEXT, position INTEGER)")
        tx.execute("CREATE TABLE IF NOT EXISTS orders (key TEXT PRIMARY KEY, id TEXT)")
