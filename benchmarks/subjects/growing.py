"""Whether a large log, ten million events at full size, costs more than a small one."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter

from benchmarks import logs
from benchmarks.measuring import Measured, timed
from benchmarks.payload import PLACED, STREAM
from benchmarks.subjects.subject import Run, Subject
from eventbus import EventBus


def _both(run: Run) -> list[tuple[str, int, Path]]:
    """Both logs."""
    sizes = (("large log", run.sizes.large), ("small log", run.sizes.small))
    return [(name, events, logs.bulk(run.folder, run.cache, events, run.tell)) for name, events in sizes]


def _size(run: Run) -> str:
    return f"{run.sizes.large:,} events against {run.sizes.small:,}"


def _publishing(bus: EventBus, stream: Callable[[], str], times: int) -> Callable[[], float]:
    def publish(streams: list[str]) -> None:
        for stream in streams:
            bus.publish(PLACED, stream=stream)

    return lambda: timed(publish, 1, [stream() for _ in range(times)]) / times


def _publish(run: Run) -> Measured:
    times = run.sizes.publishes
    with run.contest(_size(run), run.sizes.rounds) as contest:
        for name, events, path in _both(run):
            bus = contest.opened.enter_context(EventBus(path, durability="process", delivery="manual"))
            contest.add(name, "process", _publishing(bus, lambda: STREAM, times))
            contest.add(f"{name}, to any stream", "process", _publishing(bus, _any_stream(events), times))
        return contest.run()


def _any_stream(events: int) -> Callable[[], str]:
    return lambda: logs.stream_of(random.randint(1, events))


def _id_at(bus: EventBus, position: int) -> str:
    envelope = bus.log.get(position)
    assert envelope is not None
    return envelope.id


def _getting(bus: EventBus, keys: Sequence[int | str], times: int) -> Callable[[], float]:
    def get() -> float:
        wanted = random.choices(keys, k=times)
        began = perf_counter()
        for key in wanted:
            bus.log.get(key)
        return (perf_counter() - began) / times

    return get


def _get(run: Run) -> Measured:
    with run.contest(f"{_size(run)}; {run.sizes.gets:,} gets of any event", run.sizes.rounds) as contest:
        for name, events, path in _both(run):
            bus = contest.opened.enter_context(EventBus(path, delivery="manual"))
            times = run.sizes.gets
            positions = [random.randint(1, events) for _ in range(20 * times)]
            ids = [_id_at(bus, each) for each in positions]
            contest.add(f"{name}, by position", "reads only", _getting(bus, positions, times))
            contest.add(f"{name}, by id", "reads only", _getting(bus, ids, times))
        return contest.run()


def _opening(path: Path) -> float:
    bus = EventBus(path, delivery="manual")
    began = perf_counter()
    assert bus.log.head > 0
    spent = perf_counter() - began
    bus.close()
    return spent


def _open(run: Run) -> Measured:
    with run.contest(_size(run), run.sizes.rounds) as contest:
        for name, _, path in _both(run):
            contest.add(name, "none", partial(_opening, path))
        return contest.run()


SUBJECTS = (
    Subject("large-publish", "publish on a large log, without sync", "us", _publish),
    Subject("large-get", "log.get on a large log", "us", _get),
    Subject("large-open", "open a large log", "ms", _open),
)
