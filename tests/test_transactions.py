"""`with bus.transaction()`: rows and events in one commit, or neither; and who may not wait inside."""

import contextlib
import contextvars
import sqlite3
import threading

import pytest
from bus_stage import PATIENCE, Opened, Paid, Placed, at_once, elsewhere

from eventbus import EventBus, IdempotencyConflict, InvalidEvent, Projection, Table, WrongExpectedVersion, handles
from eventbus.errors import EventBusError


@pytest.fixture(params=["file", "memory"])
def bus(request, tmp_path):
    made = EventBus(tmp_path / "shop.db" if request.param == "file" else None, errors="raise", delivery="manual")
    with made.transaction() as tx:
        tx.execute("CREATE TABLE orders (id TEXT PRIMARY KEY, total REAL)")
    yield made
    made.close()


class Sales(Projection):
    totals = Table("number INTEGER PRIMARY KEY")

    @handles(Placed)
    def placed(self, placed, tx):
        tx.execute(f"INSERT INTO {self.totals} VALUES (?)", (placed.number,))


def orders(bus: EventBus) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in bus.query("SELECT id, total FROM orders ORDER BY id")]


def add(tx, id: str = "o-1", total: float = 1.0) -> None:
    tx.execute("INSERT INTO orders VALUES (?, ?)", (id, total))


class Broken(Exception):
    pass


def undone(bus: EventBus, *steps) -> None:
    """A transaction of `steps` that ends with an error."""

    def attempt() -> None:
        with bus.transaction() as tx:
            for step in steps:
                step(tx)
            raise Broken

    with pytest.raises(Broken):
        attempt()


# --- together or not at all --------------------------------------------------------------------------------


def test_rows_and_events_are_stored_together(bus):
    with bus.transaction() as tx:
        add(tx)
        id_ = tx.publish(Placed(1), stream="order-1", metadata={"by": "ada"})
    envelope = bus.log.get(id_)
    assert (envelope.event, envelope.stream, envelope.sequence) == (Placed(1), "order-1", 1)
    assert envelope.metadata == {"by": "ada"}
    assert orders(bus) == [("o-1", 1.0)]


def test_an_exception_takes_back_both_and_goes_on(bus):
    undone(bus, add, lambda tx: tx.publish(Placed(1)))
    assert orders(bus) == []
    assert bus.log.head == 0
    assert bus.publish(Placed(2)).position == 1


def test_sqlite_utils_works_in_it_and_is_undone_with_it(bus):
    with bus.transaction() as tx:
        tx.db["orders"].insert_all([{"id": "o-1", "total": 1.0}, {"id": "o-2", "total": 2.0}])
        tx.db["notes"].insert({"text": "first"})
        assert tx.db["orders"].count == 2
    undone(
        bus,
        lambda tx: tx.db["orders"].upsert({"id": "o-1", "total": 9.0}, pk="id"),
        lambda tx: tx.db["more"].insert({"a": 1}),
        lambda tx: tx.db["orders"].transform(rename={"total": "sum"}),
    )
    assert orders(bus) == [("o-1", 1.0), ("o-2", 2.0)]
    assert bus.query("SELECT name FROM sqlite_master WHERE name = 'more'") == []
    assert bus.query("SELECT text FROM notes") == [{"text": "first"}]


def test_many_rows_and_named_parameters(bus):
    with bus.transaction() as tx:
        tx.executemany("INSERT INTO orders VALUES (:id, :total)", [{"id": "a", "total": 1}, {"id": "b", "total": 2}])
        assert tx.execute("SELECT total FROM orders WHERE id = :id", {"id": "b"}).fetchone() == (2.0,)


def test_a_statement_that_fails_can_be_caught_and_the_rest_is_stored(bus):
    with bus.transaction() as tx:
        add(tx)
        with pytest.raises(sqlite3.IntegrityError):
            add(tx)
        tx.publish(Placed(1))
    assert (len(orders(bus)), bus.log.head) == (1, 1)


