"""SIGKILL at random moments, one process and three, loses, doubles and reorders nothing.

Rounds take turns: one process after the other on one log, which publishes in every way there is (killing.py), and three
processes at once with every kind of subscription, which are stopped as well (three_processes.py). Each round has a log
of its own, as everything in it is compared with everything in the end.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from budget import Budget, Figures, Say
from killing import judge, kill_again_and_again
from three_processes import storm

UNIT = "kills"
SHORT = 200
LONG = 10_000
A_ROUND = 100


def missing() -> str | None:
    """A system with SIGKILL and fork."""
    return None if hasattr(os, "fork") else "this system has no fork"


def run(budget: Budget, seed: int, say: Say) -> Figures:
    """Kill, then judge; again and again."""
    total: dict[str, float] = {}
    for number, size in budget.rounds(A_ROUND):
        with tempfile.TemporaryDirectory() as folder:
            try:
                figures = (_three if number % 2 else _one)(Path(folder), size, seed + number)
            except BaseException as error:
                error.add_note(f"round {number}, seed {seed + number}, {size} kills")
                raise
        for name, figure in figures.items():
            total[name] = total.get(name, 0) + figure
        say(f"{total['kills']:.0f} kills, {total['acknowledged']:.0f} events acknowledged, 0 lost")
    return {**total, "acknowledged and lost": 0, "effects doubled or missing": 0}


def _one(folder: Path, kills: int, seed: int) -> dict[str, float]:
    kill_again_and_again(folder, kills, seed)
    return {"kills": kills, **judge(folder)}


def _three(folder: Path, kills: int, seed: int) -> dict[str, float]:
    figures = storm(folder, kills, seed)
    return {name: figures[name] for name in ("kills", "stops", "closes", "takeovers", "events", "acknowledged")}
