"""litequeue: put, pop, and done once it is handled."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from benchmarks.measuring import Block
from benchmarks.payload import ORDER

DURABILITY = "synchronous=NORMAL: no sync"


@contextmanager
def handling(folder: Path) -> Iterator[Block]:
    import litequeue

    queue = litequeue.LiteQueue(str(folder / "litequeue.db"))

    def block(times: int) -> float:
        began = perf_counter()
        for _ in range(times):
            queue.put(json.dumps(ORDER))
        for _ in range(times):
            message = queue.pop()
            json.loads(message.data)
            queue.done(message.message_id)
        return (perf_counter() - began) / times

    try:
        yield block
    finally:
        queue.close()
