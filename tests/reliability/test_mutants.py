"""Each deliberate fault is noticed by the proof that is there for it."""

from __future__ import annotations

import pytest
from mutants import MUTANTS, TIERS, Mutant, caught
from mutating import PATCHES, reworded
from short import need


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_deliberate_fault_is_noticed(mutant: Mutant) -> None:
    if mutant.caught_by in TIERS:
        need(mutant.caught_by)
    how = caught(mutant)
    print(how)
    assert how, f"nothing notices: {mutant.name}"


def test_each_patch_is_one_of_theirs() -> None:
    assert {mutant.name for mutant in MUTANTS if mutant.caught_by not in TIERS} == PATCHES.keys()


def test_a_patch_that_changes_nothing_any_more_is_found() -> None:
    with pytest.raises(AssertionError, match="is not in"):
        reworded("UPDATE there SET nothing = 1", "epoch = ?", "1")


def test_a_mutant_that_fails_by_itself_does_not_count_as_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    from eventbus.worker.rounds import Rounds

    def out_of_date(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(Rounds, "record", lambda self, more: False)

    monkeypatch.setitem(PATCHES, "out of date", out_of_date)
    with pytest.raises(RuntimeError, match="does not do the damage it should"):
        caught(Mutant("out of date"))


def test_a_patch_can_be_taken_back() -> None:
    """What one mutant broke is whole again for the next: otherwise any of them would seem to be noticed."""
    from eventbus.store.storage import Storage

    before = dict(vars(Storage))
    for patch in PATCHES.values():
        with pytest.MonkeyPatch.context() as monkeypatch:
            patch(monkeypatch)
    assert dict(vars(Storage)) == before
