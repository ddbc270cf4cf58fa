"""Deliberate faults, each patched in at run time, and which proof has to catch it: one that cannot fail proves nothing.

    python tests/reliability/mutants.py [NAME ...]

A mutant changes what the bus does by a few lines. It counts as caught where a promise of the proof breaks with it; any
other error means that the mutant itself is out of date, and is raised.

    simulation   simulation.py, within so many seeds, of which the one that notices holds without the fault
    model        test_publish_model.py
    test         one that is named, run in a process of its own
    power        outage.py
    syscalls     the scene that publishes, with an error at one write after the other
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

import attrs
import pytest
from crew import attempt
from injection import Point, Theatre
from mutating import PATCHES
from simulation import seeds_until_broken

SEEDS = 150  # in which a simulation has to notice
IMAGES = 250  # in which a loss of power has to
TIERS = ("power", "syscalls")  # which a machine may not be able to run
SIGNS = (
    "are lost",
    "is lost",
    "was told to",
    "are missing",
    "malformed",
    "NotAnEventLog",
    "LogCorrupt",
)  # what such a tier says of a broken promise
TESTS = Path(__file__).parent.parent


@attrs.frozen
class Mutant:
    """One fault, and who must notice it."""

    name: str
    caught_by: Literal["simulation", "model", "test", "power", "syscalls"] = "simulation"
    where: str = ""  # the id of a test, or what does the damage in a process of another tier; see hasty.py
    how: str = ""  # which durability loses power, or what a system call meets
    first: int = 0  # the seed that a simulation begins with: one that is known to notice soon


MUTANTS = (
    Mutant("acknowledge before the commit"),
    Mutant("acknowledge on an I/O error"),
    Mutant("the cursor in a second transaction"),
    Mutant("no epoch check"),
    Mutant("plain BEGIN"),
    Mutant("no unique key"),
    Mutant("park outside the transaction"),
    Mutant("a crash is not counted"),
    Mutant("ahead is not persisted"),
    Mutant("held is not released"),
    Mutant("held is released too early"),
    Mutant("an outcome in doubt is recorded again"),
    Mutant("an outcome in doubt is taken for stored", first=45),
    Mutant("rows are read again only if that commits at once", first=115),
    Mutant("the claim is not looked at"),
    Mutant("nothing is looked at but what rings"),
    Mutant("a failure blocks nobody"),
    Mutant("what is held is handed out"),
    Mutant("an error of the log's is swallowed, and the outcomes with it"),
    Mutant("another content under a key is a duplicate", "model"),
    Mutant("the expected version is not looked at", "model"),
    Mutant("a transaction keeps its events though it fails", "model"),
    Mutant("no inode check", "test", "test_publish_trouble.py::test_nothing_is_acknowledged_once_the_file_is_another"),
    Mutant(
        "types are read from the last known on",
        "test",
        "test_names.py::test_a_type_that_another_process_adds_just_before_this_one_adds_its_own_is_delivered",
    ),
    Mutant("sync off", "power", "hasty:sync_off", "power"),
    Mutant("sync off, where a loss is allowed", "power", "hasty:sync_off", "process"),
    Mutant("a cheap commit of an appended event", "power", "hasty:sync_like_a_cursor", "power"),
    Mutant("nothing but commits is synced", "power", "hasty:unsynced_checkpoint", "power"),
    Mutant("acknowledge before the commit, and lose power", "power", "hasty:acknowledge_before_commit", "power"),
    Mutant("acknowledge before the commit, and die", "syscalls", "hasty:acknowledge_before_commit", "signal=KILL"),
    Mutant("an I/O error is not told", "syscalls", "hasty:acknowledge_on_error", "error=EIO"),
)


def caught(mutant: Mutant) -> str:
    """How it was noticed; "" if it was not. Patches nothing that stays."""
    match mutant.caught_by:
        case "simulation":
            return _by_simulation(mutant)
        case "model":
            return _by_test(mutant, "test_publish_model.py")
        case "test":
            return _by_test(mutant, mutant.where)
        case "power":
            return _by_a_loss_of_power(mutant)
        case _:
            return _by_system_calls(mutant)


def _by_simulation(mutant: Mutant) -> str:
    with pytest.MonkeyPatch.context() as monkeypatch:
        PATCHES[mutant.name](monkeypatch)
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
    places = [str(TESTS.parent), str(TESTS), str(TESTS / "reliability"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *plugin, str(TESTS / test)],
        capture_output=True,
        text=True,
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
        check=False,
    )
    if done.returncode == 0:
        return ""
    said = next((line for line in done.stdout.splitlines() if line.startswith("E  ")), "")
    is_meant = done.returncode == 1 and any(word in said for word in ("AssertionError", "assert ", "DID NOT RAISE"))
    if not is_meant:
        raise RuntimeError(f"{mutant.name}: pytest ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr}")
    return f"{test}: {said[1:].strip()}"


def _by_a_loss_of_power(mutant: Mutant) -> str:
    done = attempt("outage.py", 1, mutant.how, IMAGES, mutant.where)
    return "" if done.returncode == 0 else _sign(mutant, done.stderr)


def _by_system_calls(mutant: Mutant) -> str:
    with tempfile.TemporaryDirectory() as folder, Theatre(Path(folder), mutant.where) as theatre:
        before = theatre.prepare("publish")
        try:
            for number in itertools.count(1):
                if not theatre.play("publish", before, Point("pwrite64", mutant.how, number)):
                    return ""
        except AssertionError as error:
            return _sign(mutant, str(error))
    raise AssertionError("it always ends")


def _sign(mutant: Mutant, said: str) -> str:
    """The line that tells of a broken promise; without one it was another error."""
    for line in reversed(said.splitlines()):
        if any(sign in line for sign in SIGNS):
            return line.strip()[:200]
    raise RuntimeError(f"{mutant.name}: {said[-2000:]}")


def main() -> None:
    """The command."""
    for mutant in MUTANTS:
        if mutant.name in sys.argv[1:] or not sys.argv[1:]:
            print(f"{mutant.name}: {caught(mutant) or 'NOTHING NOTICES'}", flush=True)


if __name__ == "__main__":
    main()
