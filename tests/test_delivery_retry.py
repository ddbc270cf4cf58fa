"""A failing handler: when it is tried again, what waits meanwhile, and how a delivery ends as a dead letter."""

from __future__ import annotations

import gc
import queue
from pathlib import Path
from typing import Any

import pytest
from delivery_stage import Counted, Notes, Oops, Placed, accounted, failing, only, standing_still

from eventbus import Context, EventBus, Retry, RetryLater, event
from eventbus.retry import exponential, fixed
from eventbus.store import deliveries
from eventbus.technical import (
    DeliveryDead,
    DeliveryHandled,
    DeliveryHeld,
    DeliveryRetrying,
    DeliveryWaiting,
)
from eventbus.testing import START, FakeClock
from eventbus.worker import rounds
from eventbus.worker.standing import RETRIES_FIRST


def publishing(bus: EventBus, event: Any, stream: str, fail: Any) -> Any:
    """Publish an event when something was tried for the second time."""

    def fails(tried: Any, ctx: Context) -> Any:
        if ctx.attempt == 2 and tried.number != event.number:
            bus.publish(event, stream=stream)
        return fail(tried, ctx)

    return fails


def until(number: int) -> Any:
    """Fail until this attempt."""
    return lambda event, ctx: Oops("not yet") if ctx.attempt < number else None


# --- when it is tried again -----------------------------------------------------------------------------


def test_what_fails_again_and_again_leaves_turns_to_all_others() -> None:
    notes = Notes(only(1))
    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=notes, retry=Retry(attempts=2 * RETRIES_FIRST, backoff=fixed(0)))
        bus.publish_many([Counted(1), Counted(2)], stream="bad")
        notes.fail = publishing(bus, Counted(3), "good", notes.fail)
        bus.drain()
    assert notes.numbers.count(1) == 2 * RETRIES_FIRST
    assert notes.numbers.index(3) <= RETRIES_FIRST + 2


def test_a_failed_delivery_is_tried_again_when_its_time_has_come_and_not_before() -> None:
    clock, notes = FakeClock(), Notes(until(3))
    with standing_still(clock=clock) as bus:
        bus.subscribe("stock", Counted, handler=notes, retry=Retry(attempts=3, backoff=fixed(10)))
        bus.publish(Counted(1))
        for wait, attempts in [(0, [1]), (9.5, [1]), (0.5, [1, 2]), (9, [1, 2]), (1, [1, 2, 3])]:
            clock.advance(wait)
            bus.drain()
            assert notes.attempts == attempts
        assert bus.status(1)["stock"] == "handled"
        assert bus.query("SELECT count(*) AS n FROM eventbus_attempts") == [{"n": 0}]


def test_the_default_is_exponential_with_full_jitter() -> None:
    clock = FakeClock()  # its jitter is always half of what it may be
    with standing_still(clock=clock) as bus:
        bus.subscribe("stock", Counted, handler=failing(), retry=Retry(attempts=6, backoff=exponential(cap=5)))
        bus.publish(Counted(1))
        waits = []
        for _ in range(5):
            bus.drain()
            due = bus.status(1)["stock"].due
            assert due is not None
            waits.append(due.timestamp() - clock.time())
            clock.advance(waits[-1])
    assert waits == [0.5, 1, 2, 2.5, 2.5]


def test_retry_later_uses_up_no_attempt() -> None:
    clock, answers = FakeClock(), [RetryLater(60), RetryLater(60), Oops("no"), None]
    notes = Notes(lambda event, ctx: answers.pop(0))
    with standing_still(clock=clock) as bus:
        bus.subscribe("stock", Counted, handler=notes, retry=Retry(attempts=2, backoff=fixed(60)))
        bus.publish(Counted(1))
        for _ in range(4):
            bus.drain()
            clock.advance(60)
        assert bus.status(1)["stock"] == "handled"
    assert notes.attempts == [1, 1, 1, 2]


