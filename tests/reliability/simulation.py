"""Delivery under a seeded scheduler, in virtual time: any seed repeats exactly.

python tests/reliability/simulation.py --seed 17                 # one of them, step by step
python tests/reliability/simulation.py --from 0 --seeds 125      # several, and their figures as JSON
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
from simulated.actions import act
from simulated.world import make_template, one_world

ACTIONS = 36  # of one world, besides what happens on top of them, and until all is settled
LAST = 40  # lines of what happened, in the message of an error
COLLECT = 10  # worlds after which what they leave behind is collected


class Broken(AssertionError):
    """A seed in which something that is promised did not hold, or which met an error of its own: see `__cause__`."""

    def __init__(self, seed: int, said: str) -> None:
        super().__init__(said)
        self.seed = seed


@attrs.frozen
class Outcome:
    """What came of one seed."""

    seed: int
    digest: str
    counts: Counter[str]
    trace: list[str]


@contextmanager
def _in_memory() -> Iterator[Path]:
    """A folder, on a file system without a disk where there is one: thousands of logs are made and thrown away."""
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shm if os.access(shm, os.W_OK) else None) as folder:
        yield Path(folder)


def simulate(seed: int, folder: Path, template: Path) -> Outcome:
    """One world, to its end. Broken says the seed, and the end of what happened."""
    place = folder / str(seed)
    place.mkdir()
    random.seed(seed)
    try:
        with one_world(place, seed, template) as world:
            try:
                for _ in range(ACTIONS):
                    act(world)
                world.settle()
            except Exception as error:
                said = f"seed {seed}: {error!r}" if not isinstance(error, AssertionError) else f"seed {seed}: {error}"
                raise Broken(seed, said + "\n" + "\n".join(world.trace[-LAST:])) from error
            for stand in world.judge.stands.values():
                world.say(stand.kind.name, stand.cursor, stand.epoch, stand.handled, sorted(stand.completed))
            world.say(sorted(world.judge.ids.items()))
            counts = Counter(world.counts)
            counts["events"] = len(world.judge.events)
            counts["looks"] = world.judge.looks
            counts["deliveries"] = sum(stand.handled for stand in world.judge.stands.values())
            return Outcome(seed, world.digest(), counts, world.trace)
    finally:
        shutil.rmtree(place, ignore_errors=True)


@contextmanager
def _undisturbed() -> Iterator[Path]:
    """A folder for worlds, while nobody logs what fails on purpose, and collecting waits for the end of a world."""
    logging.disable(logging.CRITICAL)
    collects = gc.isenabled()
    gc.disable()
    gc.freeze()  # what is there already is not looked through each time
    try:
        with _in_memory() as folder:
            yield folder
    finally:
        gc.unfreeze()
        logging.disable(logging.NOTSET)
        if collects:
            gc.enable()


def simulate_some(seeds: range) -> Counter[str]:
    """Several seeds in this process; Broken for the first that fails."""
    figures: Counter[str] = Counter()
    with _undisturbed() as folder:
        template = make_template(folder)
        for seed in seeds:
            figures += simulate(seed, folder, template).counts
            _collect(seed)
    figures["seeds"] = len(seeds)
    return figures


def _collect(seed: int) -> None:
    if seed % COLLECT == 0:
        gc.collect()


def digests(seeds: range) -> list[str]:
    """What happened in each of these seeds, in a word each."""
    with _undisturbed() as folder:
        template = make_template(folder)
        return [simulate(seed, folder, template).digest for seed in seeds]


def seeds_until_broken(seeds: range) -> Broken | None:
    """What the first of these seeds says that does not keep a promise; None if all do."""
    with _undisturbed() as folder:
        template = make_template(folder)
        for seed in seeds:
            try:
                simulate(seed, folder, template)
            except Broken as broken:
                return broken
            _collect(seed)
    return None


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, help="this one only, with all that happens in it")
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=125)
    args = parser.parse_args()
    if args.seed is None:
        print(json.dumps(simulate_some(range(args.first, args.first + args.seeds))))
        return
    with _undisturbed() as folder:
        outcome = simulate(args.seed, folder, make_template(folder))
    print(*outcome.trace, outcome.digest, sep="\n")


if __name__ == "__main__":
    main()
