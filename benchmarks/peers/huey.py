"""huey on SQLite: a task is enqueued; a worker dequeues and executes it, as the consumer does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.payload import ORDER
from benchmarks.peers import Queue

DURABILITY = "SQLite's default: each commit synced"


@contextmanager
def handling(folder: Path, *, synced: bool = True) -> Iterator[Queue]:
    from huey import SqliteHuey  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    # Without `fsync` it leaves SQLite's own setting, which syncs.
    settings: dict[str, Any] = {} if synced else {"fsync": False}
    queue = SqliteHuey("benchmark", filename=str(folder / "huey.db"), **settings)

    @queue.task()
    def handle(order: dict[str, Any]) -> None:
        pass

    try:
        yield Queue(lambda: handle(ORDER), lambda: queue.execute(queue.dequeue()))
    finally:
        queue.storage.close()
