"""A log of every earlier release, and of every SQLite from 3.37 on, is gone on with by this one, and by those SQLites.

The short form has the SQLite of this Python only. The long one has other releases of it as well, fetched and compiled
(libraries.py), each of which goes on with the earlier logs and with one that this Python's wrote, and writes one that
this Python's goes on with. One that is too old is refused, and nothing is made or changed.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
from pathlib import Path

import libraries
from budget import Budget, Figures, Say
from earlier import GO_ON, go_on_from_2, lay_out
from fixture_stage import write
from versions import check

UNIT = "SQLites"
SHORT = 1
LONG = len(libraries.RELEASES)
HERE = Path(__file__).resolve().parent.parent


def missing() -> str | None:
    """Nothing: where a library cannot be had, the long form says so."""
    return None


def run(budget: Budget, seed: int, say: Say) -> Figures:
    """This Python's SQLite first, then the others, the oldest first; there is nothing to choose by the seed."""
    others = [version for version in libraries.RELEASES if version != libraries.TOO_OLD]
    tried: list[str] = []
    for number, _ in budget.rounds(1):
        if number > len(others):
            break
        if number == 1:
            lacking = libraries.lacking()
            assert lacking is None, lacking
            refuse(libraries.TOO_OLD)
            say(f"SQLite {libraries.TOO_OLD} is refused")
        exchange(others[number - 1] if number else None)
        tried.append(others[number - 1] if number else sqlite3.sqlite_version)
        say(f"SQLite {tried[-1]} goes on with {len(GO_ON) + 1} logs, and this one with its own")
    return {"SQLites": len(tried), "which": " ".join(tried), "logs that did not open": 0}


def exchange(version: str | None) -> None:
    """The logs go to a process with that SQLite and come back; None is the one of this Python."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for each in GO_ON:
            lay_out(each, folder / f"{each}.db")
        write(folder / "other.db")
        done = _under(version, "versions.py", version or sqlite3.sqlite_version, str(folder))
        assert done.returncode == 0, f"SQLite {version}: {done.stderr}"
        check(folder)
        go_on_from_2(folder / "own.db")


def refuse(version: str) -> None:
    """The program says that this SQLite is too old, makes no log and leaves one as it is."""
    with tempfile.TemporaryDirectory() as place:
        path = lay_out("version-2", Path(place, "log.db"))
        before = path.read_bytes()
        for arguments in (["log", str(path)], ["demo", str(Path(place, "new.db"))]):
            done = _under(version, "-m", "eventbus", *arguments)
            assert done.returncode != 0, done.stdout
            assert f"SQLite {version}" in done.stderr, done.stderr
        assert [each.name for each in Path(place).iterdir()] == ["log.db"]
        assert path.read_bytes() == before


def _under(version: str | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    library = {} if version is None else {"LD_PRELOAD": str(libraries.library(version))}
    path = os.pathsep.join(map(str, (HERE.parent.parent, HERE.parent, HERE)))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=HERE,
        env={**os.environ, **library, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
