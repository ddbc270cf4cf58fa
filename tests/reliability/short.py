"""The short form of a tier, as a test: skipped with the reason where this machine cannot run it, but not in CI.

EVENTBUS_SEED repeats a run that failed.
"""

from __future__ import annotations

import os
import random

import pytest
import runner
import tiers
from budget import Budget, Figures


def need(name: str) -> None:
    """Skip, or in CI fail, where something is missing."""
    lacking = tiers.load(name).missing()
    if lacking is not None:
        (pytest.fail if runner.in_ci() else pytest.skip)(lacking)


def run_short(name: str, seed: int | None = None) -> Figures:
    """What `make test` runs of it, with another seed each time if none is given; prints the seed and the figures."""
    need(name)
    if seed is None or "EVENTBUS_SEED" in os.environ:
        seed = int(os.environ.get("EVENTBUS_SEED") or random.randrange(1 << 32))
    print(f"python -m tests.reliability --tier {name} --seed {seed}")
    figures = runner.run(name, Budget(tiers.load(name).SHORT), seed, print)
    print(figures)
    return figures
