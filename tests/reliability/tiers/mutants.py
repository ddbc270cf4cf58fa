"""Each deliberate fault is noticed by the proof that is there for it: a proof that cannot fail proves nothing.

mutants.py has the table. It chooses nothing at random; its seed is of no use.
"""

from __future__ import annotations

import time

import mutants
from budget import Budget, Figures, Say

import tiers

UNIT = "mutants"
SHORT = LONG = len(mutants.MUTANTS)


def missing() -> str | None:
    """Nothing; those for a tier that is not to be had are left out, and said."""
    return None


def run(budget: Budget, seed: int, say: Say) -> Figures:
    """One after the other; AssertionError for the first that nothing notices."""
    figures: dict[str, float | int | str] = {"mutants": 0, "caught": 0}
    for number, _ in budget.rounds(1):
        if number >= LONG:
            break
        mutant = mutants.MUTANTS[number]
        figures["mutants"] = number + 1
        lacking = tiers.load(mutant.caught_by).missing() if mutant.caught_by in mutants.TIERS else None
        if lacking is not None:
            say(f"left out: {mutant.name}: {lacking}")
            continue
        began = time.monotonic()
        how = mutants.caught(mutant)
        assert how, f"nothing notices: {mutant.name} (was to be caught by {mutant.caught_by})"
        figures["caught"] = int(figures["caught"]) + 1
        say(f"{time.monotonic() - began:6.1f} s  {mutant.name}: {how}")
    return figures
