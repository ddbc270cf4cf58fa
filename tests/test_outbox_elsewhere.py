"""The outbox of another application's database: each row once, in order, whoever crashes where."""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from bus_stage import Recorder
from delivery_stage import standing_still
from outbox_stage import ORDERED, Ordered, insert, insert_into, numbers, other_database, row, waiting
from test_outbox import Ticks
from test_several_processes import LONGEST

from eventbus import EventBus
from eventbus.errors import EventBusError, LogError, NotAnEventLog
from eventbus.store import outbox as store
from eventbus.store.opening import look
from eventbus.testing import FakeClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture(params=[False, True], ids=["rollback", "wal"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A database in each of SQLite's ways to commit."""
    return other_database(tmp_path, wal=request.param)


@pytest.fixture
def bus(path: Path) -> Iterator[EventBus]:
    with standing_still(path) as made:
        yield made


def noted(bus: EventBus) -> int:
    """How many rows of others the log remembers."""
    return int(bus.query("SELECT count(*) AS n FROM eventbus_outbox_moved")[0]["n"])


# --- what becomes of a row ----------------------------------------------------------------------------------


def test_rows_of_another_file_become_events(bus: EventBus, other: Path) -> None:
    bus.outbox(other)
    bus.on(Ordered, handler=(heard := Recorder()))
    insert(other, row(1, id="id-1", metadata='{"user": "ada"}'), row(2))
    bus.drain()
    assert heard.events == [Ordered("a", 1), Ordered("a", 2)]
    first = bus.log.get("id-1")
    assert first is not None
    assert (first.source, first.metadata, first.sequence) == ("app", {"user": "ada"}, 1)
    assert waiting(other) == 0


def test_business_rows_and_events_of_the_other_application_are_one_commit(bus: EventBus, other: Path) -> None:
    bus.outbox(other)
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("INSERT INTO orders VALUES ('a')")
        insert_into(connection, [row(1)])
        connection.rollback()
        bus.drain()
        assert bus.log.head == 0
        connection.execute("INSERT INTO orders VALUES ('b')")
        insert_into(connection, [row(2)])
        connection.commit()
    bus.drain()
    assert numbers(bus) == [2]


def test_many_rows_come_in_order_in_pages_and_little_is_remembered(bus: EventBus, other: Path) -> None:
    bus.outbox(other)
    insert(other, *(row(number, order_id=str(number % 7)) for number in range(2000)))
    bus.drain()
    assert numbers(bus) == list(range(2000))
    assert waiting(other) == 0
    assert noted(bus) <= store.PAGE


def test_the_name_is_the_source_of_its_events(bus: EventBus, other: Path) -> None:
    bus.outbox(other, name="warehouse")
    insert(other, row(1))
    bus.drain()
    assert [envelope.source for envelope in bus.log.read()] == ["warehouse"]


def test_what_was_there_before_the_bus_is_moved_and_so_is_what_comes_between(path: Path, other: Path) -> None:
    for first in (1, 3):
        with standing_still(path) as bus:
            bus.outbox(other)
            insert(other, row(first))
            bus.drain()
        insert(other, row(first + 1))
    with standing_still(path) as bus:
        bus.outbox(other)
        bus.drain()
        assert numbers(bus) == [1, 2, 3, 4]


def test_a_log_in_memory_reads_other_files_too(other: Path) -> None:
    with standing_still() as bus:
        bus.outbox(other)
        insert(other, row(1))
        bus.drain()
        assert numbers(bus) == [1]


def test_several_files_at_once(bus: EventBus, tmp_path: Path) -> None:
    files = [other_database(tmp_path, f"{name}.db") for name in "abc"]
    for number, file in enumerate(files):
        bus.outbox(file)
        insert(file, row(number), row(number + 10))
    bus.drain()
    assert sorted(numbers(bus)) == [0, 1, 2, 10, 11, 12]
    assert sorted({envelope.source for envelope in bus.log.read()}) == ["a", "b", "c"]


def test_once_it_is_closed_nothing_is_moved(bus: EventBus, other: Path) -> None:
    with bus.outbox(other):
        insert(other, row(1))
        bus.drain()
    insert(other, row(2))
    bus.drain()
    assert numbers(bus) == [1]
    assert waiting(other) == 1


def test_a_bus_that_leaves_takes_its_outboxes_along(path: Path, other: Path) -> None:
    clock = FakeClock()
    with standing_still(path, clock) as stays:
        assert stays.log.head == 0
        with standing_still(path, clock) as leaves:
            leaves.outbox(other, poll=0.5)
            insert(other, row(1))
            leaves.drain()
        insert(other, row(2))
        stays.drain()
        assert numbers(stays) == [1]


def test_a_bus_that_delivers_looks_by_itself(path: Path, other: Path) -> None:
    with EventBus(path) as bus:
        bus.on(Ordered, handler=(heard := Recorder()))
        bus.outbox(other, poll=0.01)
        insert(other, row(1))
        assert heard.heard(1) == [Ordered("a", 1)]


def test_a_bus_that_waits_already_looks_at_once_where_it_is_told_to(path: Path, other: Path) -> None:
    with EventBus(path, clock=Ticks()) as bus:
        bus.on(Ordered, handler=(heard := Recorder()))
        bus.outbox(other).close()
        insert(other, row(1))
        bus.outbox(other)
        assert heard.heard(1) == [Ordered("a", 1)]


def test_the_shortest_poll_is_how_often_the_bus_wakes(path: Path, tmp_path: Path) -> None:
    clock = Ticks()
    bus = EventBus(path, clock=clock)
    bus.outbox(other_database(tmp_path, "a.db"), poll=0.25)
    bus.outbox(other_database(tmp_path, "b.db"), poll=30)
    with bus:
        assert clock.asked.wait(LONGEST)
    assert clock.meant == {0.25}


def test_between_two_looks_the_file_is_left_alone(path: Path, other: Path) -> None:
    clock = FakeClock()
    with standing_still(path, clock) as bus:
        bus.outbox(other)
        pump = bus._attachment.engine().pump
        bus.drain()
        insert(other, row(1))
        pump.step(here=True)
        assert waiting(other) == 1
        clock.advance(1)
        pump.step(here=True)
        assert waiting(other) == 0


def test_an_empty_outbox_writes_neither_file(bus: EventBus, path: Path, other: Path) -> None:
    bus.outbox(other)
    insert(other, row(1))
    bus.drain()
    bus.drain()
    with closing(sqlite3.connect(path)) as own, closing(sqlite3.connect(other)) as others:
        before = [each.execute("PRAGMA data_version").fetchone() for each in (own, others)]
        for _ in range(3):
            bus.drain()
        assert [each.execute("PRAGMA data_version").fetchone() for each in (own, others)] == before


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_the_name_of_a_file_may_be_any_bytes(bus: EventBus, tmp_path: Path) -> None:
    other = other_database(tmp_path, os.fsdecode(b"app-\xff.db"))
    bus.outbox(other)
    insert(other, row(1), {"event_type": ORDERED, "payload": "oops"})
    bus.drain()
    assert numbers(bus) == [1]
    assert [letter.envelope.event.outbox for letter in bus.dead_letters.list()] == [f"{tmp_path}/app-\\xff.db"]  # type: ignore[union-attr]


# --- the table ----------------------------------------------------------------------------------------------


def test_the_table_is_there_when_outbox_returns_and_nothing_else_is_changed(path: Path, other: Path) -> None:
    bus = EventBus(path)
    with closing(sqlite3.connect(other)) as connection:
        before = connection.execute("PRAGMA journal_mode").fetchone()
        bus.outbox(other)
        bus.outbox(other)
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert names == {"orders", "eventbus_outbox", "sqlite_sequence"}
        assert connection.execute("PRAGMA journal_mode").fetchone() == before
        assert connection.execute("PRAGMA application_id").fetchone() == (0,)
    assert not path.exists()


def test_a_database_with_an_outbox_may_become_a_log(tmp_path: Path, path: Path) -> None:
    other = other_database(tmp_path)
    EventBus(path).outbox(other)
    insert(other, row(1))
    with standing_still(other, adopt=True) as bus:
        bus.drain()
        assert numbers(bus) == [1]
    look(other).close()


def test_a_file_that_was_replaced_gets_the_table_again(bus: EventBus, other: Path) -> None:
    bus.outbox(other)
    insert(other, row(1))
    bus.drain()
    for name in (other.name, f"{other.name}-wal", f"{other.name}-shm"):
        (other.parent / name).unlink(missing_ok=True)
    other_database(other.parent)
    bus.drain()
    insert(other, row(2))
    bus.drain()
    assert numbers(bus) == [1, 2]


def test_a_table_that_lacks_columns_is_refused(bus: EventBus, other: Path) -> None:
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE eventbus_outbox (id TEXT, event_type TEXT, payload TEXT)")
    with pytest.raises(LogError, match="eventbus_outbox lacks position, version, stream"):
        bus.outbox(other)


def test_a_file_that_is_not_there_is_refused_and_not_made(bus: EventBus, tmp_path: Path) -> None:
    with pytest.raises(LogError, match="there is no such database"):
        bus.outbox(tmp_path / "typo.db")
    assert not (tmp_path / "typo.db").exists()


def test_a_folder_is_called_one(bus: EventBus, tmp_path: Path) -> None:
    with pytest.raises(LogError, match="this is a folder") as caught:
        bus.outbox(tmp_path)
    assert caught.value.path == str(tmp_path)


def test_a_file_that_is_no_database_is_refused(bus: EventBus, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no database " * 1000)
    with pytest.raises(NotAnEventLog, match="not a SQLite database"):
        bus.outbox(tmp_path / "notes.txt")


def test_another_log_is_refused(bus: EventBus, tmp_path: Path) -> None:
    with standing_still(tmp_path / "log.db") as another:
        assert another.log.head == 0
        with pytest.raises(LogError, match="whose own bus moves its outbox"):
            bus.outbox(tmp_path / "log.db")


@pytest.mark.parametrize("name", ["", "x" * 1001])
def test_a_name_that_is_none_is_refused(bus: EventBus, other: Path, name: str) -> None:
    with pytest.raises(EventBusError, match="The name of an outbox must have"):
        bus.outbox(other, name=name)


def test_memory_is_nobody_else_s(bus: EventBus) -> None:
    with pytest.raises(EventBusError, match="in memory"):
        bus.outbox(":memory:")


# --- trouble ------------------------------------------------------------------------------------------------


def test_a_file_that_is_gone_is_said_once_and_stops_nothing(
    path: Path, other: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "eventbus.outbox")
    with standing_still(path) as bus:
        bus.outbox(other)
        moved_away = other.with_suffix(".away")
        assert bus.log.head == 0
        other.rename(moved_away)
        for number in (1, 2):
            insert(path, row(number))
            bus.drain()
        assert numbers(bus) == [1, 2]
        assert caplog.text.count("there is no such database") == 1
        moved_away.rename(other)
        insert(other, row(3))
        bus.drain()
        assert numbers(bus) == [1, 2, 3]
        assert "can be read again" in caplog.text


def test_a_lock_of_the_other_application_s_delays_and_loses_nothing(bus: EventBus, tmp_path: Path) -> None:
    other = other_database(tmp_path, wal=True)
    bus.outbox(other)
    insert(other, row(1), row(2))
    with closing(sqlite3.connect(other, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        bus.drain()
        assert numbers(bus) == [1, 2]
        assert waiting(other) == 2
        bus.drain()
        connection.execute("COMMIT")
    insert(other, row(3))
    bus.drain()
    assert numbers(bus) == [1, 2, 3]
    assert waiting(other) == 0
