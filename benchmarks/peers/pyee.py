"""pyee: `EventEmitter.emit`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import repeat
from time import perf_counter

from benchmarks.measuring import Block
from benchmarks.payload import PLACED, handlers

DURABILITY = "none"


@contextmanager
def emitting(number: int) -> Iterator[Block]:
    from pyee import EventEmitter  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    emitter = EventEmitter()
    for handle in handlers(number):
        emitter.on("placed", handle)

    def block(times: int) -> float:
        emit = emitter.emit
        began = perf_counter()
        for _ in repeat(None, times):
            emit("placed", PLACED)
        return (perf_counter() - began) / times

    yield block
