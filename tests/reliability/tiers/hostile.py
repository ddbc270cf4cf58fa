"""Whatever a disk or a person made of a log: nothing crashes, hangs, writes, or prints a control byte.

Each file is a damaged copy of a log in which every room has something (tests/damage.py). Every command of the program
that looks, salvage and backup are run on it, and a bus opens a copy, publishes and delivers
(tests/hostile_stage.py): only errors of ours, exit codes 0 to 2, and clean text may come of it.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from budget import Budget, Figures, Say
from crew import side_by_side
from damage import Damage, whole_log
from hostile_stage import report

UNIT = "files"
SHORT = 56
LONG = 10_000
A_ROUND = 28  # files, which one process has two minutes for; a round has each kind of damage equally often


def missing() -> str | None:
    """Nothing."""
    return None


def run(budget: Budget, seed: int, say: Say) -> Figures:
    """Rounds of files; `seed` is that of the first file, and each next has the next one."""
    total: Counter[str] = Counter()
    slowest = 0.0

    def one_round(part: tuple[int, int]) -> tuple[Counter[str], float]:
        number, size = part
        return try_files(range(seed + number * A_ROUND, seed + number * A_ROUND + size))

    for figures, seconds in side_by_side(one_round, budget.rounds(A_ROUND)):
        total.update(figures)
        slowest = max(slowest, seconds)
        say(f"{total.total()} files")
    return {"files": total.total(), **dict(sorted(total.items())), "slowest answer, seconds": round(slowest, 2)}


def try_files(seeds: range) -> tuple[Counter[str], float]:
    """How many there were of each kind of damage, and the seconds of the slowest answer."""
    kinds: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as place, tempfile.TemporaryDirectory() as workshop:
        folder = Path(place)
        damage = Damage(whole_log(Path(workshop, "whole")), Path(workshop))
        for seed in seeds:
            kind, files = damage.of(seed)
            kinds[kind] += 1
            for end, content in files.items():
                (folder / f"{kind}-{seed}.db{end}").write_bytes(content)
        said = report(folder)
    complaints = [f"{line['file']}: {line['what']}" for line in said if "what" in line]
    assert not complaints, "\n".join(complaints)
    return kinds, max(line["seconds"] for line in said)
