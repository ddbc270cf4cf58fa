"""Files and texts of somebody who means harm, or of a disk that did: the program and the library say so."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from hostile_stage import complaints

LOGS = Path(__file__).parent / "logs"
TIMES = int(os.environ.get("EVENTBUS_HOSTILE", "1"))  # how much longer than in `make test` it looks for what breaks
FLIPS, CUTS = 12 * TIMES, 8 * TIMES
NASTY = "\x00\x07\x1b[2J\x1b]0;owned\x07\r\b\x7f\x9b31m\u202egnp.exe\u2066\u200b\u2028'; DROP TABLE eventbus_events; --"
ENDLESS = "WITH RECURSIVE n(position) AS (SELECT 1 UNION ALL SELECT position + 1 FROM n)"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A log in which every room has something, as one file."""
    path = tmp_path_factory.mktemp("whole") / "shop.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((LOGS / "version-2.sql").read_text())
        connection.execute("PRAGMA journal_mode = WAL")
    return path.read_bytes()


def changed(folder: Path, whole: bytes, name: str, *statements: str) -> None:
    """A log that somebody has worked on with the sqlite3 shell."""
    path = folder / f"{name}.db"
    path.write_bytes(whole)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_whole_log_is_not_complained_of(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "whole.db").write_bytes(whole)
    assert complaints(tmp_path, fully=True) == []


def test_flipped_bits_are_no_crash(whole: bytes, tmp_path: Path) -> None:
    for seed in range(FLIPS):
        chance = random.Random(seed)
        data = bytearray(whole)
        for _ in range(chance.choice((1, 8, 64))):
            at = chance.randrange(len(data))
            data[at] ^= 1 << chance.randrange(8)
        (tmp_path / f"flip-{seed}.db").write_bytes(data)
    assert complaints(tmp_path) == []


def test_flipped_bits_where_sqlite_keeps_its_books_are_no_crash(whole: bytes, tmp_path: Path) -> None:
    for seed in range(FLIPS):
        chance = random.Random(1000 + seed)
        data = bytearray(whole)
        for _ in range(3):
            page = chance.randrange(len(data) // 4096)
            data[page * 4096 + chance.randrange(100)] = chance.randrange(256)  # headers of pages, and cell pointers
        (tmp_path / f"page-{seed}.db").write_bytes(data)
    assert complaints(tmp_path) == []


def test_files_that_were_cut_off_are_no_crash(whole: bytes, tmp_path: Path) -> None:
    for seed in range(CUTS):
        chance = random.Random(seed)
        size = chance.choice((chance.randrange(200), chance.randrange(len(whole)), 4096 * chance.randrange(1, 40)))
        (tmp_path / f"cut-{seed}.db").write_bytes(whole[:size])
    assert complaints(tmp_path) == []


def test_a_wal_of_noise_is_no_crash(whole: bytes, tmp_path: Path) -> None:
    for seed in range(4):
        (tmp_path / f"noise-{seed}.db").write_bytes(whole)
        (tmp_path / f"noise-{seed}.db-wal").write_bytes(random.Random(seed).randbytes(9000))
        if seed % 2:
            (tmp_path / f"noise-{seed}.db-shm").write_bytes(random.Random(seed).randbytes(32768))
    assert complaints(tmp_path) == []


TABLES = ("eventbus_events", "eventbus_log", "eventbus_subscriptions", "eventbus_types", "eventbus_deliveries")


def test_tables_that_are_views_without_an_end_do_not_hang(whole: bytes, tmp_path: Path) -> None:
    for name in TABLES:
        columns = columns_of(whole, tmp_path, name)
        view = f"CREATE VIEW {name} AS {ENDLESS} SELECT {', '.join(f'position AS {each}' for each in columns)} FROM n"
        changed(tmp_path, whole, name, f"DROP TABLE {name}", view)
    assert complaints(tmp_path) == []


def columns_of(whole: bytes, folder: Path, name: str) -> list[str]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.deserialize(whole.replace(b"\x02\x02", b"\x01\x01", 1))
        return [column for (column,) in connection.execute(f"SELECT name FROM pragma_table_info('{name}')")]


def test_triggers_and_columns_that_compute_without_an_end_do_not_hang(whole: bytes, tmp_path: Path) -> None:
    endless = f"{ENDLESS} SELECT count(*) FROM n"
    for table in ("eventbus_events", "eventbus_subscriptions", "eventbus_deliveries", "eventbus_outbox"):
        for verb in ("INSERT", "UPDATE", "DELETE"):
            trigger = f"CREATE TRIGGER sly AFTER {verb} ON {table} BEGIN {endless}; END"
            changed(tmp_path, whole, f"{verb}-{table}", trigger)
    computed = "ALTER TABLE eventbus_events ADD COLUMN more TEXT AS (hex(zeroblob(100000000))) VIRTUAL"
    changed(tmp_path, whole, "computed", computed)
    assert complaints(tmp_path) == []


def test_views_for_people_that_have_no_end_are_not_asked(whole: bytes, tmp_path: Path) -> None:
    for name in ("eventbus_event_log", "eventbus_dead_letters", "eventbus_lag", "mine"):
        changed(
            tmp_path, whole, name, f"DROP VIEW IF EXISTS {name}", f"CREATE VIEW {name} AS {ENDLESS} SELECT * FROM n"
        )
    assert complaints(tmp_path) == []


def test_foreign_schemas_are_no_crash(whole: bytes, tmp_path: Path) -> None:
    changed(tmp_path, whole, "columns", "DROP TABLE eventbus_events", "CREATE TABLE eventbus_events (position, id)")
    changed(
        tmp_path, whole, "virtual", "DROP TABLE eventbus_steps", "CREATE VIRTUAL TABLE eventbus_steps USING fts5(a)"
    )
    changed(tmp_path, whole, "upper", "DROP TABLE eventbus_keys", "CREATE TABLE EVENTBUS_KEYS (a)")
    changed(tmp_path, whole, "index", "DROP INDEX eventbus_events_stream", "CREATE TABLE eventbus_events_stream (a)")
    changed(tmp_path, whole, "unique", "CREATE UNIQUE INDEX mine ON eventbus_events (type_id) WHERE position > 5")
    changed(
        tmp_path,
        whole,
        "names",
        'CREATE TABLE "a\x1b[31m""; --" (a)',
        'CREATE TRIGGER "\x1b[2J" AFTER INSERT ON eventbus_events BEGIN SELECT 1; END',
    )
    broken = "UPDATE sqlite_master SET sql = 'CREATE TABLE nonsense' WHERE name = 'eventbus_steps'"
    changed(tmp_path, whole, "master", "PRAGMA writable_schema = ON", broken)
    assert complaints(tmp_path) == []


def text_columns(path: Path) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [
            (table, column)
            for table in tables
            if table.startswith("eventbus_")
            for _, column, kind, *_ in connection.execute(f"PRAGMA table_info({table})")
            if kind in ("TEXT", "ANY") and connection.execute(f"SELECT count({column}) FROM {table}").fetchone()[0]
        ]


TEXTS = {
    "nasty": NASTY,
    "no-utf8": "\udcff\udcfe",
    "long": "x" * 1_000_000,
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
    for table, column in text_columns(plain):
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
            changed(tmp_path, whole, f"{table}-{column}-{value}", f"UPDATE {table} SET {column} = {value} {where}")
    assert complaints(tmp_path) == []
