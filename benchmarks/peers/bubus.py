"""bubus: an event is made, dispatched and awaited; in memory, on a loop of its own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from time import perf_counter
from typing import Any

from benchmarks.measuring import Block
from benchmarks.payload import ORDER

DURABILITY = "none, in memory"


@contextmanager
def emitting(number: int) -> Iterator[Block]:
    from bubus import EventBus  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    logging.getLogger("bubus").setLevel(logging.CRITICAL)
    order_placed = _event_class()
    with asyncio.Runner() as runner:
        bus = EventBus()
        for nth in range(number):
            bus.on(order_placed, _handler(nth))

        async def dispatch(times: int) -> float:
            began = perf_counter()
            for _ in range(times):
                await bus.dispatch(order_placed(**ORDER))
            return (perf_counter() - began) / times

        yield lambda times: runner.run(dispatch(times))
        runner.run(bus.stop(clear=True))


@cache
def _event_class() -> Any:
    from bubus import BaseEvent  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    class OrderPlaced(BaseEvent[None]):
        order_id: str
        customer_id: str
        items: list[dict[str, Any]]
        total: float
        currency: str

    return OrderPlaced


def _handler(nth: int) -> Any:
    async def handle(placed: Any) -> None:
        pass

    handle.__name__ = handle.__qualname__ = f"handle_{nth}"  # two of one name are warned about
    return handle
