"""After a loss of power at any moment nothing acknowledged is lost ("power"), and nothing is corrupt ("process" too).

Every write and sync of processes that publish, handle, project, checkpoint, close and reopen is recorded (recorder.c);
what a disk may hold at some moment is made from that (platter.py), opened by the bus and inspected (inspection.py).
"""

from __future__ import annotations

from collections import Counter

import recorder
from budget import Budget, Figures, Say
from crew import figures_of, side_by_side

UNIT = "images"
SHORT = 2_000
LONG = 200_000
A_SEED = 250  # images
DURABILITIES = ("power", "process")
COMMON = ("images", "steps recorded", "images delivered")


def missing() -> str | None:
    """Linux and a compiler."""
    return recorder.lacking()


def run(budget: Budget, seed: int, say: Say) -> Figures:
    """Several processes at once, each with a seed of its own."""
    total: Counter[str] = Counter()

    def one_seed(part: tuple[int, int]) -> dict[str, int]:
        number, size = part
        durability = DURABILITIES[number % len(DURABILITIES)]
        found = figures_of("outage.py", seed + number // len(DURABILITIES), durability, size).items()
        return {(name if name in COMMON else f"{durability}: {name}"): figure for name, figure in found}

    for figures in side_by_side(one_seed, budget.rounds(A_SEED)):
        total.update(figures)
        say(f"{total['images']} images opened")
    for durability in DURABILITIES:
        total.setdefault(f"{durability}: lost", 0)
    assert total["power: lost"] == 0
    return {"corrupt": 0, **dict(sorted(total.items()))}