def test_an_outage_is_waited_out_for_as_long_as_it_lasts() -> None:
    clock, days = FakeClock(), iter(range(1000))
    notes = Notes(lambda event, ctx: ConnectionError("down") if next(days) < 50 else None)
    with standing_still(clock=clock) as bus:
        retry = Retry(attempts=None, backoff=fixed(86400), outage=(ConnectionError,))
        bus.subscribe("stock", Counted, handler=notes, retry=retry)
        bus.publish(Counted(1))
        for _ in range(50):
            bus.drain()
            assert bus.status(1)["stock"] == "retrying"
            assert bus.status(1)["stock"].attempts == 0
            clock.advance(86400)
        assert bus.drain() == 1
    assert set(notes.attempts) == {1}


def test_the_wait_grows_during_an_outage() -> None:
    clock = FakeClock()
    with standing_still(clock=clock) as bus:
        retry = Retry(attempts=1, backoff=exponential(first=2), outage=(ConnectionError,))
        bus.subscribe("stock", Counted, handler=failing(ConnectionError()), retry=retry)
        bus.publish(Counted(1))
        waits = []
        for _ in range(3):
            bus.drain()
            due = bus.status(1)["stock"].due
            assert due is not None
            waits.append(due.timestamp() - clock.time())
            clock.advance(waits[-1])
    assert waits == [1, 2, 4]


def test_due_times_survive_the_process(tmp_path: Path) -> None:
    clock, notes = FakeClock(), Notes(until(2))
    for wait, attempts in [(0, [1]), (100, [1]), (200, [1, 2])]:
        clock.advance(wait)
        with standing_still(tmp_path / "log.db", clock) as bus:
            bus.subscribe("stock", Counted, handler=notes, retry=Retry(backoff=fixed(300)))
            bus.publish(Placed("other")) if wait else bus.publish(Counted(1))
            bus.drain()
        assert notes.attempts == attempts


def test_a_bus_at_rest_wakes_up_when_a_retry_is_due() -> None:
    clock, calls = FakeClock(), queue.SimpleQueue[int]()

    def handle(counted: Counted, ctx: Context) -> None:
        calls.put(ctx.attempt)
        if ctx.attempt == 1:
            raise Oops

    with EventBus(clock=clock) as bus:
        bus.subscribe("stock", Counted, handler=handle, retry=Retry(backoff=fixed(3600)))
        told = queue.SimpleQueue[DeliveryRetrying]()
        bus.on(DeliveryRetrying, handler=told.put)
        receipt = bus.publish(Counted(1))
        assert calls.get(timeout=10) == 1
        assert told.get(timeout=10).due == START + 3600
        bus.drain()
        clock.advance(3600)
        assert calls.get(timeout=10) == 2
        assert bus.wait_for(receipt, "stock") == "handled"


# --- what waits meanwhile -------------------------------------------------------------------------------


def test_later_events_of_the_key_are_held_and_follow_in_order_once_it_succeeded() -> None:
    clock, down = FakeClock(), [True]
    notes = Notes(lambda event, ctx: Oops("down") if down[0] and event.number == 1 else None)
    with standing_still(clock=clock) as bus:
        bus.subscribe("orders", Placed, handler=notes, retry=Retry(backoff=fixed(10)))
        bus.publish_many([Placed("a", 1), Placed("a", 2), Placed("b", 3), Placed("a", 4)])
        bus.drain()
        assert notes.numbers == [1, 3]
        assert bus.subscriptions["orders"].counts == {"retrying": 1, "held": 2}
        down[0] = False
        clock.advance(10)
        bus.publish(Placed("a", 5))
        assert bus.drain() == 4
        assert notes.numbers == [1, 3, 1, 2, 4, 5]
        assert bus.subscriptions["orders"].counts == {}
        assert accounted(bus, "orders") == 5


def test_a_held_event_that_fails_when_its_turn_comes_holds_the_next() -> None:
    clock = FakeClock()
    notes = Notes(lambda event, ctx: Oops("once") if ctx.attempt == 1 and event.number < 3 else None)
    with standing_still(clock=clock) as bus:
        bus.subscribe("orders", Placed, handler=notes, retry=Retry(backoff=fixed(10)))
        bus.publish_many([Placed("a", number) for number in (1, 2, 3)])
        for _ in range(4):
            bus.drain()
            clock.advance(10)
        assert notes.numbers == [1, 1, 2, 2, 3]
        assert accounted(bus, "orders") == 3


