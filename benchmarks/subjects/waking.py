"""How soon a durable handler hears of an event, where nothing else happens."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Literal

from benchmarks.goals import OURS
from benchmarks.measuring import Contest, Measured
from benchmarks.payload import PLACED, OrderPlaced
from benchmarks.subjects.subject import Run, Subject
from eventbus import EventBus

_PAUSE = 0.005  # seconds between two events: the bus is idle again by then
_PATIENCE = 10.0


def _listening(
    contest: Contest, run: Run, durability: Literal["power", "process"]
) -> Callable[[], tuple[float, float]]:
    """Publishes one event; seconds from the call, and from its return, to the handler."""
    bus = contest.opened.enter_context(EventBus(run.new_path(), durability=durability))
    heard = threading.Event()
    times = [0.0]

    @bus.subscribe("listener", OrderPlaced)
    def listener(placed: OrderPlaced) -> None:
        times[0] = time.perf_counter()
        heard.set()

    def publish() -> tuple[float, float]:
        time.sleep(_PAUSE)
        heard.clear()
        called = time.perf_counter()
        bus.publish(PLACED)
        returned = time.perf_counter()
        assert heard.wait(_PATIENCE), "the handler has not heard of it"
        return times[0] - called, times[0] - returned

    publish()
    return publish


def _measure(run: Run) -> Measured:
    with run.contest("one event at a time, 5 ms apart", run.sizes.latencies) as contest:
        for durability in ("process", "power"):
            publish = _listening(contest, run, durability)
            name = f"{OURS}, {durability}"
            contest.add_several((name, f"{name}, after publish returned"), durability, publish)
        return contest.run()


SUBJECTS = (Subject("latency", "from the call of publish to a durable handler, idle bus", "ms", _measure),)
