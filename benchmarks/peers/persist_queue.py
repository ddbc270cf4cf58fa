"""persist-queue's SQLiteAckQueue: put, get, and ack once it is handled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from benchmarks.measuring import Block
from benchmarks.payload import ORDER

DURABILITY = "SQLite's default: each commit synced"


@contextmanager
def handling(folder: Path) -> Iterator[Block]:
    import persistqueue

    queue = persistqueue.SQLiteAckQueue(str(folder))

    def block(times: int) -> float:
        began = perf_counter()
        for _ in range(times):
            queue.put(ORDER)
        for _ in range(times):
            queue.ack(queue.get())
        return (perf_counter() - began) / times

    try:
        yield block
    finally:
        queue.close()
