"""2,000 seeds of delivery under a seeded scheduler, and proof that any seed repeats exactly.

The long one: python -m tests.reliability --tier simulation --long. EVENTBUS_SEED repeats a run that failed.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from short import run_short
from simulation import digests
from tiers.simulation import SHORT

REPEATED = range(40, 52)
MET = (
    "all killed",
    "busy",
    "clock set",
    "closes",
    "commit failed after",
    "commit failed before",
    "hangs",
    "kills at a statement",
    "kills",
    "leases stolen",
    "wake-ups lost",
)


def test_whatever_happens_in_whichever_order_each_promise_of_delivery_holds() -> None:
    figures = run_short("simulation")
    assert [what for what in MET if int(figures[what]) < SHORT / 20] == []
    assert figures["seeds"] == SHORT
    assert int(figures["deliveries"]) > 10 * SHORT


def test_a_seed_repeats_exactly_here_and_in_another_process() -> None:
    here = digests(REPEATED)
    assert digests(REPEATED) == here
    assert len(set(here)) == len(here)
    program = f"from simulation import digests; print(*digests({REPEATED!r}))"
    hashed = {**os.environ, "PYTHONHASHSEED": "4711", "TZ": "Asia/Kathmandu"}
    there = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        env=hashed,
        check=True,
    )
    assert there.stdout.split() == here
