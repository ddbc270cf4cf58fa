"""Logs that earlier versions of the tables wrote, kept as SQL: they open, are brought up to date, and go on."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from delivery_stage import Counted, Placed, standing_still
from fixture_stage import Reminded, Shop

from eventbus import Retry
from eventbus.store.schema import SCHEMA_VERSION
from eventbus.testing import FakeClock

LOGS = Path(__file__).parent / "logs"


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    """Three events of two streams; of "stock" two deliveries are dead and one is held."""
    path = tmp_path / "log.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((LOGS / "version-1.sql").read_text())
    return path


@pytest.fixture
def version_2(tmp_path: Path) -> Path:
    """What tests/fixture_stage.py wrote: every room has something."""
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((LOGS / "version-2.sql").read_text())
    return path


def tables(path: Path) -> dict[str, str]:
    """What is made, without comments and spaces: a column that was added later has none."""
    with closing(sqlite3.connect(path)) as connection:
        columns = {
            name: str(sorted(row[1:] for row in connection.execute(f"PRAGMA table_xinfo({name})")))
            for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view', 'index')")
            if name.startswith(("eventbus_", "sqlite_"))
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


def test_a_log_of_version_2_has_the_tables_of_a_new_one(version_2: Path, tmp_path: Path) -> None:
    """If this release makes others, they are version 3; while 2 is not released, write the fixture anew."""
    with standing_still(version_2) as bus:
        assert bus.log.head == 5
    with standing_still(tmp_path / "new.db") as bus:
        bus.start()
    assert tables(version_2) == tables(tmp_path / "new.db")


def test_every_room_of_a_log_of_version_2_goes_on_where_it_was(version_2: Path) -> None:
    clock = FakeClock(seed=8)
    shop = Shop(fails=False)
    with standing_still(version_2, clock, source="shop") as bus:
        shop.declare(bus)
        assert bus.publish(Placed("1", 1), idempotency_key="order 1").duplicate
        assert [letter.error for letter in bus.dead_letters.list()] == ["Oops: no"]
        bus.dead_letters.retry(1, subscription="mail")
        clock.advance(700)
        bus.drain()
        assert shop.charges == [], "its result is remembered"
        assert {"mail 1", "charge 1", "ask 1", "ask 5", "ask 9"} == set(shop.given)
        assert bus.query("SELECT number FROM stock ORDER BY number") == [{"number": each} for each in (1, 5, 9)]
        clock.advance(86_400)
        bus.drain()
        assert {envelope.event.text for envelope in bus.log.read(types=Reminded)} == {"once", "hourly"}
        assert [letter.subscription for letter in bus.dead_letters.list()] == ["eventbus.gaps"]
        bus.ingest(Counted(6), source="warehouse", id="w-2", sequence=2)
        bus.drain()
        assert [each.event.number for each in bus.log.read(types=Counted)] == [1, 5, 9, 6, 7]
