"""psygnal: a signal of a class, emitted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.measuring import Block, timed
from benchmarks.payload import PLACED, handlers

DURABILITY = "none"


@contextmanager
def emitting(number: int) -> Iterator[Block]:
    import psygnal

    class Shop:
        placed = psygnal.Signal(object)

    shop = Shop()
    for handle in handlers(number):
        shop.placed.connect(handle)
    yield lambda times: timed(lambda: shop.placed.emit(PLACED), times)
