"""A kill or an error (EIO, ENOSPC, EDQUOT) at any write, sync, cut, unlink, rename or link loses nothing acknowledged.

A scene is played by a process of its own with a fault at the first, second, ... call, until it runs through without one
(scenes.py, injection.py); after each the log is opened by a fresh process and inspected (inspection.py).

The short form has ENOSPC and EDQUOT at every other call, and delivers what is due after every fourth point. The long
one has all of it at each call, and errors that last: from the K-th call on.
"""

from __future__ import annotations

import itertools
import random
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import attrs
import injection
import scenes
from budget import Budget, Figures, Say
from crew import PLACES
from injection import CALLS, FAULTS, Point, Theatre

UNIT = "scenes"
SHORT = 1
LONG = len(scenes.SCENES)
LASTING = ("error=EIO", "error=ENOSPC")
NOW_AND_THEN = 4  # points


def missing() -> str | None:
    """strace, and the right to use it."""
    return injection.lacking()


def run(budget: Budget, seed: int, say: Say) -> Figures:
    """Scene after scene, the first of them by the seed."""
    names = random.Random(seed).sample(sorted(scenes.SCENES), len(scenes.SCENES))
    total: Counter[str] = Counter()
    for number, _ in budget.rounds(1):
        if number >= len(names):
            break
        found = play_all(names[number], thorough=budget.amount != SHORT)
        total.update(found)
        say(f"{names[number]}: {found.total()} points")
        total["scenes"] += 1
    points = total.total() - total["scenes"]
    return {"points": points, **dict(sorted(total.items())), "acknowledged and lost": 0}


@attrs.frozen
class Job:
    """A fault at one call after the other."""

    call: str
    fault: str
    lasting: bool = False
    first: int = 1
    step: int = 1

    def points(self) -> Iterator[Point]:
        """Without end."""
        for number in itertools.count(self.first, self.step):
            yield Point(self.call, self.fault, number, self.lasting)

    def __str__(self) -> str:
        return f"{self.call} {self.fault.partition('=')[2]}{' and so on' if self.lasting else ''}"


def jobs(*, thorough: bool) -> list[Job]:
    """What is to be done with each scene."""
    if thorough:
        lasting = [Job(call, fault, lasting=True) for call in CALLS for fault in LASTING]
        return [*lasting, *(Job(call, fault) for call in CALLS for fault in FAULTS)]
    often = [Job(call, fault) for call in CALLS for fault in FAULTS[:2]]
    return often + [Job(call, FAULTS[which], first=which - 1, step=2) for call in CALLS for which in (2, 3)]


def play_all(scene: str, *, thorough: bool) -> Counter[str]:
    """All points of a scene; how many there were of each kind."""
    left = jobs(thorough=thorough)
    found: Counter[str] = Counter()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder, ExitStack() as stack:
        parts = [Path(folder) / str(number) for number in range(PLACES)]
        for part in parts:
            part.mkdir()
        theatres = [stack.enter_context(Theatre(part)) for part in parts]
        with ThreadPoolExecutor(PLACES) as pool:
            work = [
                pool.submit(_play_jobs, theatre, scene, left, 1 if thorough else NOW_AND_THEN) for theatre in theatres
            ]
            for each in work:
                found.update(each.result())
    return found


def _play_jobs(theatre: Theatre, scene: str, left: list[Job], deliver_each: int) -> Counter[str]:
    """Take jobs while there are any; the list is shared."""
    found: Counter[str] = Counter()
    before = theatre.prepare(scene)
    while left:
        try:
            job = left.pop(0)
        except IndexError:  # another one took it
            break
        for point in job.points():
            if not theatre.play(scene, before, point, deep=point.number % deliver_each == 0):
                break
            found[str(job)] += 1
    return found
