"""Running the program in tests: in this process, in another one, or on a terminal."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import attrs
import pytest

from eventbus.cli import main

# Python started in the background ignores Ctrl-C; a person's shell starts it in the foreground.
_PROGRAM = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler);"
    "from eventbus.cli import main; sys.exit(main())"
)
_LONGEST = 120.0  # seconds
LOOKING = (
    ["log", "FILE"],
    ["log", "FILE", "--backward", "--limit", "3"],
    ["tail", "FILE"],
    ["show", "FILE", "1"],
    ["show", "FILE", "3"],
    ["show", "FILE", "4"],
    ["subscriptions", "FILE"],
    ["dead", "list", "FILE"],
    ["dead", "show", "FILE", "3"],
    ["projections", "list", "FILE"],
    ["inbox", "FILE"],
    ["schedules", "FILE"],
)


@attrs.frozen
class Ran:
    """A finished command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]

    @property
    def positions(self) -> list[int]:
        """Of `log` and `tail`, without the rules between days."""
        return [int(line.split()[0]) for line in self.lines if not line.startswith("──")]


def run(*arguments: object, columns: int | None = None) -> Ran:
    """Run a command in this process; `columns` is the width of the terminal, None for a pipe."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.delenv("COLUMNS", raising=False)
        if columns is not None:
            patch.setenv("COLUMNS", str(columns))
        code = main([str(argument) for argument in arguments])
    return Ran(code, out.getvalue(), err.getvalue())


@contextmanager
def started(*arguments: object, folder: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """The program in another process, its output in pipes; it does not outlive the block, nor a test that hangs."""
    command = [sys.executable, "-c", _PROGRAM, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=folder) as process:
        watchdog = threading.Timer(_LONGEST, process.kill)
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def next_record(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The next object that a started program with --json writes."""
    assert process.stdout is not None
    record: dict[str, Any] = json.loads(process.stdout.readline())
    return record


def on_a_terminal(*arguments: object, folder: Path | None = None, keys: str = "", **environment: str) -> str:
    """What a person sees on a terminal of 60 columns, who types `keys`."""
    ours, theirs = pty.openpty()
    env = {**os.environ, "COLUMNS": "60", "TERM": "xterm", **environment}
    command = [sys.executable, "-m", "eventbus", *map(str, arguments)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, cwd=folder)
    os.close(theirs)
    os.write(ours, keys.encode())
    seen = b""
    try:
        while piece := os.read(ours, 65536):
            seen += piece
    except OSError:  # the other end is closed: all is said
        pass
    finally:
        os.close(ours)
        process.wait()
    return seen.decode().replace("\r\n", "\n")


def on(file: Path, arguments: Iterable[str]) -> list[str]:
    """The arguments with the file's path in the place of FILE."""
    return [str(file) if argument == "FILE" else argument for argument in arguments]


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    """Every file of a folder, and when it was last written."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir() if path.is_file()}
