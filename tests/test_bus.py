"""The bus as a whole: made, opened, shared, asked, closed."""

import contextlib
import os
import sqlite3
import stat
import threading
from pathlib import Path

import pytest
import sqlite_utils
from bus_stage import PATIENCE, Opened, Paid, Placed, at_once, elsewhere, run

from eventbus import EventBus, EventDefinitionError, Projection, Table, handles
from eventbus.errors import BusClosed, EventBusError, LogError, NotAnEventLog
from eventbus.testing import FakeClock


@pytest.fixture(params=["file", "memory"])
def bus(request, tmp_path):
    made = EventBus(tmp_path / "shop.db" if request.param == "file" else None, delivery="manual")
    yield made
    made.close()


# --- making one --------------------------------------------------------------------------------------------


def test_making_one_and_declaring_touches_nothing(tmp_path):
    bus = EventBus(tmp_path / "folder" / "shop.db")
    bus.on(Placed, handler=print)
    bus.subscribe("orders", Placed, handler=print)
    assert list(tmp_path.iterdir()) == []
    bus.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name == "nt", reason="modes of POSIX")
def test_the_first_use_makes_the_file_for_its_owner_only(tmp_path):
    path = tmp_path / "folder" / "shop.db"
    with EventBus(path):
        pass
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_source_can_be_told_and_is_the_files_name_otherwise(tmp_path):
    for settings, source in (({}, "shop"), ({"source": "web"}, "web")):
        with EventBus(tmp_path / "shop.db", delivery="manual", **settings) as bus:
            assert bus.log.get(bus.publish(Placed()).id).source == source


@pytest.mark.parametrize(
    "settings",
    [
        {"durability": "some"},
        {"delivery": "now"},
        {"errors": True},
        {"path": 3},
        {"source": 3},
        {"migrations": [1]},
        {"max_payload": 0},
        {"max_payload": True},
        {"max_payload": "1 MB"},
    ],
)
def test_settings_that_are_none_are_refused(settings):
    with pytest.raises(EventDefinitionError, match=next(iter(settings))):
        EventBus(**settings)


@pytest.mark.parametrize("durability", ["power", "process"])
def test_both_durabilities_store(tmp_path, durability):
    with EventBus(tmp_path / "shop.db", durability=durability, delivery="manual") as bus:
        bus.publish(Placed(1))
    with EventBus(tmp_path / "shop.db", delivery="manual") as bus:
        assert bus.log.get(1).event == Placed(1)


def test_two_in_memory_share_nothing():
    one, other = EventBus(delivery="manual"), EventBus(delivery="manual")
    one.publish(Placed())
    assert (one.log.head, other.log.head) == (1, 0)
    assert one.path is None
    one.close()
    other.close()


def test_threads_that_use_a_new_bus_at_once_open_it_once(bus):
    at_once(*[lambda: bus.publish(Placed())] * 8)
    assert bus.log.head == 8


def test_a_bus_that_could_not_be_opened_can_be_when_the_trouble_is_gone(tmp_path):
    (tmp_path / "shop.db").mkdir()
    bus = EventBus(tmp_path / "shop.db", delivery="manual")
    with pytest.raises(NotAnEventLog):
        bus.publish(Placed())
    (tmp_path / "shop.db").rmdir()
    assert bus.publish(Placed()).position == 1
    bus.close()


# --- several on one file -----------------------------------------------------------------------------------


def test_two_on_one_file_share_what_is_stored_and_close_independently(tmp_path):
    os.symlink(tmp_path, tmp_path / "link")
    one = EventBus(tmp_path / "shop.db", delivery="manual")
    other = EventBus(tmp_path / "link" / "shop.db", delivery="manual", source="other")
    handled = []
    one.subscribe("one", Placed, handler=lambda placed: handled.append(("one", placed.number)))
    other.subscribe("other", Placed, handler=lambda placed: handled.append(("other", placed.number)))
    one.publish(Placed(1))
    assert other.publish(Placed(2)).position == 2
    assert other.drain(PATIENCE) == 3
    assert handled == [("one", 1), ("one", 2), ("other", 2)]
    one.close()
    other.publish(Placed(3))
    assert other.drain(PATIENCE) == 1
    assert handled[3:] == [("other", 3)]
    assert other.subscriptions["one"].state == "orphan"
    other.close()
    with pytest.raises(BusClosed):
        other.publish(Placed())


def test_a_second_bus_with_other_settings_is_refused_at_its_first_use(tmp_path):
    with EventBus(tmp_path / "shop.db", delivery="manual") as one:
        one.publish(Placed())
        for settings in ({"durability": "process"}, {"errors": "raise"}, {"clock": FakeClock()}, {"max_payload": 9}):
            other = EventBus(tmp_path / "shop.db", **{"delivery": "manual", **settings})
            with pytest.raises(EventDefinitionError, match="other settings"):
                other.publish(Placed())
            other.close()
        assert one.publish(Placed()).position == 2
    with EventBus(tmp_path / "shop.db", durability="process", delivery="manual") as alone:
        assert alone.log.head == 2


