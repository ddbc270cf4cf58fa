"""Whether a large log, ten million events at full size, costs more than a small one."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks import floor, logs
from benchmarks.measuring import Contest, Measured, timed
from benchmarks.payload import PLACED, STREAM
from benchmarks.subjects.subject import Run, Subject
from eventbus import EventBus
from eventbus.store.reading import COLUMNS

READS_ONLY = "reads only"
NEWEST = 1000


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


def _getting(get: Callable[[Any], object], keys: Sequence[int | str], times: int) -> Callable[[], float]:
    def get_all() -> float:
        wanted = random.choices(keys, k=times)
        began = perf_counter()
        for key in wanted:
            get(key)
        return (perf_counter() - began) / times

    return get_all


def _get_by_hand(connection: sqlite3.Connection, key: str, value: int | str) -> object:
    statement = f"SELECT {COLUMNS} FROM eventbus_events WHERE {key} = ?"
    return connection.execute(statement, (value,)).fetchone()


def _add_gets(contest: Contest, run: Run, log: str, events: int, path: Path) -> None:
    """Of any event, by the bus and by hand, and of the newest ones, which stay in SQLite's cache."""
    times = run.sizes.gets
    bus = contest.opened.enter_context(EventBus(path, delivery="manual"))
    connection = contest.opened.enter_context(closing(floor.connect(path, synced=False)))
    anywhere = [random.randint(1, events) for _ in range(20 * times)]
    newest = [random.randint(max(1, events - NEWEST), events) for _ in range(times)]
    ids, newest_ids = [_id_at(bus, each) for each in anywhere], [_id_at(bus, each) for each in newest]

    def get(key: Any) -> object:
        return bus.log.get(key)

    for key, of_any, of_newest in (("position", anywhere, newest), ("id", ids, newest_ids)):
        name = f"{log}, by {key}"
        by_hand = partial(_get_by_hand, connection, key)
        contest.add(name, READS_ONLY, _getting(get, of_any, times))
        contest.add(f"{name}, by hand", READS_ONLY, _getting(by_hand, of_any, times))
        contest.add(f"{name}, the newest {NEWEST:,}", READS_ONLY, _getting(get, of_newest, times))


def _get(run: Run) -> Measured:
    with run.contest(f"{_size(run)}; {run.sizes.gets:,} gets of any event", run.sizes.rounds) as contest:
        for log, events, path in _both(run):
            _add_gets(contest, run, log, events, path)
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
