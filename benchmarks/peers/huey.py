"""huey on SQLite: a task is enqueued; a worker dequeues and executes it, as the consumer does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.measuring import Block
from benchmarks.payload import ORDER

DURABILITY = "no sync (fsync=False)"


@contextmanager
def handling(folder: Path) -> Iterator[Block]:
    import huey

    queue = huey.SqliteHuey("benchmark", filename=str(folder / "huey.db"))

    @queue.task()
    def handle(order: dict[str, Any]) -> None:
        pass

    def block(times: int) -> float:
        began = perf_counter()
        for _ in range(times):
            handle(ORDER)
        for _ in range(times):
            queue.execute(queue.dequeue())
        return (perf_counter() - began) / times

    try:
        yield block
    finally:
        queue.storage.close()
