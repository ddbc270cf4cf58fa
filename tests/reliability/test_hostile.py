"""Damaged logs, of each kind of damage some: the same ones each time.

The long one: python -m tests.reliability --tier hostile --long. EVENTBUS_SEED repeats a run that failed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import hostile_stage
import pytest
from cli_stage import Ran
from damage import Damage, whole_log
from short import run_short
from tiers import hostile


def test_a_damaged_log_makes_nothing_crash_hang_write_or_print_a_control_byte() -> None:
    figures = run_short("hostile", seed=1)
    assert figures["files"] == hostile.SHORT
    assert {figures[kind] for kind in ("flip", "books", "sectors", "cut", "noise", "text", "number")} == {8}


def test_each_kind_of_damage_is_one(tmp_path: Path) -> None:
    whole = whole_log(tmp_path / "whole")
    damage = Damage(whole, tmp_path)
    made = [damage.of(seed) for seed in range(70)]
    assert {kind for kind, files in made if files != {"": whole}} == {kind.__name__ for kind in damage.kinds}
    assert made == [damage.of(seed) for seed in range(70)]


@pytest.mark.parametrize(
    ("ran", "found"),
    [
        (lambda *_: Ran(0, "\x1b[2J", ""), "printed"),
        (lambda *_: Ran(1, "", "Traceback (most recent call last)"), "printed a traceback"),
        (lambda *_: Ran(-11, "", ""), "exit code -11"),
        (lambda *_: Path("nowhere").read_text(), "FileNotFoundError"),
        (lambda *words: Ran(Path(words[1]).write_bytes(b"") or 0, "", ""), "it wrote"),
        (lambda *words: Ran(Path(words[-1] + ".tmp").write_bytes(b"") or 0, "", ""), "left behind"),
    ],
)
def test_what_is_wrong_is_found(
    ran: Callable[..., Ran], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hostile_stage, "run", ran)
    monkeypatch.setattr(hostile_stage, "BRIEFLY", (["log", "FILE"],))
    whole_log(tmp_path / "shop.db")
    assert any(found in what for what in hostile_stage.tried(tmp_path / "shop.db", tmp_path, {}))
