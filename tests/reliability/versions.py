"""A life of logs that others wrote, under the SQLite that is loaded.

    python tests/reliability/versions.py SQLITE FOLDER

SQLITE is the version that has to be loaded. The folder has an earlier log of each version, and "other.db", which this
release wrote under another SQLite; when this ends, "own.db" is for the other one to go on with.
"""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from earlier import GO_ON, go_on_from_2
from fixture_stage import write

from eventbus import EventBus
from eventbus.doctor import examine, salvage


def live(folder: Path) -> None:
    """Go on with each log, then copy, save and examine one."""
    for version, go_on in GO_ON.items():
        go_on(folder / f"{version}.db")
    go_on_from_2(folder / "other.db")
    write(folder / "own.db")
    with EventBus(folder / "other.db", delivery="manual") as bus:
        head = bus.log.head
        bus.backup(folder / "backup.db")
    assert salvage(folder / "other.db", folder / "salvaged.db").events == head
    check(folder)


def check(folder: Path) -> None:
    """No log of the folder is damaged, says SQLite and say we; each has its events."""
    for path in folder.glob("*.db"):
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)], path
        found = examine(path)
        assert found.verdict != "damaged", f"{path}: {found.findings}"
        with EventBus(path, delivery="manual") as bus:
            assert [envelope.position for envelope in bus.log.read()] == list(range(1, bus.log.head + 1)), path


if __name__ == "__main__":
    assert sqlite3.sqlite_version == sys.argv[1], f"SQLite {sqlite3.sqlite_version} is loaded, not {sys.argv[1]}"
    live(Path(sys.argv[2]))
