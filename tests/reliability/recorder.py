"""Compiles recorder.c, and says how a process is started so that what it does to a folder is recorded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("recorder.c")
FLAGS = ("-shared", "-fPIC", "-O1", "-Wall", "-Wextra")
LIBRARIES = ("-ldl", "-lpthread")


@cache
def lacking() -> str | None:
    """Why nothing can be recorded here."""
    if sys.platform != "linux":
        return "recording what a process writes needs LD_PRELOAD as Linux has it"
    if _compiler() is None:
        return "recording what a process writes needs a C compiler (on Debian: apt install gcc libc6-dev)"
    with tempfile.TemporaryDirectory() as folder:
        tried = _compile(Path(folder) / "recorder.so")
    return f"recorder.c cannot be compiled here: {tried.stderr.strip()}" if tried.returncode else None


def compiled(folder: Path) -> Path:
    """The library, made in `folder`."""
    library = folder / "recorder.so"
    done = _compile(library)
    assert done.returncode == 0, done.stderr
    return library


def recording(library: Path, folder: Path, tape: Path) -> dict[str, str]:
    """The environment of such a process."""
    return {
        **os.environ,
        "LD_PRELOAD": str(library),
        "RECORD_FOLDER": os.path.realpath(folder),
        "RECORD_TAPE": os.path.realpath(tape),
    }


def _compile(library: Path) -> subprocess.CompletedProcess[str]:
    command = [_compiler() or "cc", *FLAGS, "-o", str(library), str(SOURCE), *LIBRARIES]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _compiler() -> str | None:
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
