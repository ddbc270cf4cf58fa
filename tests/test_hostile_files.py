"""Files and texts of somebody who means harm: the program and the library say so.

What chance does to a log is the tier `hostile` (reliability/tiers/hostile.py).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from damage import NASTY, changed, columns, whole_log
from hostile_stage import complaints

ENDLESS = "WITH RECURSIVE n(position) AS (SELECT 1 UNION ALL SELECT position + 1 FROM n)"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A log in which every room has something, as one file."""
    return whole_log(tmp_path_factory.mktemp("whole") / "shop.db")


def test_a_whole_log_is_not_complained_of(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "whole.db").write_bytes(whole)
    assert complaints(tmp_path, fully=True) == []


TABLES = ("eventbus_events", "eventbus_log", "eventbus_subscriptions", "eventbus_types", "eventbus_deliveries")


def test_tables_that_are_views_without_an_end_do_not_hang(whole: bytes, tmp_path: Path) -> None:
    for name in TABLES:
        endless = ", ".join(f"position AS {each}" for each in columns_of(whole, name))
        view = f"CREATE VIEW {name} AS {ENDLESS} SELECT {endless} FROM n"
        changed(tmp_path / f"{name}.db", whole, f"DROP TABLE {name}", view)
    assert complaints(tmp_path) == []


def columns_of(whole: bytes, name: str) -> list[str]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(whole.replace(b"\x02\x02", b"\x01\x01", 1))
        return [column for (column,) in connection.execute(f"SELECT name FROM pragma_table_info('{name}')")]


def test_triggers_and_columns_that_compute_without_an_end_do_not_hang(whole: bytes, tmp_path: Path) -> None:
    endless = f"{ENDLESS} SELECT count(*) FROM n"
    for table in ("eventbus_events", "eventbus_subscriptions", "eventbus_deliveries", "eventbus_outbox"):
        for verb in ("INSERT", "UPDATE", "DELETE"):
            trigger = f"CREATE TRIGGER sly AFTER {verb} ON {table} BEGIN {endless}; END"
            changed(tmp_path / f"{verb}-{table}.db", whole, trigger)
    computed = "ALTER TABLE eventbus_events ADD COLUMN more TEXT AS (hex(zeroblob(100000000))) VIRTUAL"
    changed(tmp_path / "computed.db", whole, computed)
    assert complaints(tmp_path) == []


def test_views_for_people_that_have_no_end_are_not_asked(whole: bytes, tmp_path: Path) -> None:
    for name in ("eventbus_event_log", "eventbus_dead_letters", "eventbus_lag", "mine"):
        changed(
            tmp_path / f"{name}.db",
            whole,
            f"DROP VIEW IF EXISTS {name}",
            f"CREATE VIEW {name} AS {ENDLESS} SELECT * FROM n",
        )
    assert complaints(tmp_path) == []


def test_foreign_schemas_are_no_crash(whole: bytes, tmp_path: Path) -> None:
    changed(tmp_path / "columns.db", whole, "DROP TABLE eventbus_events", "CREATE TABLE eventbus_events (position, id)")
    changed(
        tmp_path / "virtual.db", whole, "DROP TABLE eventbus_steps", "CREATE VIRTUAL TABLE eventbus_steps USING fts5(a)"
    )
    changed(tmp_path / "upper.db", whole, "DROP TABLE eventbus_keys", "CREATE TABLE EVENTBUS_KEYS (a)")
    changed(
        tmp_path / "index.db", whole, "DROP INDEX eventbus_events_stream", "CREATE TABLE eventbus_events_stream (a)"
    )
    changed(tmp_path / "unique.db", whole, "CREATE UNIQUE INDEX mine ON eventbus_events (type_id) WHERE position > 5")
    changed(
        tmp_path / "names.db",
        whole,
        'CREATE TABLE "a\x1b[31m""; --" (a)',
        'CREATE TRIGGER "\x1b[2J" AFTER INSERT ON eventbus_events BEGIN SELECT 1; END',
    )
    broken = "UPDATE sqlite_master SET sql = 'CREATE TABLE nonsense' WHERE name = 'eventbus_steps'"
    changed(tmp_path / "master.db", whole, "PRAGMA writable_schema = ON", broken)
    assert complaints(tmp_path) == []


TEXTS = {
    "nasty": NASTY,
    "no-utf8": "\udcff\udcfe",
    "long": "x" * 200_000,
    "empty": "",
    "deep": "[" * 100_000,
    "number": "9" * 5000,
}


@pytest.mark.parametrize("name", TEXTS)
def test_any_text_in_any_field_is_no_crash(whole: bytes, tmp_path: Path, name: str) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(whole)
    raw = TEXTS[name].encode("utf-8", "surrogateescape")
    # One text is tried in each field alone; the others in a whole table at once, in which one may hide another.
    for table, column in columns(plain, ("TEXT", "ANY")):
        path = tmp_path / (f"{table}-{column}.db" if name == "nasty" else f"{table}.db")
        if not path.exists():
            path.write_bytes(whole)
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            sql = f"UPDATE OR IGNORE {table} SET {column} = CAST(? AS TEXT)"
            connection.execute(sql, (raw,))
    assert complaints(tmp_path) == []


def test_numbers_that_nobody_can_have_written_are_no_crash(whole: bytes, tmp_path: Path) -> None:
    largest, smallest = 2**63 - 1, -(2**63)
    for value in (largest, smallest):
        for table, column in (
            ("eventbus_subscriptions", "cursor"),
            ("eventbus_subscriptions", "claim"),
            ("eventbus_subscriptions", "start"),
            ("eventbus_deliveries", "attempts"),
            ("eventbus_events", "sequence"),
            ("eventbus_events", "position"),
            ("eventbus_inbox", "expected"),
            ("eventbus_schedules", "runs"),
            ("eventbus_log", "incarnation"),
            ("sqlite_sequence", "seq"),
        ):
            where = (
                "WHERE rowid = (SELECT max(rowid) FROM eventbus_events)" if column in ("sequence", "position") else ""
            )
            changed(tmp_path / f"{table}-{column}-{value}.db", whole, f"UPDATE {table} SET {column} = {value} {where}")
    assert complaints(tmp_path) == []