def test_what_one_bus_published_the_other_decodes(tmp_path):
    one, other = (EventBus(tmp_path / "shop.db", delivery="manual") for _ in range(2))
    assert other.log.head == 0
    assert one.log.head == 0
    receipt = other.publish(Opened("7"))
    assert one.log.get(receipt.id).event == Opened("7")
    one.close()
    other.close()


# --- the app's own tables ----------------------------------------------------------------------------------


def a_customers_file(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE customers (name TEXT)")
    connection.execute("INSERT INTO customers VALUES ('Ada')")
    connection.execute("PRAGMA user_version = 7")
    connection.commit()
    connection.close()


def test_a_file_with_other_tables_is_refused_unless_it_is_to_be_adopted(tmp_path):
    path = tmp_path / "app.db"
    a_customers_file(path)
    before = path.read_bytes()
    bus = EventBus(path, delivery="manual")
    with pytest.raises(LogError):
        bus.publish(Placed())
    bus.close()
    assert path.read_bytes() == before
    with EventBus(path, adopt=True, delivery="manual") as bus:
        bus.publish(Placed(1))
        assert bus.query("SELECT name FROM customers") == [{"name": "Ada"}]
        with contextlib.closing(bus.connect()) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (7,)
    with EventBus(path, delivery="manual") as bus:
        assert bus.log.head == 1


def migrations(*steps: str) -> sqlite_utils.Migrations:
    made = sqlite_utils.Migrations("shop")
    for number, sql in enumerate(steps):

        def step(db: sqlite_utils.Database, sql: str = sql) -> None:
            db.execute(sql)

        made(name=f"step-{number}")(step)
    return made


def test_migrations_are_applied_once_and_go_on_where_they_were(tmp_path):
    first = "CREATE TABLE orders (id TEXT)"
    for steps in ((first,), (first, "ALTER TABLE orders ADD COLUMN total REAL")):
        for _ in range(2):
            bus = EventBus(tmp_path / "shop.db", migrations=migrations(*steps), delivery="manual")
            with bus, bus.transaction() as tx:
                tx.db["orders"].insert({"id": "o-1"})
    with EventBus(tmp_path / "shop.db", delivery="manual") as bus:
        assert bus.query("SELECT count(*) AS orders, count(total) AS totals FROM orders") == [
            {"orders": 4, "totals": 0}
        ]
        bus.publish(Placed())


def test_migrations_work_in_memory_and_for_a_bus_that_joins_another(tmp_path):
    with EventBus(migrations=migrations("CREATE TABLE notes (text TEXT)"), delivery="manual") as bus:
        assert bus.query("SELECT * FROM notes") == []
    one = EventBus(tmp_path / "shop.db", delivery="manual")
    other = EventBus(tmp_path / "shop.db", migrations=migrations("CREATE TABLE notes (text TEXT)"), delivery="manual")
    assert one.log.head == other.log.head == 0
    assert one.query("SELECT * FROM notes") == []
    one.close()
    other.close()


def test_a_migration_that_fails_fails_the_first_use_and_leaves_the_file_usable(tmp_path):
    bus = EventBus(tmp_path / "shop.db", migrations=migrations("CREATE TABLE broken ("), delivery="manual")
    with pytest.raises(LogError, match="could not apply the migrations"):
        bus.publish(Placed())
    bus.close()
    with EventBus(tmp_path / "shop.db", delivery="manual") as other:
        assert other.publish(Placed()).position == 1


def test_connect_gives_a_plain_connection_that_writes_beside_the_bus(tmp_path):
    with EventBus(tmp_path / "shop.db", delivery="manual") as bus:
        connection = bus.connect()
        connection.execute("CREATE TABLE notes (text TEXT)")
        connection.execute("INSERT INTO notes VALUES ('one')")
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert bus.query("SELECT text FROM notes") == [{"text": "one"}]
        assert bus.publish(Placed()).position == 1
        with pytest.raises(sqlite3.DatabaseError, match="not authorized"):
            connection.execute("DELETE FROM eventbus_events")
        connection.close()


def test_a_log_in_memory_has_no_file_to_connect_to():
    with EventBus(delivery="manual") as bus, pytest.raises(EventBusError, match="memory"):
        bus.connect()


# --- queries -----------------------------------------------------------------------------------------------


def test_query_takes_both_kinds_of_parameters_and_gives_dicts(bus):
    with bus.transaction() as tx:
        tx.db["orders"].insert_all([{"id": 1, "total": 5.0}, {"id": 2, "total": 15.0}])
    assert bus.query("SELECT * FROM orders WHERE total > ?", (10,)) == [{"id": 2, "total": 15.0}]
    assert bus.query("SELECT id FROM orders WHERE total < :most", {"most": 10}) == [{"id": 1}]
    assert bus.query("SELECT id FROM orders WHERE id > 7") == []


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO orders VALUES (1)",
        "DELETE FROM eventbus_events",
        "CREATE TABLE more (a)",
        "DROP TABLE orders",
        "PRAGMA journal_mode = DELETE",
        "ATTACH ':memory:' AS other",
        "BEGIN IMMEDIATE",
        "VACUUM",
        "UPDATE sqlite_master SET sql = ''",
        "UPDATE json_each SET value = 1",
    ],
)
def test_query_only_reads(bus, sql):
    bus.publish(Placed())
    with bus.transaction() as tx:
        tx.execute("CREATE TABLE orders (id INTEGER)")
    with pytest.raises((EventBusError, sqlite3.OperationalError)):
        bus.query(sql)
    assert bus.query("SELECT count(*) AS orders FROM orders") == [{"orders": 0}]
    assert bus.publish(Placed()).position == 2


