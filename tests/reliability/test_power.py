"""2,000 losses of power, and proof that the proof can fail.

The long one: python -m tests.reliability --tier power --long. EVENTBUS_SEED repeats a run that failed.
"""

from __future__ import annotations

import re
from random import Random

import pytest
from crew import attempt
from platter import SECTOR, Change, File, Platter
from short import need, run_short
from tape import Kind, Step
from tiers.power import SHORT

FIRST, SECOND = b"1" * SECTOR, b"2" * SECTOR
IMAGES = 250  # of the 2,000: what one seed gets


def test_a_loss_of_power_at_any_moment_loses_nothing_acknowledged_and_corrupts_nothing() -> None:
    figures = run_short("power")
    assert figures["images"] == SHORT
    assert figures["power: lost"] == 0
    assert int(figures["power: acknowledged"]) > 10 * SHORT


@pytest.mark.parametrize("fault", ["sync_off", "acknowledge_before_commit", "sync_like_a_cursor"])
def test_a_bus_that_acknowledges_too_early_is_found_out(fault: str) -> None:
    need("power")
    _assert_found_out("power", fault)


def test_a_bus_without_any_sync_is_found_out_even_where_a_loss_is_allowed() -> None:
    need("power")
    _assert_found_out("process", "sync_off")


def _assert_found_out(durability: str, fault: str) -> None:
    done = attempt("outage.py", 1, durability, IMAGES, f"hasty:{fault}")
    assert done.returncode != 0
    said = done.stderr.splitlines()[-1]
    assert re.match("AssertionError|sqlite3|eventbus.errors.(NotAnEventLog|LogCorrupt)", said), done.stderr


def test_what_was_not_synced_is_there_or_not_by_sectors_and_what_was_synced_is_there() -> None:
    file, seen = File(), set()
    file.change(Change(0, FIRST * 2))
    file.sync()
    file.change(Change(0, SECOND * 2))
    for seed in range(200):
        seen |= {file.torn(Random(seed)), file.cut(Random(seed))}
    assert seen == {a + b for a in (FIRST, SECOND) for b in (FIRST, SECOND)}
    assert (file.certain(), file.now()) == (FIRST * 2, SECOND * 2)


def test_a_name_is_certain_once_its_folder_is_synced() -> None:
    def step(kind: Kind, *names: str) -> Step:
        return Step(kind, 7, 0, 0, names, b"")

    platter = Platter()
    platter.do(step(Kind.CREATE, "new"))
    assert (platter.certain(), platter.now()) == ({}, {"new": b""})
    platter.do(step(Kind.SYNC_FOLDER))
    platter.do(step(Kind.RENAME, "new", "newer"))
    assert {tuple(platter.torn(Random(seed))) for seed in range(50)} == {("new",), ("newer",)}
    platter.do(step(Kind.SYNC_FOLDER))
    platter.do(step(Kind.UNLINK, "newer"))
    assert (platter.certain(), platter.now()) == ({"newer": b""}, {})
