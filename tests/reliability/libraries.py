"""Other SQLites than the one of this Python, compiled from what releases of the npm package better-sqlite3 bring along.

They are kept under build/sqlite; LD_PRELOAD puts one in the place of the library that Python links.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

TOO_OLD = "3.36.0"
RELEASES = {
    TOO_OLD: "7.4.5",
    "3.37.0": "7.4.6",
    "3.37.2": "7.5.0",
    "3.38.5": "7.5.2",
    "3.39.1": "7.6.2",
    "3.40.0": "8.0.1",
    "3.41.2": "8.3.0",
    "3.43.0": "8.6.0",
    "3.44.2": "9.2.0",
    "3.45.1": "9.4.3",
    "3.46.1": "11.3.0",
    "3.48.0": "11.8.1",
    "3.50.2": "12.2.0",
}
"""By the version of SQLite that the release brings."""

FOLDER = Path(__file__).resolve().parents[2] / "build" / "sqlite"
_OPTIONS = ("-DSQLITE_ENABLE_COLUMN_METADATA", "-DSQLITE_ENABLE_FTS5", "-DSQLITE_ENABLE_JSON1")


def lacking() -> str | None:
    """What this machine needs for them and does not have."""
    if not sys.platform.startswith("linux"):
        return "a library is put in another's place with LD_PRELOAD of Linux"
    for program, what in (("cc", "a C compiler"), ("npm", "npm, which fetches the sources")):
        if shutil.which(program) is None:
            return f"{what} is needed to have other versions of SQLite"
    return None


def library(version: str) -> Path:
    """The library of a version; it is fetched and compiled once. Raises CalledProcessError."""
    made = FOLDER / f"libsqlite3-{version}.so"
    if not made.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            source, compiled = Path(folder, "sqlite3.c"), Path(folder, "library.so")
            source.write_bytes(_source(_fetch(f"better-sqlite3@{RELEASES[version]}", folder).read_bytes()))
            command = ["cc", "-O1", "-shared", "-fPIC", *_OPTIONS, str(source), "-o", str(compiled), "-lm"]
            subprocess.run(command, check=True, capture_output=True)
            compiled.rename(made)
    return made


def _fetch(package: str, folder: str) -> Path:
    command = ["npm", "pack", package, "--silent", "--pack-destination", folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder)
    return Path(folder, done.stdout.strip().splitlines()[-1])


def _source(package: bytes) -> bytes:
    """The amalgamation in a package, where older ones have it in an archive of its own."""
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        for name in archive.getnames():
            if name.endswith(("sqlite3/sqlite3.c", "sqlite3.tar.gz", "/sqlite3.c")) or name == "sqlite3.c":
                file = archive.extractfile(name)
                assert file is not None
                return _source(file.read()) if name.endswith(".gz") else file.read()
    raise FileNotFoundError("sqlite3.c")
