"""What publish costs where subscriptions are there that it does not concern."""

from __future__ import annotations

from functools import partial
from typing import Literal

from benchmarks.measuring import Measured, timed
from benchmarks.payload import PLACED, other_classes
from benchmarks.subjects.subject import Run, Subject
from eventbus import EventBus


def _measure(run: Run, durability: Literal["power", "process"]) -> Measured:
    times, classes = run.sizes.publishes, other_classes(max(run.sizes.idle))
    with run.contest(f"{times:,} commits of one event; the bus delivers", run.sizes.rounds) as contest:
        for number in (0, *run.sizes.idle):
            bus = EventBus(run.new_path(), durability=durability)
            for nth, cls in enumerate(classes[:number]):  # before it is open: all are recorded by one commit
                bus.subscribe(f"idle-{nth}", cls, handler=lambda other: None)
            contest.opened.enter_context(bus)
            name = f"{number:,} idle" if number else "no subscription"
            contest.add(name, durability, partial(timed, bus.publish, times, PLACED))
        return contest.run()


SUBJECTS = (
    Subject("idle", "publish beside idle subscriptions, synced", "us", lambda run: _measure(run, "power")),
    Subject(
        "idle-process", "publish beside idle subscriptions, without sync", "us", lambda run: _measure(run, "process")
    ),
)
