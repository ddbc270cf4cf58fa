"""What the tests of the outbox share: an event, ways to insert rows, and what became of them."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import Any, NoReturn

import pytest

from eventbus import EventBus, event

ORDERED = "outbox.Ordered"


@event(name=ORDERED, stream="order-{order_id}")
class Ordered:
    order_id: str
    number: int = 0


def row(number: int, order_id: str = "a", **columns: Any) -> dict[str, Any]:
    """A row as an application writes it."""
    payload = json.dumps({"order_id": order_id, "number": number}, separators=(",", ":"))
    return {"event_type": ORDERED, "payload": payload, **columns}


def insert_into(connection: sqlite3.Connection, rows: Iterable[dict[str, Any]]) -> None:
    """Insert rows, without a commit of its own in an open transaction."""
    for columns in rows:
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        connection.execute(f"INSERT INTO eventbus_outbox ({names}) VALUES ({marks})", tuple(columns.values()))


def insert(path: Path, *rows: dict[str, Any]) -> None:
    """Insert and commit, as a program that knows no bus does."""
    with closing(sqlite3.connect(path)) as connection, connection:
        insert_into(connection, rows)


def waiting(path: Path) -> int:
    """How many rows are in the outbox of a file."""
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM eventbus_outbox").fetchone()
    return int(count)


def numbers(bus: EventBus) -> list[int]:
    """The numbers of the events that came into the log, in order."""
    return [envelope.event.number for envelope in bus.log.read(types=ORDERED)]


def reasons(bus: EventBus) -> list[str]:
    """Why rows were refused, in order."""
    return [envelope.event.reason for envelope in bus.log.read(types="eventbus.OutboxRefused")]


def other_database(folder: Path, name: str = "app.db", *, wal: bool = False) -> Path:
    """Another application's file, with a table of its own."""
    path = folder / name
    with closing(sqlite3.connect(path)) as connection:
        if wal:
            connection.execute("PRAGMA journal_mode = WAL").close()
        connection.execute("CREATE TABLE orders (id TEXT PRIMARY KEY)")
    return path


def missing(reason: str) -> NoReturn:
    """Skip the test, or fail it on CI."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{reason}; CI must have it")
    pytest.skip(reason)


def program(name: str) -> str:
    """The path of a program that a test needs."""
    return shutil.which(name) or missing(f"{name} is not installed")


def run(*command: str, given: str | None = None) -> str:
    """What a program prints; it must succeed."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
