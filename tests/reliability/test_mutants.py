"""Each deliberate fault is noticed by the proof that is there for it; those of other tiers are at least well formed."""

from __future__ import annotations

import pytest
from mutants import ELSEWHERE, MUTANTS, Mutant, caught
from mutating import PATCHES

HERE = [mutant for mutant in MUTANTS if mutant.caught_by not in ELSEWHERE]


@pytest.mark.parametrize("mutant", HERE, ids=lambda mutant: mutant.name)
def test_a_deliberate_fault_is_noticed(mutant: Mutant) -> None:
    how = caught(mutant)
    print(how)
    assert how, f"nothing notices: {mutant.name}"


def test_there_are_enough_of_them_and_each_does_some_damage() -> None:
    assert len(HERE) >= 15
    assert {mutant.name for mutant in MUTANTS} == PATCHES.keys()


def test_a_patch_can_be_taken_back() -> None:
    """What one mutant broke is whole again for the next: otherwise any of them would seem to be noticed."""
    from eventbus.store.storage import Storage

    before = dict(vars(Storage))
    for patch in PATCHES.values():
        with pytest.MonkeyPatch.context() as monkeypatch:
            patch(monkeypatch)
    assert dict(vars(Storage)) == before
