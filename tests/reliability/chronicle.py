"""A history of several processes that are killed at random, recorded and checked: see history.py.

    python tests/reliability/chronicle.py --kills 100 [--seed SEED] [--folder FOLDER] [--json]

prints figures, and the seed that repeats the schedule.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from asked import rage_as_asked
from chroniclers import Told, followed, publishes, reads
from fleet import Fleet
from history import check

from eventbus import Context, EventBus

PROCESSES = 3
LONGEST = 600.0  # seconds for what the last processes left undone


def record(folder: Path, kills: int, seed: int) -> dict[str, float]:
    """Have processes make a history, and kill them meanwhile; then have all of it delivered. Returns figures."""
    chance = random.Random(seed)
    with EventBus(folder / "events.db", durability="process", delivery="manual") as bus:
        assert bus.log.head == 0
    with Fleet(folder, PROCESSES, "chroniclers.py") as fleet:
        while fleet.kills < kills:
            slot = chance.randrange(PROCESSES)
            if chance.random() < 0.9:
                fleet.wait_until_up(slot)
            fleet.wait(chance.uniform(0.05, 0.6))
            fleet.kill(*(range(PROCESSES) if chance.random() < 0.1 else (slot,)))
        fleet.kill(*range(PROCESSES), again=False)
        assert fleet.complaints() == "", fleet.complaints()
    with EventBus(folder / "events.db", durability="process") as bus:
        last = (folder / "followed.txt").open("a")
        with last:

            @bus.subscribe("follower", Told, order_by="log", after=0)
            def follow(told: Told, ctx: Context) -> None:
                last.write(f"{ctx.envelope.position}\tend\n")

            bus.drain(timeout=LONGEST)
    return {"kills": fleet.kills}


def judge(folder: Path) -> dict[str, float]:
    """Compare what clients saw with the log; AssertionError with what is wrong. Returns figures."""
    with EventBus(folder / "events.db", durability="process", delivery="manual") as bus:
        log = [(envelope.position, envelope.id, envelope.event.key) for envelope in bus.log.read()]
    calls, looks, handed = publishes(folder), reads(folder), followed(folder)
    problems = check(calls, log, looks, {"follower": handed})
    assert not problems, f"{len(problems)} problems: " + "; ".join(problems[:5])
    assert set(handed) == {position for position, _, _ in log}, "the follower has not seen everything"
    outcomes = Counter(call.outcome for call in calls)
    return {
        "events": len(log),
        "publishes acknowledged": outcomes["ok"],
        "refused": outcomes["failed"],
        "in doubt or never answered": outcomes["in doubt"] + outcomes["unanswered"],
        "reads": len(looks),
        "events read": sum(len(look.seen) for look in looks),
        "handed to the follower again": len(handed) - len(set(handed)),
    }


def chronicle(folder: Path, kills: int, seed: int) -> dict[str, float]:
    """Record a history over so many kills and check it; returns figures."""
    return {**record(folder, kills, seed), **judge(folder)}


if __name__ == "__main__":
    rage_as_asked(__doc__, chronicle)