def test_events_behind_a_dead_one_stay_held_and_other_keys_go_on(tmp_path: Path) -> None:
    notes = Notes(only(1))
    for number in (1, 2, 3):
        with standing_still(tmp_path / "log.db") as bus:
            bus.subscribe("orders", Placed, handler=notes, retry=Retry(attempts=1))
            bus.publish_many([Placed("a", number), Placed("b", 10 * number)])
            bus.drain()
            assert accounted(bus, "orders") == 2 * number
    assert notes.numbers == [1, 10, 20, 30]


def test_a_subscription_that_holds_too_much_pauses_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("eventbus.worker.rounds.MOST_HELD", 3)
    with standing_still() as bus:
        bus.subscribe("orders", Placed, handler=failing(), retry=Retry(attempts=1))
        bus.publish_many([Placed("a", number) for number in range(6)])
        bus.drain()
        assert bus.subscriptions["orders"].state == "paused"
        assert "3 deliveries are held" in (bus.subscriptions["orders"].row.state_reason or "")
    assert "orders: paused" in caplog.text


# --- dead letters ---------------------------------------------------------------------------------------


def test_a_dead_letter_keeps_what_a_person_needs_to_know() -> None:
    clock = FakeClock()
    with standing_still(clock=clock) as bus:
        bus.subscribe("orders", Placed, handler=failing(), retry=Retry(attempts=2, backoff=fixed(5)))
        receipt = bus.publish(Placed("a"))
        bus.drain()
        clock.advance(5)
        bus.drain()
        (letter,) = bus.query("SELECT * FROM eventbus_dead_letters")
        attempts = bus.query("SELECT attempt, started_at, error_type, message, traceback FROM eventbus_attempts")
    assert letter["subscription"] == "orders"
    assert (letter["id"], letter["type"], letter["order_key"]) == (receipt.id, "Placed", "order-a")
    assert (letter["attempts"], letter["error"]) == (2, "Oops: no")
    assert [row["attempt"] for row in attempts] == [1, 2]
    assert [row["started_at"][17:19] for row in attempts] == ["00", "05"]
    assert {(row["error_type"], row["message"]) for row in attempts} == {("Oops", "no")}
    assert all("in __call__" in row["traceback"] for row in attempts)


def test_a_dead_letter_is_not_tried_again_by_itself(tmp_path: Path) -> None:
    clock, notes = FakeClock(), failing()
    for _ in range(3):
        with standing_still(tmp_path / "log.db", clock) as bus:
            bus.subscribe("stock", Counted, handler=notes, retry=Retry(attempts=1), order_by="log")
            if bus.log.head == 0:
                bus.publish(Counted(1))
            bus.drain()
            clock.advance(1e6)
    assert notes.attempts == [1]


# --- events whose class is not loaded -------------------------------------------------------------------


def publish_of_a_class_that_goes_away(path: Path) -> None:
    def publish() -> None:
        @event(name="shop.Away", stream="s")
        class Away:
            number: int

        with standing_still(path) as bus:
            bus.subscribe("shop", "shop.*", handler=Notes())
            bus.publish_many([Away(1), Away(2)])

    publish()
    gc.collect()  # a class is part of a cycle


def test_an_event_whose_class_is_not_loaded_waits_without_attempts_until_it_is(tmp_path: Path) -> None:
    path, notes = tmp_path / "log.db", Notes()
    publish_of_a_class_that_goes_away(path)
    for _ in range(3):
        with standing_still(path) as bus:
            bus.subscribe("shop", "shop.*", handler=notes, retry=Retry(attempts=1))
            assert bus.drain() == 0
            assert bus.status(1)["shop"] == "waiting"
            assert bus.status(1)["shop"].attempts == 0
            assert accounted(bus, "shop") == 2
    with standing_still(path) as bus:
        bus.subscribe("shop", "shop.*", handler=notes, retry=Retry(attempts=1))
        bus.drain()

        @event(name="shop.Away", stream="s")
        class Away:
            number: int

        assert bus.drain() == 2
        assert bus.subscriptions["shop"].counts == {}
    assert notes.numbers == [1, 2]
    assert notes.attempts == [1, 1]


