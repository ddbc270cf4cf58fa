"""Whatever happens to several processes, in whichever order, each promise of delivery holds.

A seeded scheduler runs them in virtual time on one log: busy locks, commits that fail before and after they are stored,
crashes at any statement, clocks that are set, lost wake-ups, stolen leases, handlers that hang or kill (simulated/). A
judge looks at the log with plain SQL after each commit. Any seed repeats exactly: simulation.py --seed says all of it.
"""

from __future__ import annotations

from collections import Counter

from budget import Budget, Figures, Say
from crew import figures_of, side_by_side

UNIT = "seeds"
SHORT = 2_000
LONG = 200_000
A_ROUND = 125


def missing() -> str | None:
    """Nothing: time, threads and faults are its own."""
    return None


def run(budget: Budget, seed: int, say: Say) -> Figures:
    """One seed after the other, on each processor."""
    total: Counter[str] = Counter()

    def one_round(part: tuple[int, int]) -> dict[str, int]:
        number, size = part
        return figures_of("simulation.py", "--from", seed + number * A_ROUND, "--seeds", size)

    for figures in side_by_side(one_round, budget.rounds(A_ROUND)):
        total.update(figures)
        if total["seeds"] % (10 * A_ROUND) == 0:
            say(f"{total['seeds']} seeds, {total['deliveries']} deliveries")
    return {**dict(sorted(total.items())), "promises broken": 0}
