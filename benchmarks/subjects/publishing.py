"""Storing events from one thread: one commit each, and many in one."""

from __future__ import annotations

from typing import Literal

from benchmarks import floor
from benchmarks.goals import BARE, FLOOR, KEYED, OURS
from benchmarks.measuring import Measured, timed
from benchmarks.payload import PLACED, STREAM
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
        contest.add(OURS, durability, lambda: timed(lambda: plain.publish(PLACED), times))
        contest.add(KEYED, durability, lambda: timed(lambda: keyed.publish(PLACED, stream=STREAM), times))
        contest.add(FLOOR, durability, lambda: tables.one_by_one(times))
        contest.add(BARE, durability, lambda: bare.one_by_one(times))
        return contest.run()


def _many(run: Run, durability: Durability) -> Measured:
    many, calls, synced = run.sizes.many, run.sizes.many_calls, durability == "power"
    events = [PLACED] * many
    with run.contest(f"{calls} commits of {many:,} events", run.sizes.rounds) as contest:
        enter = contest.opened.enter_context
        plain = enter(EventBus(run.new_path(), durability=durability, delivery="manual"))
        keyed = enter(EventBus(run.new_path(), durability=durability, delivery="manual"))
        tables = enter(floor.opened(run.new_path(), "ours", synced=synced))
        bare = enter(floor.opened(run.new_path(), "bare", synced=synced))
        contest.add(OURS, durability, lambda: timed(lambda: plain.publish_many(events), calls) / many)
        contest.add(
            KEYED, durability, lambda: timed(lambda: keyed.publish_many(events, stream=STREAM), calls) / many
        )
        contest.add(FLOOR, durability, lambda: sum(tables.all_at_once(many) for _ in range(calls)) / calls)
        contest.add(BARE, durability, lambda: sum(bare.all_at_once(many) for _ in range(calls)) / calls)
        return contest.run()


SUBJECTS = (
    Subject("publish-power", "publish, one thread, each commit synced", "us", lambda run: _one_by_one(run, "power")),
    Subject("publish-process", "publish, one thread, without sync", "us", lambda run: _one_by_one(run, "process")),
    Subject("publish-many", "publish_many of 1,000, synced", "us", lambda run: _many(run, "power")),
    Subject("publish-many-process", "publish_many of 1,000, without sync", "us", lambda run: _many(run, "process")),
)
