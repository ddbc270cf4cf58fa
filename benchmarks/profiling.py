"""Where the time of one of our own paths goes: its functions by the time that each takes itself.

    python -m benchmarks.profiling publish-process [--events 20000] [--lines 25]

The profiler doubles what a call of a Python function costs and hardly what SQLite does: trust the order, not the sums.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Literal

from benchmarks import logs
from benchmarks.measuring import timed
from benchmarks.payload import PLACED, STREAM, OrderPlaced, handlers
from benchmarks.subjects import backlog
from benchmarks.subjects.reading import Sales
from eventbus import EventBus

Prepare = Callable[[Path, int], Iterator[Callable[[], object]]]


def _emit(number: int) -> Prepare:
    def prepare(folder: Path, events: int) -> Iterator[Callable[[], object]]:
        with EventBus(delivery="manual") as bus:
            for handle in handlers(number):
                bus.on(OrderPlaced, handler=handle)
            yield lambda: timed(bus.emit, events, PLACED)

    return prepare


def _publish(durability: Literal["power", "process"], stream: str | None = None) -> Prepare:
    def prepare(folder: Path, events: int) -> Iterator[Callable[[], object]]:
        with EventBus(folder / "events.db", durability=durability, delivery="manual") as bus:
            bus.publish(PLACED)
            yield lambda: timed(partial(bus.publish, stream=stream), events, PLACED)

    return prepare


def _publish_many(folder: Path, events: int) -> Iterator[Callable[[], object]]:
    with EventBus(folder / "events.db", delivery="manual") as bus:
        bus.publish(PLACED)
        yield lambda: timed(bus.publish_many, max(1, events // 1000), [PLACED] * 1000)


def _read(folder: Path, events: int) -> Iterator[Callable[[], object]]:
    with EventBus(logs.published(folder / "events.db", events), delivery="manual") as bus:
        assert bus.log.head
        yield lambda: sum(envelope.event.total for envelope in bus.log.read())


def _drain(subscribe: backlog.Subscribe) -> Prepare:
    def prepare(folder: Path, events: int) -> Iterator[Callable[[], object]]:
        path = backlog.with_totals(logs.published(folder / "events.db", events))
        with EventBus(path, durability="process", delivery="manual") as bus:
            subscribe(bus, "reader")
            assert len(bus.subscriptions) == 1
            yield bus.drain

    return prepare


def _rebuild(folder: Path, events: int) -> Iterator[Callable[[], object]]:
    with EventBus(logs.published(folder / "events.db", events), delivery="manual") as bus:
        bus.project(Sales)
        bus.drain()
        yield bus.projections[Sales].rebuild


PATHS: dict[str, Prepare] = {
    "emit-1": _emit(1),
    "emit-10": _emit(10),
    "publish-power": _publish("power"),
    "publish-process": _publish("process"),
    "publish-in-stream": _publish("process", STREAM),
    "publish-many": _publish_many,
    "read": _read,
    "backlog-plain": _drain(backlog.plain),
    "backlog-transactional": _drain(backlog.transactional),
    "rebuild": _rebuild,
}


def profile(name: str, events: int) -> pstats.Stats:
    """Profile one of `PATHS`."""
    profiler = cProfile.Profile()
    with tempfile.TemporaryDirectory() as folder, contextmanager(PATHS[name])(Path(folder), events) as work:
        profiler.runcall(work)
    return pstats.Stats(profiler)


def main() -> None:
    """Profile and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profiling", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("name", choices=PATHS)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--lines", type=int, default=25)
    arguments = parser.parse_args()
    found = profile(arguments.name, arguments.events)
    found.strip_dirs().sort_stats("tottime").print_stats(arguments.lines)


if __name__ == "__main__":
    main()
