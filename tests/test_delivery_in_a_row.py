"""Events that are handled in a row: nothing is made or recorded for each, and nothing that is promised is left out."""

from __future__ import annotations

import contextvars
import threading
from pathlib import Path
from typing import Any

import pytest
from delivery_stage import Counted, Notes, Oops, Paid, Placed, accounted, only, standing_still

from eventbus import Context, Envelope, EventBus, Retry
from eventbus.errors import WouldDeadlock
from eventbus.retry import fixed
from eventbus.store import reading
from eventbus.store.reading import LARGE_PAGE, LIGHT_BYTES, page_size
from eventbus.technical import DeliveryHandled
from eventbus.testing import FakeClock

MANY = 3 * LARGE_PAGE  # several pages, and several jobs


def spelled(envelope: Envelope) -> tuple[Any, ...]:
    """All that an envelope says."""
    names = ("position", "id", "type", "version", "kind", "stream", "sequence", "time", "source", "correlation_id")
    more = ("causation_id", "metadata", "codec", "payload", "event", "type_id")
    return tuple(getattr(envelope, name) for name in names + more)


def counted(first: int, last: int) -> list[Counted]:
    return [Counted(number) for number in range(first, last + 1)]


# --- all of them, in order ------------------------------------------------------------------------------


@pytest.mark.parametrize("transactional", [False, True])
def test_a_backlog_of_several_pages_is_handled_in_order_and_counted(transactional: bool) -> None:
    notes = Notes()
    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=notes, after=0, transactional=transactional)
        bus.publish_many(counted(1, MANY))
        assert bus.drain() == MANY
        assert bus.subscriptions["stock"].cursor == accounted(bus, "stock") == MANY
    assert notes.numbers == list(range(1, MANY + 1))


def test_each_is_told_of_to_whoever_listens() -> None:
    told: list[tuple[int, str]] = []
    with standing_still() as bus:
        bus.on(DeliveryHandled, handler=lambda handled: told.append((handled.position, handled.event_id)))
        bus.subscribe("stock", Counted, handler=lambda counted: None)
        receipts = bus.publish_many(counted(1, 5))
        bus.drain()
        bus.close()
    assert told == [(receipt.position, receipt.id) for receipt in receipts]


def test_what_other_subscriptions_mean_is_passed_over() -> None:
    placed, stock = Notes(), Notes()
    with standing_still() as bus:
        bus.subscribe("placed", Placed, handler=placed)
        bus.subscribe("stock", Counted, handler=stock)
        bus.publish_many([event for number in range(400) for event in (Placed("a", number), Counted(number))])
        bus.drain()
        assert placed.numbers == stock.numbers == list(range(400))
        assert (accounted(bus, "placed"), accounted(bus, "stock")) == (400, 400)


# --- one of them that has something to be said ----------------------------------------------------------


@pytest.mark.parametrize("transactional", [False, True])
@pytest.mark.parametrize("bad", [1, 300, 700])
def test_one_that_fails_holds_its_own_key_and_no_other(transactional: bool, bad: int) -> None:
    def fail(placed: Placed, ctx: Context) -> BaseException | None:
        return Oops() if placed.number == bad and ctx.attempt == 1 else None

    notes, clock = Notes(fail), FakeClock()
    with standing_still(clock=clock) as bus:
        bus.subscribe(
            "ship", Placed, handler=notes, transactional=transactional, retry=Retry(attempts=2, backoff=fixed(60))
        )
        bus.publish_many([Placed(str(number % 10), number) for number in range(1, 1001)])
        bus.drain()
        same = [number for number in range(bad + 1, 1001) if number % 10 == bad % 10]
        assert bus.subscriptions["ship"].counts == {"retrying": 1, **({"held": len(same)} if same else {})}
        assert accounted(bus, "ship") == 1000
        clock.advance(60)
        bus.drain()
        assert bus.subscriptions["ship"].counts == {}
        assert accounted(bus, "ship") == 1000
    last: dict[str, int] = {}
    for placed in notes.events:  # of each key in order, but for what was rolled back and came again
        assert transactional or placed.number == bad or placed.number > last.get(placed.order_id, 0)
        last[placed.order_id] = placed.number


def test_one_that_publishes_is_recorded_with_what_it_has_published() -> None:
    def pay(placed: Placed, ctx: Context) -> None:
        if placed.number % 100 == 0:
            ctx.publish(Paid(placed.order_id))

    with standing_still() as bus:
        bus.subscribe("pay", Placed, handler=pay)
        bus.publish_many([Placed(str(number), number) for number in range(1, 501)])
        assert bus.drain() == 500
        assert [envelope.event.order_id for envelope in bus.log.read(types=Paid)] == ["100", "200", "300", "400", "500"]