def test_what_publish_refuses_is_refused_and_the_rest_can_be_stored(bus):
    bus.publish(Placed(0), stream="order-1", idempotency_key="k")
    with bus.transaction() as tx:
        with pytest.raises(InvalidEvent):
            tx.publish(Placed("one"))
        with pytest.raises(WrongExpectedVersion):
            tx.publish(Placed(1), stream="order-1", expected_version=0)
        with pytest.raises(IdempotencyConflict):
            tx.publish(Placed(1), idempotency_key="k")
        first = tx.publish(Placed(2), stream="order-1", expected_version=1)
        tx.publish(Placed(3), stream="order-1", expected_version=2)
    assert [each.event.number for each in bus.log.read()] == [0, 2, 3]
    assert bus.log.get(first).sequence == 2


def test_a_duplicate_in_a_transaction_gives_the_first_id_and_tells_nobody(bus):
    heard = []
    bus.on("*", handler=heard.append)
    first = bus.publish(Placed(1), idempotency_key="k")
    with bus.transaction() as tx:
        assert tx.publish(Placed(1), idempotency_key="k") == first.id
        assert tx.publish(Paid(2), idempotency_key="l") == tx.publish(Paid(2), idempotency_key="l")
    assert heard == [Placed(1), Paid(2)]


def test_a_key_used_in_a_transaction_that_was_undone_is_free_again(bus):
    undone(bus, lambda tx: tx.publish(Opened("1"), idempotency_key="k"))
    assert not bus.publish(Opened("1"), idempotency_key="k").duplicate
    assert bus.log.get(1).event == Opened("1")


def test_transactions_of_many_threads_take_turns(bus):
    def work() -> None:
        for _ in range(10):
            with bus.transaction() as tx:
                (count,) = tx.execute("SELECT count(*) FROM orders").fetchone()
                add(tx, f"o-{count}")
                tx.publish(Placed(count), stream="orders", expected_version=count)

    at_once(*[work] * 4, lambda: [bus.publish(Paid(n)) for n in range(20)])
    assert len(orders(bus)) == 40
    assert bus.log.head == 60


def test_what_is_in_a_transaction_is_caused_by_what_is_handled(bus):
    @bus.on(Placed)
    def pay(placed):
        with bus.transaction() as tx:
            tx.publish(Paid(placed.number))

    root = bus.publish(Placed(1))
    assert bus.log.get(2).causation_id == root.id


# --- what it may not do ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "misdeed",
    [
        lambda tx: tx.execute("COMMIT"),
        lambda tx: tx.execute("ROLLBACK"),
        lambda tx: tx.execute("BEGIN"),
        lambda tx: tx.execute("ATTACH ':memory:' AS other"),
        lambda tx: tx.execute("DELETE FROM eventbus_events"),
        lambda tx: tx.execute("PRAGMA journal_mode = DELETE"),
        lambda tx: tx.connection.commit(),
        lambda tx: tx.connection.close(),
        lambda tx: tx.db.conn.rollback(),
        lambda tx: tx.db.execute("DROP TABLE eventbus_events"),
    ],
)
def test_it_can_neither_end_itself_nor_reach_for_what_is_not_the_apps(bus, misdeed):
    bus.publish(Placed(0))
    with bus.transaction() as tx:
        add(tx)
        with pytest.raises(EventBusError):
            misdeed(tx)
        tx.publish(Placed(1))
    assert (len(orders(bus)), bus.log.head) == (1, 2)


def test_a_transaction_that_a_statement_rolled_back_is_an_error_and_nothing_of_it_stays(bus):
    heard = []
    bus.on("*", handler=heard.append)

    def work() -> None:
        with bus.transaction() as tx:
            add(tx)
            tx.publish(Placed(1))
            with pytest.raises(sqlite3.IntegrityError):
                tx.connection.execute("INSERT OR ROLLBACK INTO orders VALUES ('o-1', 1)")
            with pytest.raises(EventBusError, match="rolled back"):
                tx.execute("INSERT INTO orders VALUES ('o-2', 2)")

    with pytest.raises(EventBusError, match="rolled back"):
        work()
    assert (orders(bus), bus.log.head, heard) == ([], 0, [])


