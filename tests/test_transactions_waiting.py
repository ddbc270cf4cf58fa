"""What waits for an open transaction, and what would wait for ever and is refused instead."""

import contextvars
import threading

import pytest
from bus_stage import PATIENCE, Placed, at_once, elsewhere

from eventbus import EventBus, Handlers, Projection, Table, Transaction, handles
from eventbus.errors import WouldDeadlock


@pytest.fixture(params=["file", "memory"])
def bus(request, tmp_path):
    made = EventBus(tmp_path / "shop.db" if request.param == "file" else None, errors="raise", delivery="manual")
    with made.transaction() as tx:
        tx.execute("CREATE TABLE orders (id TEXT PRIMARY KEY, total REAL)")
    yield made
    made.close()


def orders(bus: EventBus) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in bus.query("SELECT id, total FROM orders ORDER BY id")]


def add(tx, id: str = "o-1", total: float = 1.0) -> None:
    tx.execute("INSERT INTO orders VALUES (?, ?)", (id, total))


@pytest.mark.parametrize(
    "call",
    [
        lambda bus: bus.publish(Placed()),
        lambda bus: bus.publish_many([Placed()]),
        lambda bus: bus.submit(Placed()),
        lambda bus: bus.drain(),
        lambda bus: bus.wait_for(1, "orders"),
        lambda bus: bus.close(),
        lambda bus: bus.transaction().__enter__(),
        lambda bus: bus.subscriptions["orders"].pause(),
        lambda bus: bus.subscriptions["orders"].forget(),
    ],
    ids=["publish", "publish_many", "submit", "drain", "wait_for", "close", "transaction", "pause", "forget"],
)
def test_what_would_wait_for_the_open_transaction_raises_at_once(bus, call):
    bus.subscribe("orders", Placed, handler=lambda placed: None)
    bus.publish(Placed())

    def work() -> None:
        with bus.transaction() as tx:
            add(tx)
            with pytest.raises(WouldDeadlock):
                call(bus)

    elsewhere(work)
    assert (len(orders(bus)), bus.log.head) == (1, 1)


@pytest.mark.parametrize("verb", ["publish", "submit"])
def test_the_refusal_of_a_publish_names_the_way(bus, verb):
    with bus.transaction(), pytest.raises(WouldDeadlock, match=r"tx\.publish"):
        getattr(bus, verb)(Placed())


def test_reading_inside_a_transaction_never_hangs(bus):
    bus.subscribe("orders", Placed, handler=lambda placed: None)
    first = bus.publish(Placed(1))

    def work() -> None:
        with bus.transaction():
            assert bus.log.get(first.id).event == Placed(1)
            assert [each.event for each in bus.log.read()] == [Placed(1)]
            assert bus.log.head == 1
            try:
                bus.query("SELECT 1")
            except WouldDeadlock:
                assert bus.path is None

    elsewhere(work)


class Counts(Projection):
    counts = Table("number INTEGER")

    @handles(Placed)
    def count(self, placed: Placed, tx: Transaction) -> None:
        tx.execute(f"INSERT INTO {self.counts} VALUES (?)", (placed.number,))


def included(bus: EventBus) -> None:
    handlers = Handlers()
    handlers.subscribe("orders", Placed, handler=print)
    bus.include(handlers)


@pytest.mark.parametrize(
    "declare",
    [lambda bus: bus.subscribe("orders", Placed, handler=print), lambda bus: bus.project(Counts), included],
    ids=["subscribe", "project", "include"],
)
def test_what_is_declared_inside_a_transaction_is_refused_for_it_would_miss_what_that_publishes(bus, declare):
    def work() -> None:
        with bus.transaction() as tx:
            with pytest.raises(WouldDeadlock, match="before the with block"):
                declare(bus)
            tx.publish(Placed(1))

    elsewhere(work)
    assert [*bus.subscriptions, *bus.projections, *bus.declarations] == []
    declare(bus)
    assert len([*bus.subscriptions, *bus.projections]) == 1


def test_a_live_handler_connected_inside_a_transaction_hears_what_that_publishes(bus):
    heard = []
    with bus.transaction() as tx:
        bus.on(Placed, handler=heard.append)
        tx.publish(Placed(1))
    assert heard == [Placed(1)]


def test_emitting_inside_a_transaction_is_fine(bus):
    heard = []
    bus.on(Placed, handler=heard.append)
    with bus.transaction():
        bus.emit(Placed(1))
        assert heard == [Placed(1)]


def test_a_copied_context_does_not_remember_a_transaction_that_is_over(bus):
    with bus.transaction():
        copied = contextvars.copy_context()
    assert copied.run(bus.publish, Placed(1)).position == 1


def test_another_thread_waits_for_its_turn(bus):
    inside, go_on, done = threading.Event(), threading.Event(), []

    def hold() -> None:
        with bus.transaction() as tx:
            inside.set()
            go_on.wait(PATIENCE)
            tx.publish(Placed(1))

    def publish() -> None:
        inside.wait(PATIENCE)
        go_on.set()
        done.append(bus.publish(Placed(2)).position)

    at_once(hold, publish)
    assert done == [2]


def test_a_transaction_of_one_log_does_not_stand_in_the_way_of_another(bus):
    with EventBus() as other, bus.transaction() as tx:
        assert other.publish(Placed(1)).position == 1
        with other.transaction() as theirs:
            theirs.publish(Placed(2))
            with pytest.raises(WouldDeadlock, match=r"tx\.publish"):
                bus.publish(Placed(3))
        tx.publish(Placed(4))
        assert [envelope.event for envelope in other.log.read()] == [Placed(1), Placed(2)]
    assert [envelope.event for envelope in bus.log.read()] == [Placed(4)]
