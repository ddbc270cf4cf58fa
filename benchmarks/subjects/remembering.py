"""How much memory going through a large log takes: each way in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

from benchmarks import logs
from benchmarks.measuring import Measured
from benchmarks.subjects.starting import ROOT
from benchmarks.subjects.subject import Run, Subject

WAYS = ("read", "replay", "rebuild")


def _peak(way: str, path: str) -> float:
    """MiB at the most."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.peak", way, path],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    return float(done.stdout)


def _measure(run: Run) -> Measured:
    path = str(logs.bulk(run.folder, run.cache, run.sizes.large, run.tell))
    with run.contest(f"{run.sizes.large:,} events", 1) as contest:
        for way in WAYS:
            contest.add(way, "none", partial(_peak, way, path))
        contest.add("only opened", "none", lambda: _peak("open", path))
        return contest.run()


SUBJECTS = (Subject("memory", "peak memory of reading, replaying and rebuilding a large log", "MiB", _measure),)
