"""Logs that earlier versions of the tables wrote, kept as SQL, and what has to become of each when a bus goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from delivery_stage import Counted, Placed, standing_still
from fixture_stage import Reminded, Shop

from eventbus import Retry
from eventbus.testing import FakeClock

LOGS = Path(__file__).parent / "logs"


def lay_out(version: str, path: Path) -> Path:
    """Make the log of a version ("version-1") at `path`."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((LOGS / f"{version}.sql").read_text())
    return path


def go_on_from_1(path: Path) -> None:
    """It has three events of two streams; of "stock" two deliveries are dead and one is held."""
    numbers: list[int] = []
    with standing_still(path, FakeClock(seed=8), source="log") as bus:
        bus.subscribe(
            "stock", Counted, Placed, handler=lambda event: numbers.append(event.number), retry=Retry(attempts=1)
        )
        assert bus.publish(Counted(3), stream="item-2", idempotency_key="k").duplicate
        bus.dead_letters.edit(1, Counted(7))
        bus.dead_letters.retry(subscription="stock")
        bus.drain()
        assert sorted(numbers) == [2, 3, 7]
        assert not bus.subscriptions["stock"].counts


def go_on_from_2(path: Path) -> None:
    """It is what tests/fixture_stage.py wrote: every room has something."""
    clock = FakeClock(seed=8)
    shop = Shop(fails=False)
    with standing_still(path, clock, source="shop") as bus:
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


GO_ON: dict[str, Callable[[Path], None]] = {"version-1": go_on_from_1, "version-2": go_on_from_2}
"""For each log that is kept."""
