"""Compiles recorder.c, and says how a process is started so that what it does to a folder is recorded."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_name("recorder.c")


def lacking() -> str | None:
    """Why nothing can be recorded here."""
    if sys.platform != "linux":
        return "recording what a process writes needs LD_PRELOAD as Linux has it"
    return None if _compiler() else "recording what a process writes needs a C compiler (on Debian: apt install gcc)"


def compiled(folder: Path) -> Path:
    """The library, made in `folder`."""
    library = folder / "recorder.so"
    command = [_compiler() or "cc", "-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-o", str(library), str(SOURCE)]
    done = subprocess.run([*command, "-ldl", "-lpthread"], capture_output=True, text=True, check=False)
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


def _compiler() -> str | None:
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
