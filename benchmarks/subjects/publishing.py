"""Storing events from one thread: one commit each, and many in one."""

from __future__ import annotations

from itertools import repeat
from time import perf_counter
from typing import Literal

from benchmarks import floor
from benchmarks.goals import BARE, FLOOR, KEYED, OURS
from benchmarks.measuring import Measured, timed
from benchmarks.payload import PLACED, STREAM, OrderPlaced
from benchmarks.subjects.subject import Run, Subject
from eventbus import EventBus

Durability = Literal["power", "process"]


def _one_by_one(run: Run, durability: Durability) -> Measured:
    times, synced = run.sizes.publishes, durability == "power"
    with run.contest(f"{times:,} commits of one event", run.sizes.rounds) as contest:
        enter = contest.opened.enter_context
        plain = enter(EventBus(run.new_path(), durability=durability, delivery="manual"))
        keyed = enter(EventBus(run.new_path(), durability=durability, delivery="manual"))
        tables = enter(floor.opened(run.new_path(), "ours", synced=synced))
        bare = enter(floor.opened(run.new_path(), "bare", synced=synced))
        contest.add(OURS, durability, lambda: timed(plain.publish, times, PLACED))
        contest.add(KEYED, durability, lambda: _in_stream(keyed, times))
        contest.add(FLOOR, durability, lambda: tables.one_by_one(times))
        contest.add(BARE, durability, lambda: bare.one_by_one(times))
        return contest.run()


def _in_stream(bus: EventBus, times: int) -> float:
    publish = bus.publish
    began = perf_counter()
    for _ in repeat(None, times):
        publish(PLACED, stream=STREAM)
    return (perf_counter() - began) / times


def _many_in_stream(bus: EventBus, events: list[OrderPlaced], times: int) -> float:
    began = perf_counter()
    for _ in repeat(None, times):
        bus.publish_many(events, stream=STREAM)
    return (perf_counter() - began) / times


def _many(run: Run, durability: Durability) -> Measured:
    many, calls, synced = run.sizes.many, run.sizes.many_calls, durability == "power"
    events = [PLACED] * many
    with run.contest(f"{calls} commits of {many:,} events", run.sizes.rounds) as contest:
        enter = contest.opened.enter_context
        plain = enter(EventBus(run.new_path(), durability=durability, delivery="manual"))
        keyed = enter(EventBus(run.new_path(), durability=durability, delivery="manual"))
        tables = enter(floor.opened(run.new_path(), "ours", synced=synced))
        bare = enter(floor.opened(run.new_path(), "bare", synced=synced))
        contest.add(OURS, durability, lambda: timed(plain.publish_many, calls, events) / many)
        contest.add(KEYED, durability, lambda: _many_in_stream(keyed, events, calls) / many)
        contest.add(FLOOR, durability, lambda: sum(tables.all_at_once(many) for _ in range(calls)) / calls)
        contest.add(BARE, durability, lambda: sum(bare.all_at_once(many) for _ in range(calls)) / calls)
        return contest.run()


SUBJECTS = (
    Subject("publish-power", "publish, one thread, each commit synced", "us", lambda run: _one_by_one(run, "power")),
    Subject("publish-process", "publish, one thread, without sync", "us", lambda run: _one_by_one(run, "process")),
    Subject("publish-many", "publish_many of 1,000, synced", "us", lambda run: _many(run, "power")),
    Subject("publish-many-process", "publish_many of 1,000, without sync", "us", lambda run: _many(run, "process")),
)
