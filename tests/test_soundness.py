"""Values that their tables forbid, as a damaged page hands them out, are told of as damage."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cli_stage import run
from delivery_stage import standing_still
from earlier import lay_out
from fixture_stage import Shop

from eventbus.errors import LogCorrupt


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return lay_out("version-2", tmp_path / "shop.db")


def write_what_is_forbidden(path: Path, table: str, column: str, value: object) -> None:
    """Have the table forget its rules meanwhile."""
    with closing(sqlite3.connect(path)) as connection:
        (rules,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (table,)).fetchone()
        for sql in (rules.replace("STRICT, ", "").replace("STRICT", "").replace(" NOT NULL", ""), rules):
            connection.execute("PRAGMA writable_schema = ON")
            connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (sql, table))
            connection.commit()
            connection.execute("PRAGMA writable_schema = RESET")
            if sql != rules:
                connection.execute("PRAGMA ignore_check_constraints = ON")
                assert connection.execute(f"UPDATE {table} SET {column} = ?", (value,)).rowcount
                connection.commit()


def test_a_bus_says_that_its_log_is_damaged(path: Path) -> None:
    write_what_is_forbidden(path, "eventbus_breakers", "since", None)
    with pytest.raises(LogCorrupt, match=r"forbid: NULL value in eventbus_breakers.since"):
        deliver(path)


def deliver(path: Path) -> None:
    with standing_still(path, source="shop") as bus:
        Shop(fails=False).declare(bus)
        bus.drain()


def test_the_program_says_that_the_log_is_damaged(path: Path) -> None:
    write_what_is_forbidden(path, "eventbus_types", "bases", None)
    said = run("log", path).err
    assert "NULL value in eventbus_types.bases" in said
    assert "salvage" in said


def test_a_listing_shows_whatever_there_is(path: Path) -> None:
    write_what_is_forbidden(path, "eventbus_schedules", "catch_up", None)
    assert run("schedules", path).code == 0


def test_a_mistake_on_a_sound_log_stays_what_it_is(path: Path) -> None:
    with standing_still(path) as bus:
        storage = bus._attachment.engine().storage
        with pytest.raises(TypeError, match="ours"), storage.reading():
            raise TypeError("ours")
        with pytest.raises(TypeError, match="ours"), storage.writing():
            raise TypeError("ours")