@pytest.mark.parametrize(
    ("sql", "first"),
    [
        ("SELECT value FROM json_each('[4, 7]')", {"value": 4}),
        ("SELECT name FROM pragma_table_info('eventbus_outbox')", {"name": "position"}),
    ],
)
def test_query_reads_functions_that_are_tables(bus, sql, first):
    assert bus.query(sql)[0] == first


def test_query_sees_projections(bus):
    @bus.project
    class Counts(Projection):
        counts = Table("number INTEGER PRIMARY KEY")

        @handles(Placed)
        def placed(self, placed, tx):
            tx.execute(f"INSERT INTO {self.counts} VALUES (?)", (placed.number,))

    bus.publish(Placed(7))
    bus.drain(PATIENCE)
    assert bus.query("SELECT * FROM counts") == [{"number": 7}]


# --- the end -----------------------------------------------------------------------------------------------


def test_closing_again_does_nothing(bus):
    bus.publish(Placed())
    bus.close()
    bus.close()
    run(bus.close_async())


def test_closing_from_many_threads_at_once_is_fine(bus):
    bus.publish(Placed())
    at_once(*[bus.close] * 4)


def test_leaving_the_block_closes_also_after_an_error(tmp_path):
    bus = EventBus(tmp_path / "shop.db")

    def work() -> None:
        with bus:
            bus.publish(Placed())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    with pytest.raises(BusClosed):
        bus.publish(Placed())
    assert not (tmp_path / "shop.db-wal").exists()


def test_both_blocks_deliver_in_the_background(tmp_path):
    handled = threading.Event()
    with EventBus(tmp_path / "shop.db") as bus:
        bus.subscribe("orders", Placed, handler=lambda placed: handled.set())
        assert bus.wait_for(bus.publish(Placed()), "orders", timeout=PATIENCE) == "handled"
    assert handled.is_set()

    async def main() -> None:
        async with EventBus(tmp_path / "shop.db") as bus:
            bus.subscribe("orders", Placed, handler=lambda placed: None)
            receipt = await bus.publish_async(Placed())
            assert await bus.wait_for_async(receipt, "orders", timeout=PATIENCE) == "handled"

    run(main())


def test_start_may_be_called_again(bus):
    bus.start()
    bus.start()
    run(bus.start_async())
    assert bus.publish(Placed()).position == 1


def test_the_verbs_that_wait_name_their_async_form_on_a_loop(bus):
    bus.subscribe("orders", Placed, handler=lambda placed: None)
    receipt = bus.publish(Placed())

    async def main() -> None:
        with pytest.raises(EventBusError, match="drain_async"):
            bus.drain()
        with pytest.raises(EventBusError, match="wait_for_async"):
            bus.wait_for(receipt, "orders")
        assert await bus.drain_async(PATIENCE) == 1

    run(main())


def test_waiting_on_a_bus_that_delivers_nothing_names_drain(bus):
    bus.subscribe("orders", Placed, handler=lambda placed: None)
    receipt = bus.publish(Placed())
    with pytest.raises(EventBusError, match="drain"):
        elsewhere(lambda: bus.wait_for(receipt, "orders"))
    with pytest.raises(EventBusError, match="drain"):
        run(bus.wait_for_async(receipt, "orders"))


# --- recorded ----------------------------------------------------------------------------------------------


def test_recorded_shows_what_was_stored_while_the_block_ran_whoever_published_it(bus):
    bus.on(Placed, handler=lambda placed: bus.publish(Paid(placed.number)))
    bus.subscribe("accounts", Paid, handler=lambda paid, ctx: ctx.publish(Opened(str(paid.number))))
    bus.publish(Placed(0))
    with bus.recorded() as seen:
        bus.publish(Placed(1))
        bus.submit(Placed(2)).result(PATIENCE)
        with bus.transaction() as tx:
            tx.publish(Placed(3))
        bus.emit(Placed(4))
        bus.drain(PATIENCE)
    bus.publish(Paid(5))
    assert seen == [each.event for each in bus.log.read(after=2, until=bus.log.head - 1)]
    assert [each.account for each in seen if isinstance(each, Opened)] == ["0", "1", "2", "3", "4"]
