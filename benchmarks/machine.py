"""What it all ran on: nothing that says whose machine it is."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.peers import DISTRIBUTIONS


def facts(folder: Path) -> dict[str, Any]:
    """Facts about the machine, and about the file system of a folder."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "file_system": file_system(folder),
        "versions": {name: found for name in ("eventbus", *DISTRIBUTIONS) if (found := _version(name))},
    }


def load() -> float | None:
    """How many processes wanted a processor during the last minute; None where nobody knows."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def file_system(folder: Path) -> str:
    """The type of the file system, as Linux names it."""
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    here = str(folder.resolve())
    found = [(point, kind) for _, point, kind, *_ in map(str.split, mounts) if _is_within(here, point)]
    return max(found, key=lambda each: len(each[0]), default=("", "unknown"))[1]


def _is_within(path: str, point: str) -> bool:
    return point == "/" or path == point or path.startswith(point + "/")


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None
