"""A kill or an error at each system call of one scene, and proof that the proof can fail.

All scenes, with each error at each call: python -m tests.reliability --tier syscalls --long. EVENTBUS_SEED says which
one it is here.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from injection import NAMES, Point, Theatre
from short import need, run_short


def test_a_fault_at_any_system_call_loses_nothing_acknowledged() -> None:
    figures = run_short("syscalls")
    assert figures["scenes"] == 1
    assert figures["pwrite64 KILL"] == figures["pwrite64 EIO"]
    assert int(figures["fdatasync KILL"]) > 0
    assert int(figures[f"{NAMES[0]} EIO"]) > 0


@pytest.mark.parametrize(
    ("fault", "injected"),
    [("acknowledge_before_commit", "signal=KILL"), ("acknowledge_on_error", "error=EIO")],
)
def test_a_bus_that_acknowledges_what_is_not_stored_is_found_out(fault: str, injected: str, tmp_path: Path) -> None:
    need("syscalls")
    with Theatre(tmp_path, f"hasty:{fault}") as theatre:
        before = theatre.prepare("publish")
        with pytest.raises(AssertionError, match=r"acknowledged events are lost|was told to (be|mean)"):
            _play_all(theatre, before, injected)


def _play_all(theatre: Theatre, before: Path, injected: str) -> None:
    for number in itertools.count(1):
        assert theatre.play("publish", before, Point("pwrite64", injected, number)), "nothing was found"
