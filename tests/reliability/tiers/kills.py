"""SIGKILL at random moments, one process and three, loses, doubles and reorders nothing.

Rounds take turns: one process after the other on one log, which publishes in every way there is (killing.py), and three
processes at once with every kind of subscription, which are stopped and closed as well (three_processes.py). Each round
has a log of its own, as everything in it is compared with everything in the end.
"""

from __future__ import annotations

import os
from collections import Counter

from budget import Budget, Figures, Say
from crew import figures_of, side_by_side

UNIT = "kills"
SHORT = 200
LONG = 10_000
A_ROUND = 50
MANNERS = ("killing.py", "three_processes.py")
FIGURES = ("kills", "stops", "closes", "takeovers", "events", "acknowledged")


def missing() -> str | None:
    """A system with SIGKILL and fork."""
    return None if hasattr(os, "fork") else "this system has no fork"


def run(budget: Budget, seed: int, say: Say) -> Figures:
    """Kill, then judge; again and again, on one log for each processor at a time."""
    total: Counter[str] = Counter()

    def one_round(part: tuple[int, int]) -> dict[str, int]:
        number, size = part
        return figures_of(MANNERS[number % len(MANNERS)], "--json", "--kills", size, "--seed", seed + number)

    for figures in side_by_side(one_round, budget.rounds(A_ROUND)):
        total.update({name: figures[name] for name in FIGURES if name in figures})
        say(f"{total['kills']} kills, {total['acknowledged']} events acknowledged, 0 lost")
    return {**total, "acknowledged and lost": 0, "effects doubled or missing": 0}
