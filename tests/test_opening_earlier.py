"""Logs that earlier versions of the tables wrote, kept as SQL: they open, are brought up to date, and go on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from delivery_stage import Counted, standing_still
from earlier import GO_ON, LOGS, lay_out

from eventbus.store.schema import SCHEMA_VERSION


@pytest.fixture(params=GO_ON)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def earlier(version: str, tmp_path: Path) -> Path:
    return lay_out(version, tmp_path / "log.db")


def tables(path: Path) -> dict[str, str]:
    """What is made, without comments and spaces: a column that was added later has none."""
    with closing(sqlite3.connect(path)) as connection:
        columns = {
            name: str(sorted(row[1:] for row in connection.execute(f"PRAGMA table_xinfo({name})")))
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view', 'index')")
            if name.startswith(("eventbus_", "sqlite_"))
        }
    return {name: columns[name] for name in sorted(columns)}


def test_every_log_that_is_kept_is_tried() -> None:
    assert sorted(GO_ON) == sorted(path.stem for path in LOGS.iterdir())


def test_an_earlier_log_goes_on_where_it_was(version: str, earlier: Path) -> None:
    GO_ON[version](earlier)


def test_an_earlier_log_gets_the_tables_of_a_new_one(earlier: Path, tmp_path: Path) -> None:
    """If this release makes others than version-2.sql has, they are version 3; until 2 is released, write it anew."""
    with standing_still(earlier) as bus:
        assert bus.log.head > 0
        assert bus.query("SELECT schema_version FROM eventbus_log") == [{"schema_version": SCHEMA_VERSION}]
    with standing_still(tmp_path / "new.db") as bus:
        bus.start()
    assert tables(earlier) == tables(tmp_path / "new.db")


def test_a_log_of_version_1_has_its_events(tmp_path: Path) -> None:
    with standing_still(lay_out("version-1", tmp_path / "log.db")) as bus:
        assert [each.event for each in bus.log.read()] == [Counted(1), Counted(2), Counted(3)]
