"""pyee: `EventEmitter.emit`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.measuring import Block, timed
from benchmarks.payload import PLACED, handlers

DURABILITY = "none"


@contextmanager
def emitting(number: int) -> Iterator[Block]:
    import pyee

    emitter = pyee.EventEmitter()
    for handle in handlers(number):
        emitter.on("placed", handle)
    yield lambda times: timed(lambda: emitter.emit("placed", PLACED), times)
