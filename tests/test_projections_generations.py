"""A projection whose definition changed is built behind the old tables; readers see the old ones until it is done."""

from __future__ import annotations

from pathlib import Path

import pytest
from delivery_stage import Oops, standing_still
from projection_stage import Refunded, Sales, Sold, filled, sales, tables

from eventbus import EventBus, EventDefinitionError, Projection, Table, Transaction, handles

# --- a changed definition -------------------------------------------------------------------------------


class Doubled(Sales):
    name = "sales"
    version = 2

    def add(self, customer: str, orders: int, amount: int, tx: Transaction) -> None:
        super().add(customer, orders, 2 * amount, tx)


class Wider(Projection):
    name = "sales"
    sales = Table("customer TEXT PRIMARY KEY, orders INTEGER, total INTEGER, city TEXT", indexes=["city"])
    cities = Table("city TEXT")

    @handles(Sold)
    def sold(self, sold: Sold, tx: Transaction) -> None:
        tx.execute(f"INSERT OR IGNORE INTO {self.sales} VALUES (?, 1, 0, 'Ulm')", (sold.customer,))


def test_a_new_version_is_built_behind_the_old_one_and_swapped(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with standing_still(path) as bus:
        old = filled(bus)
    with standing_still(path) as bus:
        bus.project(Doubled)
        bus.publish(Sold("c0", 1))
        assert sales(bus) == old
        bus.drain()
        new = sales(bus)
        assert tables(bus) == ["sales", "sales__2"]
        assert len(bus.projections) == 1
    assert {customer: total for customer, (_, total) in new.items()} == {
        customer: 2 * total + 2 * (customer == "c0") for customer, (_, total) in old.items()
    }


def test_a_changed_table_is_built_behind_the_old_one_and_swapped(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with standing_still(path) as bus:
        old = filled(bus, 20)
    with standing_still(path) as bus:
        bus.project(Wider)
        assert bus.projections["sales"].state == "building"
        assert sales(bus) == old
        bus.drain()
        assert bus.projections["sales"].state == "active"
        assert bus.query("SELECT DISTINCT city FROM sales") == [{"city": "Ulm"}]
        assert tables(bus) == ["cities", "cities__2", "sales", "sales__2"]
    with standing_still(path) as bus:
        bus.project(Sales)
        bus.drain()
        assert sales(bus) == old
        assert tables(bus) == ["sales", "sales__3"]


def test_a_table_that_is_in_the_way_of_a_new_version_is_refused_and_the_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with standing_still(path) as bus:
        old = filled(bus, 20)
        with bus.transaction() as tx:
            tx.execute("CREATE TABLE cities (name)")
    with standing_still(path) as bus:
        with pytest.raises(EventDefinitionError, match="a table 'cities' in the file that no projection made"):
            bus.project(Wider)
        bus.drain()
        assert sales(bus) == old
        assert len(tables(bus)) == 3


def test_a_build_that_was_interrupted_goes_on_where_it_was(tmp_path: Path) -> None:
    path, handled = tmp_path / "log.db", list[int]()

    class Slow(Doubled):
        name = "sales"

        def add(self, customer: str, orders: int, amount: int, tx: Transaction) -> None:
            handled.append(amount)
            super().add(customer, orders, amount, tx)
            if len(handled) == 300:
                bus.projections["sales"]._engine.pump._runners.stopping = True  # as close() does

    with standing_still(path) as bus:
        old = filled(bus)
    with standing_still(path) as bus:
        bus.project(Slow)
        bus._attachment.engine().pump.step(here=True)
        bus._attachment.engine().pump.step(here=True)
    assert 0 < len(handled) < 700
    with standing_still(path) as bus:
        assert sales(bus) == old
        bus.project(Slow)
        bus.drain()
        assert {customer: total for customer, (_, total) in sales(bus).items()} == {
            customer: 2 * total for customer, (_, total) in old.items()
        }
        assert tables(bus) == ["sales", "sales__2"]
    assert len(handled) == 700


def test_a_drain_waits_for_what_is_declared_anew(tmp_path: Path) -> None:
    with standing_still(tmp_path / "log.db") as bus:
        live = filled(bus, 1500)
    with standing_still(tmp_path / "log.db") as bus:
        bus.project(Doubled)
        pump = bus._attachment.engine().pump
        for _ in range(3):
            pump.step(here=True)
        bus.project(Doubled)
        bus.drain()
        assert sum(total for _, total in sales(bus).values()) == 2 * sum(total for _, total in live.values())


# --- a new generation that fails, or is not wanted any more ---------------------------------------------


class Failing(Doubled):
    name = "sales"
    version = 3

    @handles(Refunded)
    def refunded(self, refunded: Refunded, tx: Transaction) -> None:
        raise Oops("no refunds")


def test_a_new_generation_that_failed_is_told_by_state_status_and_wait_for(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with EventBus(path) as bus:
        bus.project(Sales)
        bus.publish_many([Sold("a", 5), Refunded("a", 1)])
        bus.drain()
    with EventBus(path) as bus:
        bus.project(Failing)
        bus.drain()
        late = bus.publish(Sold("a", 5))
        status = bus.wait_for(late, "sales")
        assert (status, status.error) == ("held", "Oops: no refunds")
        assert [bus.status(position)["sales"] for position in (1, 2, 3)] == ["handled", "handled", "held"]
        assert (bus.projections["sales"].state, bus.projections["sales"].counts) == ("failed", {"dead": 1})
        assert sales(bus) == {"a": (1, 4)}


def test_the_event_at_which_a_new_generation_failed_is_dead_where_no_reader_has_seen_it(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with standing_still(path) as bus:
        bus.project(Sales)
        bus.publish(Sold("a", 5))
        bus.drain()
    with standing_still(path) as bus:
        bus.project(Failing)
        bus.publish_many([Sold("a", 5), Refunded("a", 1), Sold("a", 5)])
        assert bus.status(2)["sales"] == "waiting"
        bus.drain()
        assert [bus.status(position)["sales"] for position in (1, 2, 3, 4)] == ["handled", "held", "dead", "held"]


@pytest.mark.parametrize("successor", [Doubled, Failing])
def test_a_projection_is_forgotten_with_the_generation_that_is_being_filled(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, successor: type[Projection]
) -> None:
    path = tmp_path / "log.db"
    with standing_still(path) as bus:
        filled(bus)
    with standing_still(path) as bus:
        bus.project(successor)
        bus._attachment.engine().pump.step(here=True)
        bus.projections["sales"].forget()
        bus.publish(Sold("a", 1))
        assert bus.drain() == 0
        assert (tables(bus), list(bus.projections)) == ([], [])
        assert "by another process" not in caplog.text
