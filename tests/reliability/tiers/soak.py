"""At a steady pace, with kills, clocks that are set and backups, memory, descriptors and the -wal stay flat.

Three processes, 200 events a second (soak.py); in the end nothing is lost or doubled either.
"""

from __future__ import annotations

import os

import soak
from budget import Budget, Figures, Say

UNIT = "seconds"
SHORT = 8
LONG = 1_200


def missing() -> str | None:
    """A system that tells what a process uses."""
    return None if os.path.exists("/proc/self/statm") else "this system has no /proc/self/statm"


def run(budget: Budget, seed: int, say: Say) -> Figures:
    """One run, as long as it may be."""
    asked = [seconds for seconds in (budget.amount, budget.seconds) if seconds is not None]
    return {**soak.run(min(asked, default=LONG), seed, say)}
