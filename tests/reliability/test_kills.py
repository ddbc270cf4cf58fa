"""200 processes are killed while they publish and handle: nothing acknowledged is lost, nothing is done twice.

The long one: python -m tests.reliability --tier kills --long. EVENTBUS_KILLS says how many; EVENTBUS_SEED repeats the
schedule of a run that failed.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

from killing import judge, kill_again_and_again

KILLS = int(os.environ.get("EVENTBUS_KILLS", "200"))


def test_nothing_is_lost_and_nothing_is_done_twice_when_processes_are_killed_again_and_again(tmp_path: Path) -> None:
    seed = int(os.environ.get("EVENTBUS_SEED") or random.randrange(1 << 32))
    print(f"EVENTBUS_SEED={seed} EVENTBUS_KILLS={KILLS} repeats this")
    kill_again_and_again(tmp_path, KILLS, seed)
    figures = judge(tmp_path)
    print(figures)
    assert figures["acknowledged"] > 10 * KILLS
