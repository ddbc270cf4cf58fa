"""litequeue: put, pop, and done once it is handled. What is done stays in its table, as its documentation has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.payload import ORDER
from benchmarks.peers import Queue

DURABILITY = "no sync (synchronous=NORMAL)"


@contextmanager
def handling(folder: Path) -> Iterator[Queue]:
    from litequeue import LiteQueue  # pyright: ignore[reportMissingImports, reportAttributeAccessIssue]

    queue = LiteQueue(str(folder / "litequeue.db"))

    def handle() -> None:
        message = queue.pop()
        json.loads(message.data)
        queue.done(message.message_id)

    try:
        yield Queue(lambda: queue.put(json.dumps(ORDER)), handle)
    finally:
        queue.close()
