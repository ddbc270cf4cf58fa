"""`bus.recorded()`: what is stored while a block runs, for tests."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Generator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from eventbus.engine import Engine
from eventbus.store.drafts import Appended


@contextmanager
def recorded(engine: Engine) -> Generator[list[Any], None, None]:
    """A list that fills with the events that this process stores, in commit order."""
    seen: list[Any] = []
    positions: list[int] = []
    one_at_a_time = Lock()

    def record(appended: Appended) -> None:
        # Threads report what they stored after their commit, so a later commit can be reported first.
        with one_at_a_time:
            place = bisect(positions, appended.receipt.position)
            positions.insert(place, appended.receipt.position)
            seen.insert(place, appended.draft.event)

    engine.recorders.append(record)
    try:
        yield seen
    finally:
        engine.recorders.remove(record)