def test_what_waits_for_a_dead_one_does_not_keep_the_others_from_being_handled_in_a_row() -> None:
    notes = Notes(only(1))
    with standing_still() as bus:
        bus.subscribe("ship", Placed, handler=notes, retry=Retry(attempts=1))
        bus.publish(Placed("a", 1))
        bus.drain()
        bus.publish_many([Placed("a" if number % 50 == 0 else "b", number) for number in range(2, 500)])
        bus.drain()
        assert bus.subscriptions["ship"].counts == {"dead": 1, "held": 9}
    assert notes.numbers == [number for number in range(1, 500) if number % 50]


# --- what a handler is told -----------------------------------------------------------------------------


@pytest.mark.parametrize("transactional", [False, True])
@pytest.mark.parametrize("memory", [False, True])
def test_an_envelope_says_all_that_the_log_has(tmp_path: Path, memory: bool, transactional: bool) -> None:
    seen: list[tuple[Any, ...]] = []

    def look(placed: Placed, ctx: Context) -> None:
        assert ctx.envelope.event is placed
        seen.append(spelled(ctx.envelope))

    with standing_still(None if memory else tmp_path / "log.db") as bus:
        bus.subscribe("look", Placed, handler=look, transactional=transactional)
        receipt = bus.publish(Placed("a"), metadata={"by": "ada"})
        bus.publish_many([Placed("b", number) for number in range(600)], causation_id=receipt.id)
        bus.drain()
        assert seen == [spelled(envelope) for envelope in bus.log.read(types=Placed)]


def test_what_a_handler_left_behind_may_wait_once_that_has_returned() -> None:
    left: list[contextvars.Context] = []
    said: list[str] = []

    def tries(number: int) -> None:
        try:
            bus.drain()
        except WouldDeadlock:
            said.append(f"{number}: refused")
        else:
            said.append(f"{number}: may")

    def leave(counted: Counted) -> None:
        if counted.number == 1:
            left.append(contextvars.copy_context())
            left[0].run(tries, 1)
            return
        if counted.number == 2:
            thread = threading.Thread(target=lambda: left[0].run(look))
            thread.start()
            thread.join()

    def look() -> None:
        from eventbus.worker.delivering import handled_here

        said.append(f"2: {handled_here()}")

    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=leave)
        bus.publish_many(counted(1, 3))
        bus.drain()
    assert said == ["1: refused", "2: None"]


# --- others meanwhile -----------------------------------------------------------------------------------


def test_in_a_drain_a_slow_handler_lets_the_others_take_turns() -> None:
    heard: list[str] = []

    def slow(counted: Counted) -> None:
        heard.append("slow")
        clock.advance(0.01)

    clock = FakeClock()
    with standing_still(clock=clock) as bus:
        bus.subscribe("slow", Counted, handler=slow)
        bus.subscribe("quick", Counted, handler=lambda counted: heard.append("quick"))
        bus.publish_many(counted(1, 100))
        bus.drain()
    assert heard.index("quick") < 10
    assert (heard.count("slow"), heard.count("quick")) == (100, 100)


@pytest.mark.parametrize("transactional", [False, True])
def test_what_the_end_of_the_bus_leaves_is_handled_by_the_next(tmp_path: Path, transactional: bool) -> None:
    def stop(counted: Counted, ctx: Context) -> None:
        heard.append(counted.number)
        if counted.number == 100:
            begun.set()
            closing.wait(10)

    heard: list[int] = []
    begun, closing = threading.Event(), threading.Event()
    with EventBus(tmp_path / "log.db", durability="process") as bus:
        bus.subscribe("stock", Counted, handler=stop, transactional=transactional)
        bus.publish_many(counted(1, 500))
        assert begun.wait(10)
        bus._attachment.engine().pump._runners.stopping = True  # as close() does
        closing.set()
    assert heard == list(range(1, 101))
    with EventBus(tmp_path / "log.db", durability="process", delivery="manual") as bus:
        bus.subscribe("stock", Counted, handler=stop, transactional=transactional)
        assert accounted(bus, "stock") == 100
        assert bus.drain() == 400
    assert heard == list(range(1, 501))


# --- pages ----------------------------------------------------------------------------------------------


def test_light_rows_are_read_in_large_pages_and_heavy_ones_are_not() -> None:
    light, heavy, damaged = ([row_with(payload)] * 300 for payload in ("x", "x" * (LIGHT_BYTES + 1), 7))
    assert page_size(light, 256) == LARGE_PAGE
    assert page_size(heavy, 256) == reading.PAGE
    assert page_size(light[:10], 256) == reading.PAGE
    assert page_size(damaged, 256) == LARGE_PAGE


def row_with(payload: Any) -> Any:
    return (1, "id", 1, None, None, "2026-01-01T00:00:00.000000Z", 1, None, None, None, None, payload, 0, 0)
