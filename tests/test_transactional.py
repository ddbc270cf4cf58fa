"""Transactional handlers: their effects in the file and the cursor are one commit."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from delivery_stage import Counted, Notes, Oops, Paid, Placed, accounted, standing_still

from eventbus import Context, EventBus, EventDefinitionError, Retry
from eventbus.retry import fixed
from eventbus.testing import FakeClock

ONCE = Retry(attempts=1)


def with_tables(bus: EventBus) -> EventBus:
    with bus.transaction() as tx:
        tx.execute("CREATE TABLE shelf (number INTEGER PRIMARY KEY, name TEXT)")
        tx.execute("CREATE TABLE tray (number INTEGER REFERENCES shelf (number) DEFERRABLE INITIALLY DEFERRED)")
    return bus


def enforce_foreign_keys(bus: EventBus) -> None:
    guest = bus._attachment.engine().storage.guest()
    with guest.ours():
        guest.connection.execute("PRAGMA foreign_keys = ON")


def numbers(bus: EventBus, table: str = "shelf") -> list[int]:
    return [row["number"] for row in bus.query(f"SELECT number FROM {table} ORDER BY rowid")]


def put(counted: Counted, ctx: Context) -> None:
    ctx.tx.execute("INSERT INTO shelf (number) VALUES (?)", (counted.number,))


# --- all or nothing -------------------------------------------------------------------------------------


def test_effects_and_cursor_are_committed_together() -> None:
    with with_tables(standing_still()) as bus:
        bus.subscribe("shelf", Counted, handler=put, transactional=True)
        bus.publish_many([Counted(1), Counted(2)])
        assert bus.drain() == 2
        assert numbers(bus) == [1, 2]
        assert bus.subscriptions["shelf"].cursor == 2
        assert accounted(bus, "shelf") == 2


def test_a_failing_event_leaves_no_trace_and_those_around_it_are_kept() -> None:
    clock = FakeClock()

    def handle(counted: Counted, ctx: Context) -> None:
        put(counted, ctx)
        if counted.number == 3 and ctx.attempt < 3:
            raise Oops

    with with_tables(standing_still(clock=clock)) as bus:
        bus.subscribe("shelf", Counted, handler=handle, transactional=True, retry=Retry(backoff=fixed(10)))
        bus.publish_many([Counted(number) for number in range(1, 6)])
        assert bus.drain() == 4
        assert numbers(bus) == [1, 2, 4, 5]
        assert bus.subscriptions["shelf"].counts == {"retrying": 1}
        for _ in range(2):
            clock.advance(10)
            bus.drain()
        assert sorted(numbers(bus)) == [1, 2, 3, 4, 5]
        assert accounted(bus, "shelf") == 5


def test_a_batch_in_which_one_fails_is_rolled_back_and_run_again_one_by_one() -> None:
    calls: list[tuple[int, int]] = []

    def handle(counted: Counted, ctx: Context) -> None:
        calls.append((counted.number, ctx.attempt))
        put(counted, ctx)
        if counted.number == 3:
            raise Oops

    with with_tables(standing_still()) as bus:
        bus.subscribe("shelf", Counted, handler=handle, transactional=True, retry=ONCE)
        bus.publish_many([Counted(number) for number in (1, 2, 3, 4)])
        bus.drain()
        assert numbers(bus) == [1, 2, 4]
        assert bus.status(3)["shelf"] == "dead"
        assert bus.status(3)["shelf"].attempts == 1
    assert [number for number, _ in calls] == [1, 2, 3, 1, 2, 3, 4]
    assert {attempt for _, attempt in calls} == {1}


def test_later_events_of_a_failing_key_are_held_in_a_batch_too() -> None:
    notes = Notes(lambda event, ctx: Oops("no") if event.number == 1 else None)
    with standing_still() as bus:
        bus.subscribe("orders", Placed, handler=notes, transactional=True, retry=ONCE)
        bus.publish_many([Placed("b", 0), Placed("a", 1), Placed("a", 2), Placed("b", 3)])
        bus.drain()
        assert bus.subscriptions["orders"].counts == {"dead": 1, "held": 1}
    assert 2 not in notes.numbers
    assert notes.numbers[-1] == 3


def test_strict_order_stops_at_the_failing_event_and_keeps_what_came_before() -> None:
    def handle(counted: Counted, ctx: Context) -> None:
        put(counted, ctx)
        if counted.number == 3:
            raise Oops

    with with_tables(standing_still()) as bus:
        bus.subscribe("shelf", Counted, handler=handle, transactional=True, order_by="log", retry=ONCE)
        bus.publish_many([Counted(number) for number in (1, 2, 3, 4)])
        bus.drain()
        assert numbers(bus) == [1, 2]
        assert bus.subscriptions["shelf"].cursor == 2


def test_nothing_is_done_twice_when_the_bus_is_closed_and_opened_between_events(tmp_path: Path) -> None:
    for number in range(1, 5):
        with standing_still(tmp_path / "log.db") as bus:
            if number == 1:
                with_tables(bus)
            bus.subscribe("shelf", Counted, handler=put, transactional=True)
            bus.publish(Counted(number))
            bus.drain()
            assert numbers(bus) == list(range(1, number + 1))


# --- what a handler may not do, and how the log answers -------------------------------------------------


@pytest.mark.parametrize(
    "attempt",
    [
        lambda tx: tx.execute("COMMIT"),
        lambda tx: tx.execute("ROLLBACK"),
        lambda tx: tx.connection.commit(),
        lambda tx: tx.connection.executescript("COMMIT; BEGIN"),
        lambda tx: tx.execute("ATTACH ':memory:' AS other"),
        lambda tx: tx.execute("DELETE FROM eventbus_events"),
        lambda tx: tx.execute("INSERT OR ROLLBACK INTO shelf (number) VALUES (7)"),
    ],
)
def test_a_handler_can_neither_end_its_transaction_nor_touch_the_log(attempt: Any) -> None:
    def handle(counted: Counted, ctx: Context) -> None:
        put(counted, ctx)
        if counted.number == 2:
            ctx.tx.execute("INSERT INTO shelf (number) VALUES (7)")
            attempt(ctx.tx)

    with with_tables(standing_still()) as bus:
        bus.subscribe("shelf", Counted, handler=handle, transactional=True, retry=ONCE)
        bus.publish_many([Counted(number) for number in (1, 2, 3)])
        bus.drain()
        assert numbers(bus) == [1, 3]
        assert bus.status(2)["shelf"] == "dead"
        assert bus.log.head == 3


def test_a_transaction_that_was_lost_is_a_failure_even_if_the_handler_hides_it() -> None:
    def handle(counted: Counted, ctx: Context) -> None:
        put(counted, ctx)
        if counted.number == 2:
            with contextlib.suppress(Exception):
                ctx.tx.execute("INSERT OR ROLLBACK INTO shelf (number) VALUES (2)")

    with with_tables(standing_still()) as bus:
        bus.subscribe("shelf", Counted, handler=handle, transactional=True, retry=ONCE)
        bus.publish_many([Counted(number) for number in (1, 2, 3)])
        bus.drain()
        assert numbers(bus) == [1, 3]
        assert bus.status(2)["shelf"] == "dead"


def test_a_foreign_key_that_fails_at_the_commit_is_a_failure_of_that_event() -> None:
    def handle(counted: Counted, ctx: Context) -> None:
        ctx.tx.execute("INSERT INTO tray VALUES (?)", (counted.number,))
        if counted.number != 2:
            put(counted, ctx)

    with with_tables(standing_still()) as bus:
        enforce_foreign_keys(bus)
        bus.subscribe("tray", Counted, handler=handle, transactional=True, retry=ONCE)
        bus.publish_many([Counted(number) for number in (1, 2, 3)])
        bus.drain()
        assert numbers(bus, "tray") == [1, 3]
        assert "FOREIGN KEY" in str(bus.status(2)["tray"].error)
        assert accounted(bus, "tray") == 3


def test_a_transaction_is_of_no_use_after_its_handler() -> None:
    kept: list[Any] = []
    with standing_still() as bus:
        bus.subscribe("keep", Counted, handler=lambda counted, ctx: kept.append(ctx.tx), transactional=True)
        bus.publish(Counted(1))
        bus.drain()
        with pytest.raises(Exception, match="This transaction is over"):
            kept[0].execute("SELECT 1")


def test_sqlite_utils_works_in_a_handler() -> None:
    def handle(counted: Counted, ctx: Context) -> None:
        with ctx.tx.db.atomic():
            ctx.tx.db["found"].insert({"number": counted.number}, pk="number", replace=True)

    with standing_still() as bus:
        bus.subscribe("found", Counted, handler=handle, transactional=True)
        bus.publish_many([Counted(1), Counted(2)])
        assert bus.drain() == 2
        assert numbers(bus, "found") == [1, 2]


@pytest.mark.parametrize("how", [{}, {"via": lambda thunk: thunk()}])
def test_a_transactional_handler_is_a_plain_function_that_runs_where_its_transaction_is(how: dict[str, Any]) -> None:
    async def later(counted: Counted, ctx: Context) -> None:
        """Never called."""

    bus = standing_still()
    with pytest.raises(EventDefinitionError, match="transactional handler"):
        bus.subscribe("a", Counted, handler=put if how else later, transactional=True, **how)


# --- what it publishes ----------------------------------------------------------------------------------


def test_what_a_handler_publishes_is_stored_with_its_effects_or_not_at_all() -> None:
    ids: list[str] = []

    def handle(placed: Placed, ctx: Context) -> None:
        ids.append(ctx.publish(Paid(placed.order_id)))
        ids.append(ctx.tx.publish(Paid(placed.order_id)))
        if placed.number == 2 and ctx.attempt == 1:
            raise Oops

    with standing_still() as bus:
        heard: list[str] = []
        bus.on(Paid, handler=lambda paid: heard.append(paid.order_id))
        bus.subscribe("pay", Placed, handler=handle, transactional=True, retry=Retry(backoff=fixed(0)))
        bus.publish_many([Placed(str(number), number) for number in (1, 2, 3)])
        bus.drain()
        stored = list(bus.log.read(after=3))
        assert [envelope.event.order_id for envelope in stored] in (list("112233"), list("113322"))
        assert len(set(ids)) == 6
        assert {envelope.id for envelope in stored} == set(ids)
        assert {envelope.causation_id for envelope in stored} == {e.id for e in bus.log.read(until=3)}
        bus.close()
    assert sorted(heard) == list("112233")


def test_what_a_handler_publishes_against_the_version_of_a_stream_fails_with_it() -> None:
    def handle(placed: Placed, ctx: Context) -> None:
        ctx.tx.publish(Paid(placed.order_id), expected_version=1 if placed.number == 1 else 9)

    with standing_still() as bus:
        bus.subscribe("pay", Placed, handler=handle, transactional=True, retry=ONCE)
        bus.publish_many([Placed("a", 1), Placed("b", 2)])
        bus.drain()
        assert [envelope.event for envelope in bus.log.read(after=2)] == [Paid("a")]
        assert "WrongExpectedVersion" in str(bus.status(2)["pay"].error)


def test_bus_publish_in_a_transactional_handler_raises_at_once_and_names_tx_publish() -> None:
    with standing_still() as bus:
        bus.subscribe("pay", Placed, handler=lambda e: bus.publish(Paid("a")), transactional=True, retry=ONCE)
        bus.publish(Placed("a"))
        bus.drain()
        assert "tx.publish" in str(bus.status(1)["pay"].error)
        assert bus.log.head == 1


def test_a_type_that_was_first_published_in_a_rolled_back_batch_can_be_published_later() -> None:
    def handle(placed: Placed, ctx: Context) -> None:
        ctx.publish(Paid(placed.order_id))
        if ctx.attempt == 1:
            raise Oops

    with standing_still() as bus:
        bus.subscribe("pay", Placed, handler=handle, transactional=True, retry=Retry(backoff=fixed(0)))
        bus.publish(Placed("a"))
        bus.drain()
        bus.publish(Paid("b"))
        assert [envelope.type for envelope in bus.log.read()] == ["Placed", "Paid", "Paid"]
