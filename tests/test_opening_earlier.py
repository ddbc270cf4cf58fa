"""Logs that earlier versions of the tables wrote, kept as SQL: they open, are brought up to date, and go on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from delivery_stage import Counted, Placed, standing_still

from eventbus import Retry
from eventbus.store.schema import SCHEMA_VERSION

LOGS = Path(__file__).parent / "logs"


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    """Three events of two streams; of "stock" two deliveries are dead and one is held."""
    path = tmp_path / "log.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((LOGS / "version-1.sql").read_text())
    return path


def tables(path: Path) -> dict[str, str]:
    """What is made, without comments and spaces: a column that was added later has none."""
    with closing(sqlite3.connect(path)) as connection:
        columns = {
            name: str(sorted(row[1:] for row in connection.execute(f"PRAGMA table_xinfo({name})")))
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view', 'index')")
        }
    return {name: columns[name] for name in sorted(columns)}


def test_an_earlier_log_gets_the_tables_of_a_new_one(version_1: Path, tmp_path: Path) -> None:
    with standing_still(version_1) as bus:
        assert [each.event for each in bus.log.read()] == [Counted(1), Counted(2), Counted(3)]
        assert bus.query("SELECT schema_version FROM eventbus_log") == [{"schema_version": SCHEMA_VERSION}]
    with standing_still(tmp_path / "new.db") as bus:
        bus.start()
    assert tables(version_1) == tables(tmp_path / "new.db")


def test_an_earlier_log_goes_on_where_it_was(version_1: Path) -> None:
    numbers: list[int] = []
    with standing_still(version_1) as bus:
        bus.subscribe(
            "stock", Counted, Placed, handler=lambda event: numbers.append(event.number), retry=Retry(attempts=1)
        )
        assert bus.publish(Counted(3), stream="item-2", idempotency_key="k").duplicate
        bus.dead_letters.edit(1, Counted(7))
        bus.dead_letters.retry(subscription="stock")
        bus.drain()
        assert sorted(numbers) == [2, 3, 7]
        assert not bus.subscriptions["stock"].counts
