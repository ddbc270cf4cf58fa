"""200 processes are killed while they publish and handle: nothing acknowledged is lost, nothing is done twice.

The long one: python -m tests.reliability --tier kills --long. EVENTBUS_SEED repeats the schedules of a run that failed.
"""

from __future__ import annotations

from short import run_short
from tiers.kills import SHORT


def test_killing_one_process_and_three_again_and_again_loses_doubles_and_reorders_nothing() -> None:
    figures = run_short("kills")
    assert int(figures["kills"]) >= SHORT
    assert int(figures["acknowledged"]) > 10 * SHORT
    assert int(figures["takeovers"]) > SHORT
