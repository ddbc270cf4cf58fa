"""psygnal: a signal of a class, emitted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.measuring import Block, timed
from benchmarks.payload import PLACED, handlers

DURABILITY = "none"


@contextmanager
def emitting(number: int) -> Iterator[Block]:
    from psygnal import Signal  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    class Shop:
        placed = Signal(object)

    shop = Shop()
    for handle in handlers(number):
        shop.placed.connect(handle)
    yield lambda times: timed(shop.placed.emit, times, PLACED)
