"""What clients of killed processes saw is a history that the log may have: no loss, no phantom, real-time order.

Three processes publish, read and follow one log, and each call is noted before it is made and once it returned
(chroniclers.py); history.py compares all of it with the log.
"""

from __future__ import annotations

import os
from collections import Counter

from budget import Budget, Figures, Say
from crew import figures_of, side_by_side

UNIT = "kills"
SHORT = 20
LONG = 2_000
A_ROUND = 20


def missing() -> str | None:
    """A system with SIGKILL and fork."""
    return None if hasattr(os, "fork") else "this system has no fork"


def run(budget: Budget, seed: int, say: Say) -> Figures:
    """A log for each round, as everything in it is compared with everything in the end."""
    total: Counter[str] = Counter()

    def one_round(part: tuple[int, int]) -> dict[str, int]:
        number, size = part
        return figures_of("chronicle.py", "--json", "--kills", size, "--seed", seed + number)

    for figures in side_by_side(one_round, budget.rounds(A_ROUND)):
        total.update(figures)
        say(f"{total['kills']} kills, {total['publishes acknowledged']} publishes acknowledged, no problem")
    return {**total, "problems": 0}
