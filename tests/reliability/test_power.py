"""2,000 losses of power; test_mutants.py proves that this can fail.

The long one: python -m tests.reliability --tier power --long. EVENTBUS_SEED repeats a run that failed.
"""

from __future__ import annotations

from random import Random

from platter import SECTOR, Change, File, Platter
from short import run_short
from tape import Kind, Step
from tiers.power import SHORT

FIRST, SECOND = b"1" * SECTOR, b"2" * SECTOR


def test_a_loss_of_power_at_any_moment_loses_nothing_acknowledged_and_corrupts_nothing() -> None:
    figures = run_short("power")
    assert figures["images"] == SHORT
    assert figures["power: lost"] == 0
    assert int(figures["power: acknowledged"]) > 10 * SHORT


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
