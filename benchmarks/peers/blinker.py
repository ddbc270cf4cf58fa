"""blinker: `signal.send`, receivers held strongly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.measuring import Block, timed
from benchmarks.payload import PLACED, handlers

DURABILITY = "none"


@contextmanager
def emitting(number: int) -> Iterator[Block]:
    import blinker

    signal = blinker.Signal()
    for handle in handlers(number):
        signal.connect(handle, weak=False)
    yield lambda times: timed(signal.send, times, PLACED)
