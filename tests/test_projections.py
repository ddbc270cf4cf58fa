"""Projections: how they are defined, what they may touch, in which order they run, and what readers see."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from delivery_stage import Counted, Notes, Oops, standing_still
from projection_stage import Gift, Refunded, Sales, Sold, sales, some, tables

from eventbus import EventBus, EventBusError, EventDefinitionError, Projection, Table, Transaction, handles
from eventbus.technical import ProjectionStopped

# --- definitions ----------------------------------------------------------------------------------------


def test_the_name_is_derived_from_the_class_unless_given() -> None:
    class DailyHTTPReport(Projection):
        pass

    class Named(Projection):
        name = "by hand"

    class Heir(Sales):
        pass

    assert (DailyHTTPReport.name, Named.name, Heir.name, Sales.name) == (
        "daily_http_report",
        "by hand",
        "heir",
        "sales",
    )


def refusal(cls: type[Projection]) -> str:
    with standing_still() as bus, pytest.raises(EventDefinitionError) as caught:
        bus.project(cls)
    return str(caught.value)


def projection(**members: Any) -> type[Projection]:
    @handles(Sold)
    def sold(self: Projection, sold: Sold, tx: Transaction) -> None:
        """Nothing."""

    return type("Bad", (Projection,), {"rows": Table("a"), "sold": sold} | members)


@pytest.mark.parametrize(
    ("members", "why"),
    [
        ({"rows": None}, "has no table"),
        ({"sold": None}, "handles no event"),
        ({"rows": Table("a TEXT PRIMARY")}, "the table 'rows' cannot be made"),
        ({"rows": Table("a); DROP TABLE b; --")}, "the table 'rows' cannot be made"),
        ({"rows": Table("a", indexes=["b"])}, "the table 'rows' cannot be made: .*no such column|no column named b"),
        ({"eventbus_rows": Table("a")}, "'eventbus_rows' cannot name a projection's table"),
        ({"sqlite_rows": Table("a")}, "'sqlite_rows' cannot name a projection's table"),
        ({"version": "1"}, "The version of projection 'bad' must be an int"),
        ({"version": True}, "The version of projection 'bad' must be an int"),
        ({"name": ""}, "cannot name a subscription"),
        ({"again": projection().sold}, "sold and again are both for 'shop.Sold'"),  # type: ignore[attr-defined]
    ],
)
def test_a_projection_that_cannot_work_is_refused_where_it_is_declared(members: dict[str, Any], why: str) -> None:
    assert re.search(why, refusal(projection(**members)))


@pytest.mark.parametrize("given", [object(), 5, "sales", int, Sold("a", 1)])
def test_what_is_no_projection_is_refused_with_a_sentence(given: Any) -> None:
    with pytest.raises(EventDefinitionError, match="takes a Projection, as a class or an instance, not "):
        EventBus().project(given)


def test_indexes_are_a_list() -> None:
    with pytest.raises(EventDefinitionError, match="indexes= is a list"):
        Table("a, b", indexes="a")


@pytest.mark.parametrize(
    "made", ["CREATE TABLE sales (a)", "CREATE VIEW sales AS SELECT 1", "CREATE TABLE sales__1 (a)"]
)
def test_what_somebody_else_made_is_not_replaced(made: str) -> None:
    with standing_still() as bus:
        with bus.transaction() as tx:
            tx.execute(made)
        with pytest.raises(EventDefinitionError, match="no projection made"):
            bus.project(Sales)
        bus.publish(Sold("a", 1))
        assert "sales" not in bus.projections
        assert len(tables(bus)) == 1


def test_two_projections_cannot_share_a_table() -> None:
    class Others(Sales):
        pass

    with standing_still() as bus:
        bus.project(Sales)
        bus.publish(Sold("a", 1))
        with pytest.raises(EventDefinitionError, match="'sales'"):
            bus.project(Others)
        bus.drain()
        assert sales(bus) == {"a": (1, 1)}
        assert list(bus.projections) == ["sales"]


def test_a_class_and_an_instance_are_given_back_as_they_are() -> None:
    instance = Sales()
    with standing_still() as bus:
        assert bus.project(instance) is instance
        assert bus.project(Sales) is Sales


# --- what readers see -----------------------------------------------------------------------------------


def test_a_projection_hears_the_log_from_its_beginning_and_subclasses_with_it() -> None:
    with standing_still() as bus:
        bus.publish_many([Sold("a", 10), Gift("a", 1)])
        bus.project(Sales)
        bus.publish_many([Sold("b", 5), Refunded("a", 3), Counted(1)])
        assert bus.drain() == 4
        assert sales(bus) == {"a": (2, 8), "b": (1, 5)}


def test_a_method_for_the_event_itself_comes_before_that_of_its_base() -> None:
    class Kinds(Projection):
        kinds = Table("kind TEXT")

        @handles(Sold)
        def sold(self, sold: Sold, tx: Transaction) -> None:
            tx.execute(f"INSERT INTO {self.kinds} VALUES ('sold')")

        @handles(Gift)
        def gift(self, gift: Gift, tx: Transaction) -> None:
            tx.execute(f"INSERT INTO {self.kinds} VALUES ('gift')")

    with standing_still() as bus:
        bus.project(Kinds)
        bus.publish_many([Sold("a", 1), Gift("a", 1)])
        bus.drain()
        assert bus.query("SELECT kind FROM kinds") == [{"kind": "sold"}, {"kind": "gift"}]


def test_a_projection_may_have_two_tables_and_indexes() -> None:
    class Report(Projection):
        customers = Table("customer TEXT PRIMARY KEY, city TEXT", indexes=["city", "city, customer"])
        lines = Table("number INTEGER PRIMARY KEY AUTOINCREMENT, customer TEXT")

        @handles(Sold)
        def sold(self, sold: Sold, tx: Transaction) -> None:
            tx.execute(f"INSERT OR IGNORE INTO {self.customers} VALUES (?, 'Ulm')", (sold.customer,))
            tx.execute(f"INSERT INTO {self.lines} (customer) SELECT customer FROM {self.customers}")

    with standing_still() as bus:
        bus.project(Report)
        bus.publish_many([Sold("a", 1), Sold("b", 1)])
        bus.drain()
        assert bus.query("SELECT count(*) AS n FROM lines JOIN customers USING (customer)") == [{"n": 3}]
        indexes = bus.query("SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'customers__1'")
        assert {"customers__1_index1", "customers__1_index2"} <= {row["name"] for row in indexes}


def test_query_only_reads() -> None:
    with standing_still() as bus:
        bus.project(Sales)
        bus.publish(Sold("a", 10))
        bus.drain()
        assert bus.query("SELECT total FROM sales WHERE total > :least", {"least": 5}) == [{"total": 10}]
        for sql in ("DELETE FROM sales__1", "DROP VIEW sales", "PRAGMA user_version = 3", "ATTACH 'x' AS y", "VACUUM"):
            with pytest.raises(EventBusError, match="query only reads"):
                bus.query(sql)
        assert sales(bus) == {"a": (1, 10)}


def test_wait_for_a_projection_means_that_readers_see_the_event() -> None:
    with EventBus() as bus:
        bus.project(Sales)
        for number in range(1, 20):
            receipt = bus.publish(Sold("a", 1))
            assert bus.wait_for(receipt, Sales) == "handled"
            assert sales(bus) == {"a": (number, number)}


def test_a_forgotten_projection_leaves_nothing_behind() -> None:
    with standing_still() as bus:
        bus.project(Sales)
        bus.publish(Sold("a", 1))
        bus.drain()
        bus.projections["sales"].forget()
        assert tables(bus) == []
        assert list(bus.projections) == []
        bus.project(Sales)
        bus.drain()
        assert sales(bus) == {"a": (1, 1)}


# --- what a projection may not do -----------------------------------------------------------------------


def misbehaving(act: Any) -> type[Projection]:
    class Nosy(Projection):
        rows = Table("a")

        @handles(Sold)
        def sold(self, sold: Sold, tx: Transaction) -> None:
            act(self, tx)

    return Nosy


@pytest.mark.parametrize(
    ("act", "why"),
    [
        (lambda self, tx: tx.execute("INSERT INTO mine VALUES (1)"), "its own tables only"),
        (lambda self, tx: tx.execute("SELECT * FROM mine"), "its own tables only"),
        (lambda self, tx: tx.execute("SELECT * FROM eventbus_events"), "its own tables only"),
        (lambda self, tx: tx.execute("SELECT * FROM rows"), "its own tables only"),
        (lambda self, tx: tx.execute(f"DROP TABLE {self.rows}"), "StatementRefused"),
        (lambda self, tx: tx.execute("CREATE TABLE more (a)"), "StatementRefused"),
        (lambda self, tx: tx.publish(Counted(1)), "cannot publish"),
    ],
)
def test_a_projection_touches_its_own_tables_only_and_publishes_nothing(act: Any, why: str) -> None:
    with standing_still() as bus:
        with bus.transaction() as tx:
            tx.execute("CREATE TABLE mine (a)")
        bus.project(misbehaving(act))
        bus.publish(Sold("a", 1))
        bus.drain()
        assert re.search(why, str(bus.status(1)["nosy"].error))
        assert bus.log.head == 1
        assert bus.query("SELECT * FROM mine UNION ALL SELECT * FROM rows") == []


# --- order and failures ---------------------------------------------------------------------------------


def fragile(broken: bool) -> type[Projection]:
    class Fragile(Sales):
        @handles(Sold)
        def sold(self, sold: Sold, tx: Transaction) -> None:
            self.add(sold.customer, 1, sold.amount, tx)
            if broken and sold.customer == "bad":
                raise Oops("cannot be sold")

    return Fragile


def test_a_projection_stops_at_a_failing_event_and_reports_it() -> None:
    told: list[ProjectionStopped] = []
    bus = standing_still()
    bus.on(ProjectionStopped, handler=told.append)
    bus.project(fragile(broken=True))
    first, bad, last = bus.publish_many([Sold("a", 1), Sold("bad", 1), Sold("a", 1)])
    assert bus.drain() == 1
    assert sales(bus) == {"a": (1, 1)}
    assert bus.status(first) == {"fragile": "handled"}
    assert bus.status(bad) == {"fragile": "dead"}
    assert bus.status(last) == {"fragile": "held"}
    bus.close()
    assert told == [ProjectionStopped("fragile", bad.id, "shop.Sold", 2, "Oops: cannot be sold")]


def test_a_stopped_projection_goes_on_once_its_code_is_mended(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    for _ in range(2):
        with standing_still(path) as bus:
            bus.project(fragile(broken=True))
            if bus.log.head == 0:
                bus.publish_many([Sold("a", 1), Sold("bad", 1), Sold("a", 1)])
            bus.drain()
            assert sales(bus) == {"a": (1, 1)}
    with standing_still(path) as bus:
        bus.project(fragile(broken=False))
        assert bus.drain() == 2
        assert sales(bus) == {"a": (2, 2), "bad": (1, 1)}
        assert bus.projections["fragile"].counts == {}


def test_a_stopped_projection_goes_on_when_it_is_mended_in_a_running_bus() -> None:
    with standing_still() as bus:
        bus.project(fragile(broken=True))
        bus.publish_many([Sold("bad", 1), Sold("a", 1)])
        bus.drain()
        bus.project(fragile(broken=False))
        assert bus.drain() == 2
        assert sales(bus) == {"a": (1, 1), "bad": (1, 1)}


def test_a_stopped_projection_stops_nobody_else() -> None:
    notes = Notes()
    with standing_still() as bus:
        bus.project(fragile(broken=True))
        bus.subscribe("others", Sold, handler=notes)
        bus.publish_many([Sold("bad", 1), Sold("a", 1)])
        assert bus.drain() == 2


def test_events_reach_a_projection_in_the_order_of_the_log() -> None:
    class Order(Projection):
        seen = Table("number INTEGER PRIMARY KEY, amount INTEGER")

        @handles(Sold, Refunded)
        def any(self, e: Sold | Refunded, tx: Transaction) -> None:
            tx.execute(f"INSERT INTO {self.seen} SELECT count(*), ? FROM {self.seen}", (e.amount,))

    events = some(700)
    with standing_still() as bus:
        bus.project(Order)
        bus.publish_many(events)
        bus.drain()
        rows = bus.query("SELECT amount FROM seen ORDER BY number")
    assert [row["amount"] for row in rows] == [event.amount for event in events]