def test_after_the_block_it_refuses_to_work(bus):
    with bus.transaction() as tx:
        add(tx)
        cursor = tx.execute("SELECT * FROM orders")
        connection, database = tx.connection, tx.db
    for use in (
        lambda: add(tx, "o-2"),
        lambda: tx.publish(Placed(1)),
        lambda: tx.executemany("INSERT INTO orders VALUES (?, 1)", [("o-2",)]),
        lambda: tx.db,
        lambda: connection.execute("SELECT 1"),
        lambda: database.execute("SELECT 1"),
    ):
        with pytest.raises(EventBusError):
            use()
    with pytest.raises(sqlite3.ProgrammingError):
        cursor.fetchone()
    assert (len(orders(bus)), bus.log.head) == (1, 0)


# --- live handlers -----------------------------------------------------------------------------------------


def test_live_handlers_hear_of_it_after_the_commit_on_the_same_thread(bus):
    heard = []

    @bus.on("*")
    def hear(event):
        heard.append((event, bus.log.head, threading.current_thread()))

    with bus.transaction() as tx:
        tx.publish(Placed(1))
        tx.publish(Paid(2))
        assert heard == []
    here = threading.current_thread()
    assert heard == [(Placed(1), 2, here), (Paid(2), 2, here)]


def test_of_what_was_undone_nobody_hears(bus):
    heard = []
    bus.on("*", handler=heard.append)
    with bus.recorded() as seen:
        undone(bus, lambda tx: tx.publish(Placed(1)))
    assert heard == seen == []


def test_of_what_a_savepoint_took_back_nobody_hears(bus):
    heard = []
    bus.on("*", handler=heard.append)
    with bus.recorded() as seen, bus.transaction() as tx:
        tx.publish(Placed(1))
        with contextlib.suppress(Broken), tx.db.atomic():
            tx.publish(Placed(2))
            tx.publish(Opened("new type"))
            raise Broken
        tx.execute("SAVEPOINT mine")
        tx.publish(Placed(3))
        tx.execute("ROLLBACK TO mine")
        tx.execute("RELEASE mine")
        tx.publish(Paid(4))
    assert heard == seen == [Placed(1), Paid(4)]
    assert [each.event for each in bus.log.read()] == [Placed(1), Paid(4)]
    bus.publish(Opened("new type"))
    assert bus.log.get(bus.log.head).event == Opened("new type")


def test_a_live_handler_may_open_the_next_transaction(bus):
    @bus.on(Placed)
    def pay(placed):
        with bus.transaction() as tx:
            add(tx, f"o-{placed.number}")
            tx.publish(Paid(placed.number))

    with bus.transaction() as tx:
        tx.publish(Placed(1))
    assert [each.event for each in bus.log.read()] == [Placed(1), Paid(1)]


def test_a_live_handler_that_fails_fails_after_the_commit(bus):
    @bus.on(Placed)
    def fail(placed):
        raise Broken

    def work() -> None:
        with bus.transaction() as tx:
            add(tx)
            tx.publish(Placed(1))

    with pytest.raises(Broken):
        work()
    assert (len(orders(bus)), bus.log.head) == (1, 1)


def test_durable_handlers_get_what_a_transaction_published(bus):
    handled = []
    bus.subscribe("orders", Placed, handler=handled.append)
    bus.project(Sales)
    with bus.transaction() as tx:
        tx.publish(Placed(7))
    assert bus.drain(PATIENCE) == 2
    assert handled == [Placed(7)]
    assert bus.query("SELECT number FROM totals") == [{"number": 7}]


def test_one_that_is_entered_and_left_in_different_contexts_ends_all_the_same(bus):
    for commit in (True, False):
        opening = bus.transaction()
        tx = contextvars.copy_context().run(opening.__enter__)
        tx.publish(Placed(1))
        error = None if commit else Broken()
        contextvars.copy_context().run(opening.__exit__, type(error) if error else None, error, None)
        with pytest.raises(EventBusError, match="over"):
            tx.publish(Placed(2))
    elsewhere(lambda: bus.publish(Placed(3)))
    assert [each.event for each in bus.log.read()] == [Placed(1), Placed(3)]


def test_one_transaction_is_entered_once(bus):
    opening = bus.transaction()
    with opening as tx:
        tx.publish(Placed(1))
    with pytest.raises(EventBusError, match="entered before") as caught, opening:
        pytest.fail("it was entered twice")
    assert caught.value.stored == "not stored"
    with pytest.raises(EventBusError, match="left before it began"):
        bus.transaction().__exit__(None, None, None)
    bus.publish(Placed(2))
    assert bus.log.head == 2
