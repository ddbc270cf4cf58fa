"""After a loss of power at any moment nothing acknowledged is lost ("power"), and nothing is corrupt ("process" too).

Every write and sync of processes that publish, handle, project, checkpoint, close and reopen is recorded (recorder.c);
what a disk may hold at some moment is made from that (platter.py), opened by the bus and inspected (inspection.py).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

import recorder
from budget import Budget, Figures, Say

UNIT = "images"
SHORT = 2_000
LONG = 200_000
A_SEED = 250  # images
DURABILITIES = ("power", "process")
OUTAGE = Path(__file__).resolve().parent.parent / "outage.py"


def missing() -> str | None:
    """Linux and a compiler."""
    return recorder.lacking()


def run(budget: Budget, seed: int, say: Say) -> Figures:
    """Several processes at once, each with a seed of its own."""
    total: Counter[str] = Counter()
    for figures in _all(budget, seed):
        total.update(figures)
        say(f"{total['images']} images opened")
    for durability in DURABILITIES:
        total.setdefault(f"{durability}: lost", 0)
    assert total["power: lost"] == 0
    return {"corrupt": 0, **dict(sorted(total.items()))}


def outage(seed: int, durability: str, images: int, fault: str = "") -> subprocess.CompletedProcess[str]:
    """One seed's images in a process of their own; it ends with 0 if all of them are in order."""
    command = [sys.executable, str(OUTAGE), str(seed), durability, str(images), *([fault] if fault else [])]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _all(budget: Budget, seed: int) -> Iterator[dict[str, int]]:
    workers = os.cpu_count() or 1
    running: set[Future[dict[str, int]]] = set()
    with ThreadPoolExecutor(workers) as pool:
        for number, size in budget.rounds(A_SEED):
            durability = DURABILITIES[number % len(DURABILITIES)]
            running.add(pool.submit(_figures, seed + number // len(DURABILITIES), durability, size))
            if len(running) >= workers:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in done)
        yield from (each.result() for each in wait(running).done)


def _figures(seed: int, durability: str, images: int) -> dict[str, int]:
    done = outage(seed, durability, images)
    again = f"python tests/reliability/outage.py {seed} {durability} {images}"
    assert done.returncode == 0, f"{again}\n{done.stderr}"
    common = ("images", "steps recorded", "images delivered")
    found = json.loads(done.stdout).items()
    return {(name if name in common else f"{durability}: {name}"): figure for name, figure in found}
