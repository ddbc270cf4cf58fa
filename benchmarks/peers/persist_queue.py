"""persist-queue's SQLiteAckQueue: put, get, and ack once it is handled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.payload import ORDER
from benchmarks.peers import Queue

DURABILITY = "SQLite's default: each commit synced"


@contextmanager
def handling(folder: Path) -> Iterator[Queue]:
    import persistqueue  # pyright: ignore[reportMissingImports]

    queue = persistqueue.SQLiteAckQueue(str(folder))
    try:
        yield Queue(lambda: queue.put(ORDER), lambda: queue.ack(queue.get()))
    finally:
        queue.close()
