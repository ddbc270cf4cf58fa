"""Logs and other databases to open, and processes that die on them."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from eventbus.clock import SystemClock
from eventbus.store.location import Location
from eventbus.store.opening import open_log

ROOT = Path(__file__).resolve().parent.parent

Trace = dict[str, tuple[int, int, bytes]]


def opened(path: Path | None, *, adopt: bool = False) -> sqlite3.Connection:
    return open_log(Location.of(path), adopt=adopt, clock=SystemClock())


def make_log(path: Path) -> Path:
    opened(path).close()
    return path


@contextmanager
def raw(path: Path) -> Iterator[sqlite3.Connection]:
    """Another program's connection, that leaves a -wal as it is."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        yield connection


def traces(folder: Path) -> Trace:
    """What a look could leave behind: names, times and bytes of a folder's files, and its own time."""
    found: Trace = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        status = path.stat()
        content = path.read_bytes() if stat.S_ISREG(status.st_mode) else b""
        found[str(path)] = (status.st_mode, status.st_mtime_ns, content)
    return found


def run_python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """A Python of its own that has `open_log`, `look`, `opened(path)`, `sqlite3`, `os` and `sys`."""
    return subprocess.run(command(code, *arguments), capture_output=True, text=True, check=False, env=environment())


def command(code: str, *arguments: object) -> list[str]:
    head = (
        "import os, signal, sqlite3, sys, tempfile\n"
        "from eventbus.clock import SystemClock\n"
        "from eventbus.errors import *\n"
        "from eventbus.store.opening import look, open_log, read_identity\n"
        "from eventbus.store.location import Location\n"
        "def opened(path): return open_log(Location.of(path), adopt=False, clock=SystemClock())\n"
    )
    return [sys.executable, "-c", head + code, *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}


def killed(code: str, path: Path) -> None:
    """Run `code` on sys.argv[1] in a process that then gets no chance to tidy up."""
    done = run_python(code + "\nos.kill(os.getpid(), signal.SIGKILL)", path)
    assert done.returncode == -signal.SIGKILL, done.stderr


def another_application_in_wal_mode(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE notes (text)")


def another_application_that_crashed(path: Path) -> None:
    killed(
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA journal_mode = WAL')\n"
        "c.execute('CREATE TABLE notes (text)')",
        path,
    )


def notes(connection: sqlite3.Connection) -> list[str]:
    return [text for (text,) in connection.execute("SELECT text FROM notes")]
