"""Delivery under a seeded scheduler, and proof that any seed repeats exactly.

More of them: python tests/reliability/simulation.py --seeds 200000. With --seed N it says all that happens in one.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

from simulation import digests, run

SEEDS = 2000
REPEATED = range(40, 52)


def test_whatever_happens_in_whichever_order_each_promise_of_delivery_holds() -> None:
    first = int(os.environ.get("EVENTBUS_SEED") or random.randrange(1 << 30))
    print(f"python tests/reliability/simulation.py --seeds {SEEDS} --from {first}")
    figures = run(SEEDS, first, print)
    print(figures)
    met = ("kills", "kills at a statement", "all killed", "closes", "leases stolen", "wake-ups lost", "hangs", "busy")
    faults = ("commit failed before", "commit failed after", "clock set", *met)
    assert [what for what in faults if figures[what] < SEEDS / 20] == []
    assert figures["seeds"] == SEEDS
    assert figures["deliveries"] > 10 * SEEDS


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