def test_what_waits_for_its_class_costs_nothing_until_there_is_a_new_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, looks, waiting = tmp_path / "log.db", list[int](), deliveries.waiting

    def counted(connection: Any, subscription_id: int) -> Any:
        looks.append(subscription_id)
        return waiting(connection, subscription_id)

    publish_of_a_class_that_goes_away(path)
    with standing_still(path) as bus:
        bus.subscribe("shop", "shop.*", handler=Notes())
        bus.drain()
        bus.drain()
        monkeypatch.setattr(deliveries, "waiting", counted)
        for _ in range(20):
            bus.drain()
        assert looks == []

        @event(name="shop.Other")
        class Other:
            number: int

        bus.drain()
        bus.drain()
        assert len(looks) == 1
        assert bus.subscriptions["shop"].counts == {"waiting": 1, "held": 1}


def test_a_subscription_of_which_too_much_waits_for_its_class_is_paused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "MOST_HELD", 1)
    publish_of_a_class_that_goes_away(tmp_path / "log.db")
    with standing_still(tmp_path / "log.db") as bus:
        bus.subscribe("shop", "shop.*", handler=Notes(), order_by=None)
        bus.drain()
        assert bus.subscriptions["shop"].counts == {"waiting": 2}
        assert bus.subscriptions["shop"].state == "paused"


# --- what delivery tells --------------------------------------------------------------------------------


def test_delivery_tells_what_it_does_to_those_who_listen(tmp_path: Path) -> None:
    path, clock, told = tmp_path / "log.db", FakeClock(), list[Any]()
    publish_of_a_class_that_goes_away(path)
    bus = standing_still(path, clock)
    for cls in (DeliveryHandled, DeliveryRetrying, DeliveryDead, DeliveryHeld, DeliveryWaiting):
        bus.on(cls, handler=told.append)
    bus.subscribe("shop", "shop.*", handler=Notes())
    bus.subscribe("orders", Placed, handler=failing(), retry=Retry(attempts=2, backoff=fixed(9)))
    bus.subscribe("stock", Counted, handler=Notes())
    ids = [r.id for r in bus.publish_many([Placed("a"), Placed("a"), Counted(1)])]
    bus.drain()
    clock.advance(9)
    bus.drain()
    away = [envelope.id for envelope in bus.log.read(limit=2)]
    bus.close()
    assert set(map(repr, told)) == {
        repr(DeliveryWaiting("shop", away[0], "shop.Away", 1)),
        repr(DeliveryHeld("shop", away[1], "shop.Away", 2, "s")),
        repr(DeliveryRetrying("orders", ids[0], "Placed", 3, 1, "Oops: no", START + 9)),
        repr(DeliveryHeld("orders", ids[1], "Placed", 4, "order-a")),
        repr(DeliveryDead("orders", ids[0], "Placed", 3, 2, "Oops: no")),
        repr(DeliveryHandled("stock", ids[2], "stock.Counted", 5, 1)),
    }


# --- what the app's own log file says -------------------------------------------------------------------


def test_a_failure_is_logged_as_a_warning_and_a_dead_letter_as_an_error_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    with standing_still(clock=clock) as bus:
        bus.subscribe("stock", Counted, handler=failing(Oops("\x1b[31m")), retry=Retry(attempts=2, backoff=fixed(1)))
        bus.publish(Counted(1))
        bus.drain()
        clock.advance(1)
        bus.drain()
    first, last = [record for record in caplog.records if record.name == "eventbus.delivery"]
    assert (first.levelname, last.levelname) == ("WARNING", "ERROR")
    assert first.getMessage() == (
        "'stock', 'stock.Counted' at position 1: attempt 1 failed and is repeated: 'Oops: \\x1b[31m'"
    )
    assert last.getMessage() == "'stock', 'stock.Counted' at position 1: is dead after attempt 2"
    assert last.exc_info is not None
    assert isinstance(last.exc_info[1], Oops)


def test_a_dead_letter_is_dead_since_its_last_attempt() -> None:
    clock = FakeClock()
    with standing_still(clock=clock) as bus:
        bus.subscribe("stock", Counted, handler=failing(), retry=Retry(attempts=2, backoff=fixed(60)))
        bus.publish(Counted(1))
        bus.drain()
        clock.advance(60)
        bus.drain()
        assert bus.query("SELECT since FROM eventbus_dead_letters") == [{"since": "2026-01-01T00:01:00.000000Z"}]
