"""A short soak, and proof that growth would be noticed.

The long one: python -m tests.reliability --tier soak --long. EVENTBUS_SEED repeats a schedule that failed.
"""

from __future__ import annotations

import pytest
from short import run_short
from soak import RATE, grew


def test_a_short_soak_loses_and_doubles_nothing() -> None:
    figures = run_short("soak")
    assert float(figures["acknowledged"]) > RATE


@pytest.mark.parametrize(
    ("sizes", "grows"),
    [
        ([50.0] * 60, False),
        ([1.0] * 5 + [50.0] * 55, False),
        ([50.0, 55.0] * 30, False),
        ([50.0 + second for second in range(60)], True),
        ([50.0] * 45 + [90.0] + [50.0] * 14, True),
        ([float(second) for second in range(8)], False),
        ([], False),
    ],
    ids=["flat", "loaded late", "up and down", "steadily", "a late peak", "too short", "nothing measured"],
)
def test_growth_is_told_from_up_and_down(sizes: list[float], grows: bool) -> None:
    assert bool(grew(sizes, 5.0)) is grows
