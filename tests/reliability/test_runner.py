"""The runner: what it says, and with what it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import runner
import tiers
from budget import Budget

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def tier(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A tier that holds, until a test changes it."""
    tier = SimpleNamespace(
        __doc__="It holds.\n\nMore.", UNIT="things", SHORT=2, LONG=5, missing=lambda: None, seeds=[], amounts=[]
    )

    def run(budget: Budget, seed: int, say: object) -> dict[str, int]:
        tier.seeds.append(seed)
        tier.amounts.append(budget.amount)
        return {"things": budget.amount or 0}

    tier.run = run
    monkeypatch.setattr(tiers, "names", lambda: ["sample"])
    monkeypatch.setattr(tiers, "load", lambda name: tier)
    monkeypatch.delenv("CI", raising=False)
    return tier


def test_the_command_lists_every_tier_with_what_it_proves() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.reliability", "--list"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert [line.split()[0] for line in done.stdout.splitlines()] == tiers.names()
    assert {"kills", "syscalls", "power"} <= set(tiers.names())


@pytest.mark.parametrize("name", tiers.names())
def test_every_tier_is_one(name: str) -> None:
    tier = tiers.load(name)
    assert 0 < tier.SHORT <= tier.LONG
    assert tier.UNIT
    assert (tier.__doc__ or "").partition("\n")[0].endswith(".")
    assert callable(tier.run)
    assert callable(tier.missing)


def test_figures_are_printed_and_the_seed_is_said(tier: SimpleNamespace, capsys: pytest.CaptureFixture[str]) -> None:
    assert runner.main(["--tier", "sample", "--seed", "7"]) == 0
    assert (tier.seeds, tier.amounts) == ([7], [2])
    said = capsys.readouterr().out
    assert "--tier sample --seed 7 --amount 2" in said
    assert "2 things" in said


@pytest.mark.parametrize(
    ("asked", "amount"), [(["--long"], 5), (["--amount", "3"], 3), (["--seconds", "9"], None), ([], 2)]
)
def test_how_much_is_run_is_what_was_asked_for(tier: SimpleNamespace, asked: list[str], amount: int | None) -> None:
    assert runner.main(["--tier", "all", *asked]) == 0
    assert tier.amounts == [amount]


def test_what_does_not_hold_ends_with_1_and_the_command_that_repeats_it(
    tier: SimpleNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(budget: Budget, seed: int, say: object) -> dict[str, int]:
        raise AssertionError("an event is lost")

    tier.run = run
    assert runner.main(["--tier", "sample"]) == 1
    said = capsys.readouterr()
    assert "an event is lost" in said.err
    first, *_, last = said.out.splitlines()
    assert first in last
    assert "--seed" in first


def test_what_this_machine_cannot_run_is_skipped_with_the_reason_but_not_in_ci(
    tier: SimpleNamespace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tier.missing = lambda: "there is no such program"
    assert runner.main(["--tier", "sample"]) == 0
    assert "sample: skipped: there is no such program" in capsys.readouterr().out
    monkeypatch.setenv("CI", "true")
    assert runner.main(["--tier", "sample"]) == 1
    assert tier.seeds == []


def test_a_budget_ends_with_its_amount_or_its_time_and_has_one_round_at_least() -> None:
    assert list(Budget(7).rounds(3)) == [(0, 3), (1, 3), (2, 1)]
    assert list(Budget(seconds=0).rounds(3)) == [(0, 3)]
    assert list(Budget(7, seconds=0).rounds(3)) == [(0, 3)]
    endless = Budget().rounds(3)
    assert [next(endless) for _ in range(3)] == [(0, 3), (1, 3), (2, 3)]
