"""Deliberate faults, each patched in at run time, and which proof has to catch it.

    python tests/reliability/mutants.py [NAME ...]

A proof that cannot fail proves nothing. A mutant changes what the bus does by a few lines; `caught_by` names the proof
that must notice:

    simulation   simulation.py, within so many seeds
    model        test_publish_model.py
    a test       one that is named, run in a process of its own
    power, syscalls   the tiers of that name; here they are only listed, and the runner brings them together
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

import attrs
import pytest
from mutating import PATCHES, Patch
from simulation import Broken, seeds_until_broken

SEEDS = 150  # in which a simulation has to notice
ELSEWHERE = ("power", "syscalls")  # tiers of their own
TESTS = Path(__file__).parent.parent


@attrs.frozen
class Mutant:
    """One fault: what is patched, and who must notice."""

    name: str
    caught_by: str  # "simulation", "model", one of ELSEWHERE, or the id of a test
    first: int = 0  # the seed that a simulation begins with: one that is known to notice soon

    @property
    def patch(self) -> Patch:
        """Does the damage, and has it mended at the end of the test."""
        return PATCHES[self.name]


MUTANTS = (
    Mutant("acknowledge before the commit", "simulation"),
    Mutant("acknowledge on an I/O error", "simulation"),
    Mutant("the cursor in a second transaction", "simulation"),
    Mutant("no epoch check", "simulation"),
    Mutant("plain BEGIN", "simulation"),
    Mutant("no unique key", "simulation"),
    Mutant("park outside the transaction", "simulation"),
    Mutant("a crash is not counted", "simulation"),
    Mutant("ahead is not persisted", "simulation"),
    Mutant("held is not released", "simulation"),
    Mutant("held is released too early", "simulation"),
    Mutant("an outcome in doubt is recorded again", "simulation"),
    Mutant("an outcome in doubt is taken for stored", "simulation"),
    Mutant("rows are read again only if that commits at once", "simulation", first=115),
    Mutant("the claim is not looked at", "simulation"),
    Mutant("nothing is looked at but what rings", "simulation"),
    Mutant("a failure blocks nobody", "simulation"),
    Mutant("what is held is handed out", "simulation"),
    Mutant("an error of the log's is swallowed, and the outcomes with it", "simulation"),
    Mutant("another content under a key is a duplicate", "model"),
    Mutant("the expected version is not looked at", "model"),
    Mutant("a transaction keeps its events though it fails", "model"),
    Mutant("no inode check", "test_publish_trouble.py::test_nothing_is_acknowledged_once_the_file_is_another"),
    Mutant(
        "types are read from the last known on",
        "test_names.py::test_a_type_that_another_process_adds_just_before_this_one_adds_its_own_is_delivered",
    ),
    Mutant("sync off", "power"),
    Mutant("a cheap commit of an appended event", "power"),
    Mutant("no sync of the -wal before it is moved", "power"),
    Mutant("an I/O error in a sync is not told", "syscalls"),
)


def caught(mutant: Mutant) -> str:
    """How it was noticed; "" if it was not. Patches nothing that stays."""
    if mutant.caught_by == "simulation":
        return _by_simulation(mutant)
    if mutant.caught_by == "model":
        return _by_test(mutant, "test_publish_model.py")
    return _by_test(mutant, mutant.caught_by)


def _by_simulation(mutant: Mutant) -> str:
    """Where a promise is broken with the fault, and none without it; any other error is the mutant's own."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        mutant.patch(monkeypatch)
        found = seeds_until_broken(range(mutant.first, mutant.first + SEEDS))
    if found is None:
        return ""
    if not isinstance(found.__cause__, AssertionError):
        raise RuntimeError(f"{mutant.name} does not do the damage it should") from found
    sound = seeds_until_broken(range(found.seed, found.seed + 1))
    assert sound is None, f"without any fault: {sound}"
    return str(found).partition("\n")[0]


def _by_test(mutant: Mutant, test: str) -> str:
    """In a process of its own, with the patch as a plugin; what fails has to be an assertion of the test's."""
    plugin = ["-p", "mutating", f"--mutant={mutant.name}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *plugin, str(TESTS / test)],
        capture_output=True,
        text=True,
        cwd=TESTS,
        env=_environment(),
        check=False,
    )
    if done.returncode == 0:
        return ""
    said = next((line for line in done.stdout.splitlines() if line.startswith("E  ")), "")
    is_meant = done.returncode == 1 and any(word in said for word in ("AssertionError", "assert ", "DID NOT RAISE"))
    assert is_meant, f"pytest ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return f"failed: {test}: {said[1:].strip()}"


def _environment() -> dict[str, str]:
    import os

    places = [str(TESTS.parent), str(TESTS), str(TESTS / "reliability"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(places)}


def run(seconds: float, seed: int, say: Callable[[str], object], names: Collection[str] = ()) -> dict[str, float]:
    """Every mutant, or those of these names; AssertionError for the first that nothing notices. Returns figures.

    It takes as long as it takes, and chooses nothing at random: `seconds` and `seed` are those of every tier.
    """
    figures: dict[str, float] = {"mutants caught": 0, "mutants of other tiers": 0}
    for mutant in MUTANTS:
        if names and mutant.name not in names:
            continue
        if mutant.caught_by in ELSEWHERE:
            figures["mutants of other tiers"] += 1
            continue
        began = time.monotonic()
        how = caught(mutant)
        assert how, f"nothing notices: {mutant.name} (was to be caught by {mutant.caught_by})"
        figures["mutants caught"] += 1
        say(f"{time.monotonic() - began:6.1f} s  {mutant.name}: {how}")
    return figures


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    for name, figure in run(0.0, 0, print, args.names).items():
        print(f"{figure:>10} {name}")


__all__ = ["MUTANTS", "Broken", "Mutant", "caught", "run"]

if __name__ == "__main__":
    main()
