"""What the app's tables share with the bus's: SQLite's table of AUTOINCREMENT counters, and the space of names."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from bus_stage import Placed

from eventbus import EventBus
from eventbus.errors import EventBusError


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[EventBus]:
    with EventBus(tmp_path / "shop.db", delivery="manual") as bus:
        bus.publish(Placed(1))
        with bus.transaction() as tx:
            tx.execute("CREATE TABLE orders (number INTEGER PRIMARY KEY AUTOINCREMENT, total REAL)")
        yield bus


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM sqlite_sequence -- where",
        "DELETE FROM SQLite_Sequence WHERE name = 'eventbus_events'",
        "UPDATE sqlite_sequence SET seq = 0",
        "INSERT INTO sqlite_sequence VALUES ('eventbus_events', 0)",
    ],
)
def test_the_bus_s_counters_cannot_be_changed_in_a_transaction(bus: EventBus, sql: str) -> None:
    with pytest.raises(EventBusError, match="counts the bus's positions"), bus.transaction() as tx:
        tx.execute(sql)
    assert bus.publish(Placed(2)).position == 2


@pytest.mark.parametrize("sql", ["DELETE FROM sqlite_sequence", "UPDATE sqlite_sequence SET seq = 0"])
def test_a_counter_that_something_else_has_changed_stops_no_publish(bus: EventBus, sql: str) -> None:
    with closing(bus.connect()) as connection:
        connection.execute(sql)
    with bus.transaction() as tx:
        tx.publish(Placed(2))
    with closing(bus.connect()) as connection:
        connection.execute(sql)
    assert bus.log.head == 2
    assert bus.publish(Placed(3)).position == 3


def run_through(connection: sqlite3.Connection) -> list[int]:
    """What SQLite does with the counter of a table: add, count, rename, drop."""
    connection.execute("INSERT INTO orders (total) VALUES (1.0)")
    connection.execute("DELETE FROM orders")
    connection.execute("ALTER TABLE orders RENAME TO sales")
    connection.execute("INSERT INTO sales (total) VALUES (1.0)")
    numbers = [number for (number,) in connection.execute("SELECT number FROM sales")]
    connection.execute("DROP TABLE sales")
    return numbers


def test_tables_of_the_apps_own_count_as_ever(bus: EventBus) -> None:
    with closing(bus.connect()) as connection:
        assert run_through(connection) == [2]
    with bus.transaction() as tx:
        tx.execute("CREATE TABLE orders (number INTEGER PRIMARY KEY AUTOINCREMENT, total REAL)")
        assert run_through(tx.connection) == [2]


def test_the_counter_of_an_own_table_can_be_set_back(bus: EventBus) -> None:
    with bus.transaction() as tx:
        tx.execute("INSERT INTO orders (total) VALUES (1.0)")
        tx.execute("DELETE FROM orders")
        tx.execute("DELETE FROM sqlite_sequence WHERE name = ?", ("orders",))
        tx.execute("INSERT INTO orders (total) VALUES (2.0)")
    assert bus.query("SELECT number FROM orders") == [{"number": 1}]


def test_sqlite_utils_transforms_a_table_that_counts(bus: EventBus) -> None:
    with bus.transaction() as tx:
        tx.db.table("orders").insert({"total": 1.0})
        tx.db.table("orders").transform(rename={"total": "sum"})
    assert bus.query("SELECT * FROM orders") == [{"number": 1, "sum": 1.0}]


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE orders RENAME TO eventbus_orders",
        'alter table orders rename /* to */ to "EventBus_orders"',
        "ALTER TABLE orders RENAME TO--\n[eventbus_orders]",
    ],
)
def test_no_table_takes_a_name_of_the_bus(bus: EventBus, sql: str) -> None:
    with pytest.raises(EventBusError, match="begin with eventbus_"), bus.transaction() as tx:
        tx.execute(sql)
    with bus.transaction() as tx:
        tx.execute("ALTER TABLE orders ADD COLUMN event INTEGER REFERENCES eventbus_events (position)")
        tx.execute("ALTER TABLE orders RENAME TO sales")
    assert bus.query("SELECT count(*) AS n FROM sales") == [{"n": 0}]
