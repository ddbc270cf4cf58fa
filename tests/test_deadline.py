"""A transaction that keeps the log locked for too long is taken away: nothing of it is stored, and others go on."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bus_stage import PATIENCE, Placed, elsewhere, run
from delivery_stage import Counted, standing_still

from eventbus import Context, EventBus, EventBusError, Projection, Retry, Table, Transaction, handles
from eventbus.clock import Bell, SystemClock
from eventbus.errors import HandlerTimeout, TransactionTimeout
from eventbus.retry import fixed
from eventbus.testing import FakeClock

COUNT_FOR_EVER = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["file", "memory"])
def bus(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[EventBus]:
    bus = standing_still(tmp_path / "events.db" if request.param == "file" else None, clock)
    with bus.transaction() as tx:
        tx.execute("CREATE TABLE orders (id TEXT)")
    yield bus
    bus.close()


@contextmanager
def ending_in(error: type[Exception], bus: EventBus) -> Generator[Transaction]:
    """A transaction whose block ends with this error."""
    with pytest.raises(error), bus.transaction() as tx:
        yield tx


def orders(bus: EventBus) -> list[str]:
    return [row["id"] for row in bus.query("SELECT id FROM orders ORDER BY id", ())]


# --- bus.transaction() ----------------------------------------------------------------------------------


def test_an_overdue_transaction_stores_nothing_and_says_so_at_its_next_use(bus: EventBus, clock: FakeClock) -> None:
    def use_late() -> None:
        with bus.transaction() as tx:
            tx.execute("INSERT INTO orders VALUES ('undone')")
            tx.publish(Placed(1))
            clock.advance(5)
            tx.execute("INSERT INTO orders VALUES ('late')")

    with pytest.raises(TransactionTimeout, match="open for longer than 5 s") as caught:
        use_late()
    assert (caught.value.seconds, caught.value.stored) == (5.0, "not stored")
    assert (orders(bus), bus.log.head) == ([], 0)


def test_an_overdue_transaction_says_so_at_its_end(bus: EventBus, clock: FakeClock) -> None:
    heard: list[Any] = []
    bus.on(Placed, handler=heard.append)
    with ending_in(TransactionTimeout, bus) as tx:
        tx.publish(Placed(1))
        clock.advance(5)
    assert (bus.log.head, heard) == (0, [])


def test_each_use_of_an_overdue_transaction_says_the_same(bus: EventBus, clock: FakeClock) -> None:
    with ending_in(TransactionTimeout, bus) as tx:
        tx.execute("INSERT INTO orders VALUES ('a')")
        unread, connection, database = tx.execute("SELECT * FROM orders"), tx.connection, tx.db
        clock.advance(6)
        for use in (
            lambda: tx.execute("SELECT 1"),
            lambda: tx.executemany("INSERT INTO orders VALUES (?)", [("b",)]),
            lambda: tx.publish(Placed(1)),
            lambda: connection.execute("SELECT 1"),
            lambda: list(database.query("SELECT 1")),
            unread.fetchone,
            unread.fetchall,
            lambda: next(unread),
        ):
            with pytest.raises(TransactionTimeout):
                use()
    assert orders(bus) == []


def test_the_buss_own_statements_of_an_overdue_transaction_say_the_same(bus: EventBus, clock: FakeClock) -> None:
    with ending_in(TransactionTimeout, bus):
        guest = bus._attachment.engine().storage.guest()
        clock.advance(5)
        with pytest.raises(TransactionTimeout), guest.ours():
            guest.connection.execute("SELECT 1")


def test_an_error_of_the_overdue_code_is_not_replaced(bus: EventBus, clock: FakeClock) -> None:
    with ending_in(KeyError, bus):
        clock.advance(5)
        raise KeyError


def test_a_transaction_within_its_time_is_committed(bus: EventBus, clock: FakeClock) -> None:
    for number in range(3):
        with bus.transaction() as tx:
            clock.advance(4.9)
            tx.execute("INSERT INTO orders VALUES (?)", (str(number),))
    clock.advance(100)
    assert orders(bus) == ["0", "1", "2"]


def test_others_go_on_once_a_transaction_is_overdue(bus: EventBus, clock: FakeClock) -> None:
    opened, passed = threading.Event(), threading.Event()
    ended: list[bool] = []

    def stay() -> None:
        with ending_in(TransactionTimeout, bus) as tx:
            tx.execute("INSERT INTO orders VALUES ('undone')")
            opened.set()
            assert passed.wait(PATIENCE)
        ended.append(True)

    thread = threading.Thread(target=stay)
    thread.start()
    assert opened.wait(PATIENCE)
    clock.advance(5)
    assert elsewhere(lambda: bus.publish(Placed(1))).position == 1
    with bus.transaction() as tx:
        tx.execute("INSERT INTO orders VALUES ('kept')")
        passed.set()
        thread.join(PATIENCE)  # the overdue one ends while this one is open, and leaves it alone
        assert ended
        tx.publish(Placed(2))
    assert (orders(bus), bus.log.head) == (["kept"], 2)


def test_a_statement_that_never_ends_is_interrupted(bus: EventBus, clock: FakeClock) -> None:
    counting = threading.Event()
    ended: list[bool] = []

    def hang() -> None:
        with ending_in(TransactionTimeout, bus) as tx:
            tx.connection.create_function("noticed", 0, counting.set)
            tx.execute("SELECT noticed()").fetchone()
            tx.execute(COUNT_FOR_EVER).fetchone()
        ended.append(True)

    thread = threading.Thread(target=hang)
    thread.start()
    assert counting.wait(PATIENCE)
    clock.advance(5)
    thread.join(PATIENCE)
    assert ended
    assert bus.publish(Placed(1)).position == 1


def test_an_overdue_transaction_of_a_coroutine_lets_the_others_go_on(bus: EventBus, clock: FakeClock) -> None:
    async def main() -> int:
        positions: list[int] = []

        async def use_late() -> None:
            async with bus.transaction() as tx:
                tx.execute("INSERT INTO orders VALUES ('undone')")
                clock.advance(5)
                positions.append((await bus.publish_async(Placed(1))).position)
                tx.publish(Placed(2))

        async def end_late() -> None:
            async with bus.transaction():
                clock.advance(5)

        for late in (use_late, end_late):
            with pytest.raises(TransactionTimeout):
                await late()
        return positions[0]

    assert run(main()) == 1
    assert (orders(bus), bus.log.head) == ([], 1)


def test_a_bus_closes_beside_an_overdue_transaction(bus: EventBus, clock: FakeClock) -> None:
    with ending_in(TransactionTimeout, bus):
        clock.advance(5)
        elsewhere(bus.close)


# --- transactional handlers -----------------------------------------------------------------------------


def test_an_overdue_handler_is_one_failed_attempt(bus: EventBus, clock: FakeClock) -> None:
    slow = [3, 3]
    attempts: list[tuple[int, int]] = []

    def handler(counted: Counted, ctx: Context) -> None:
        ctx.tx.execute("INSERT INTO orders VALUES (?)", (str(counted.number),))
        ctx.publish(Placed(counted.number))
        attempts.append((counted.number, ctx.attempt))
        if counted.number in slow:
            slow.remove(counted.number)
            clock.advance(5)

    retry = Retry(attempts=2, backoff=fixed(1.0))
    bus.subscribe("slow", Counted, handler=handler, transactional=True, retry=retry)
    bus.publish_many([Counted(number) for number in range(1, 5)])
    bus.drain()
    assert orders(bus) == ["1", "2", "4"]
    (row,) = bus.query("SELECT error_type, message, traceback FROM eventbus_attempts", ())
    assert row["error_type"] == "HandlerTimeout"
    assert "Handler of 'slow' ran longer than 5 s" in row["message"]
    assert "TransactionTimeout" in row["traceback"]
    clock.advance(1)
    assert bus.drain() == 1
    assert (orders(bus), attempts[-1]) == (["1", "2", "3", "4"], (3, 2))
    assert [envelope.event.number for envelope in bus.log.read(types=Placed)] == [1, 2, 4, 3]


def test_a_handler_that_uses_its_transaction_too_late_is_overdue_whatever_it_makes_of_it(
    bus: EventBus, clock: FakeClock
) -> None:
    def handler(counted: Counted, ctx: Context) -> None:
        clock.advance(5)
        try:
            ctx.tx.execute("INSERT INTO orders VALUES ('late')")
        except sqlite3.Error:
            pytest.fail("it is an error of ours")
        except EventBusError as error:
            raise ValueError("mine") from error

    bus.subscribe("slow", Counted, handler=handler, transactional=True, retry=Retry(on={HandlerTimeout: "dead"}))
    bus.publish(Counted(1))
    bus.drain()
    assert bus.subscriptions["slow"].counts == {"dead": 1}
    assert orders(bus) == []


def test_an_overdue_projection_stops_with_the_reason(bus: EventBus, clock: FakeClock) -> None:
    class Counts(Projection):
        counts = Table("number INTEGER")

        @handles(Counted)
        def counted(self, counted: Counted, tx: Transaction) -> None:
            clock.advance(5)

    bus.project(Counts)
    bus.publish(Counted(1))
    bus.drain()
    (row,) = bus.query("SELECT error FROM eventbus_deliveries", ())
    assert row["error"].startswith("HandlerTimeout")


def test_an_overdue_replay_changes_nothing_and_leaves_the_log_to_others(bus: EventBus, clock: FakeClock) -> None:
    def handler(counted: Counted, ctx: Context) -> None:
        if ctx.is_replay:
            clock.advance(5)
        ctx.tx.execute("INSERT INTO orders VALUES ('x')")

    bus.subscribe("slow", Counted, handler=handler, transactional=True)
    bus.publish(Counted(1))
    bus.drain()
    (replayed,) = bus.subscriptions["slow"].replay(bus.log.read())
    assert isinstance(replayed.error, TransactionTimeout)
    assert bus.publish(Counted(2)).position == 2
    assert orders(bus) == ["x"]


# --- the watch ------------------------------------------------------------------------------------------


class Passing(SystemClock):
    """A clock of a machine whose time passes once `passes` is set, and then at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.passes = 0.0, threading.Event()

    def monotonic(self) -> float:
        return self.now

    def wait(self, bell: Bell, timeout: float | None) -> bool:
        assert self.passes.wait(PATIENCE)
        self.now += timeout or 0.0
        return False


def watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "eventbus-watch"]


def test_on_the_clock_of_the_machine_one_thread_watches_and_ends_when_there_is_nothing_to_watch() -> None:
    clock = Passing()
    before = set(watchers())
    bus = EventBus(clock=clock, delivery="manual")
    for _ in range(3):
        with bus.transaction() as tx:
            tx.publish(Placed(1))
    (watcher,) = set(watchers()) - before
    with ending_in(TransactionTimeout, bus) as tx:
        tx.publish(Placed(2))
        clock.passes.set()
        turnstile = bus._attachment.engine().storage.turnstile
        elsewhere(lambda: turnstile.turn().__enter__())
    watcher.join(PATIENCE)
    assert not watcher.is_alive()
    assert bus.log.head == 3
    bus.close()


def test_a_bus_without_transactions_has_no_watcher() -> None:
    before = watchers()
    with EventBus() as bus:
        bus.publish(Placed(1))
        assert watchers() == before
