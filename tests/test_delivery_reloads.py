"""What a person changes while handlers run: the rows are read again, and what runs goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from bus_stage import PATIENCE
from delivery_stage import Oops, Placed, accounted, standing_still
from test_delivery_timeouts import drained_past, until_drained

from eventbus import Context, EventBus, Retry
from eventbus.testing import FakeClock


class Slow:
    """A handler whose number 1 waits until it is let go; others fail as long as they are in `bad`."""

    def __init__(self, *bad: int) -> None:
        self.inside, self.go = threading.Event(), threading.Event()
        self.bad = set(bad)
        self.done: list[int] = []
        self._called = threading.Condition()

    def __call__(self, placed: Placed) -> None:
        if placed.number == 1:
            self.inside.set()
            assert self.go.wait(PATIENCE)
        if placed.number in self.bad:
            raise Oops
        with self._called:
            self.done.append(placed.number)
            self._called.notify_all()

    def until(self, *numbers: int) -> None:
        """Wait until these are done."""
        with self._called:
            assert self._called.wait_for(lambda: set(numbers) <= set(self.done), PATIENCE), self.done


@pytest.fixture
def slow() -> Iterator[Slow]:
    handler = Slow(2)
    yield handler
    handler.go.set()


def dead(bus: EventBus, *numbers: int) -> None:
    """Return once these events are dead letters."""
    for number in numbers:
        assert bus.wait_for(number, "orders", timeout=PATIENCE) == "dead"


def retried(bus: EventBus) -> None:
    bus.dead_letters.retry(2)


def discarded(bus: EventBus) -> None:
    bus.dead_letters.discard(2, reason="test")


def interrupted(bus: EventBus) -> None:
    bus.subscriptions["orders"].pause()
    bus.subscriptions["orders"].resume()


@pytest.mark.parametrize("act", [retried, discarded])
def test_other_keys_do_not_wait_for_a_slow_handler_because_a_person_changed_something(
    slow: Slow, act: Callable[[EventBus], None]
) -> None:
    with EventBus() as bus:
        bus.subscribe("orders", Placed, handler=slow, concurrency=4, retry=Retry(attempts=1))
        bus.publish_many([Placed(key, number) for number, key in enumerate("abba", 1)])
        assert slow.inside.wait(PATIENCE)
        dead(bus, 2)
        slow.bad.clear()
        act(bus)
        bus.publish(Placed("d", 6))
        slow.until(3, 6)
        assert 1 not in slow.done
        slow.go.set()
        slow.until(4)
        bus.drain(timeout=PATIENCE)
        assert sorted(slow.done) == sorted({1, 2, 3, 4, 6} - ({2} if act is discarded else set()))
        row = bus.subscriptions["orders"].row
        assert (row.handled, bus.subscriptions["orders"].counts) == (len(slow.done), {})


def test_a_retry_that_runs_while_a_person_changes_something_is_not_begun_a_second_time(slow: Slow) -> None:
    tries: list[int] = []

    def handle(placed: Placed, ctx: Context) -> None:
        if placed.number == 1:
            tries.append(ctx.attempt)
            if ctx.attempt == 1:
                raise Oops
        slow(placed)

    clock = FakeClock()
    with standing_still(clock=clock) as bus:
        bus.subscribe("orders", Placed, handler=handle, concurrency=2, retry=Retry(attempts=2))
        bus.publish_many([Placed(key, number) for number, key in enumerate("ab", 1)])
        bus.drain()
        clock.advance(3600)
        draining = threading.Thread(target=bus.drain, daemon=True)
        draining.start()
        assert slow.inside.wait(PATIENCE)
        interrupted(bus)
        slow.go.set()
        draining.join(PATIENCE)
        bus.drain()
        assert tries == [1, 2]
        assert bus.status(1)["orders"] == "handled"


def test_a_step_of_an_overdue_handler_is_kept_though_a_person_changed_something_meanwhile() -> None:
    ran, clock, inside, go = list[int](), FakeClock(), threading.Event(), threading.Event()

    def pay(number: int) -> str:
        ran.append(number)
        inside.set()
        assert go.wait(PATIENCE)
        return "paid"

    def handle(placed: Placed, ctx: Context) -> None:
        if placed.number == 1:
            ctx.step("pay", pay, 1)
        elif ctx.attempt == 1:
            raise Oops

    bus = standing_still(clock=clock)
    bus.subscribe("orders", Placed, handler=handle, timeout=30, retry=Retry(attempts=3, on={Oops: "dead"}))
    bus.publish_many([Placed("a", 1), Placed("b", 2)])
    drained_past(bus, clock, inside)
    bus.dead_letters.retry(2)
    bus.drain()
    go.set()
    until_drained(bus, 1)
    assert ran == [1]
    assert bus.status(1)["orders"] == "handled"
    bus.close()


@pytest.mark.parametrize("how", [{}, {"order_by": "log"}, {"concurrency": 3}, {"transactional": True}])
def test_what_people_change_between_rounds_leaves_the_account_as_it_is(how: dict[str, Any]) -> None:
    clock = FakeClock()

    def handle(placed: Placed, ctx: Context) -> None:
        if placed.number % 3 == 0 and ctx.attempt < 3:
            raise Oops

    with standing_still(clock=clock) as bus:
        bus.subscribe("orders", Placed, handler=handle, retry=Retry(attempts=2), **how)
        for number in range(1, 20):
            bus.publish(Placed("abc"[number % 3], number))
            bus.drain()
            interrupted(bus)
            clock.advance(1000)
            for letter in bus.dead_letters.list():
                if number % 2:
                    bus.dead_letters.discard(letter, reason="test")
                else:
                    bus.dead_letters.retry(letter)
        for _ in range(20):
            bus.drain()
            clock.advance(1000)
            bus.dead_letters.discard(type="*", reason="test")
        found = bus.query("SELECT handled, discarded FROM eventbus_subscriptions")
        assert sum(found[0].values()) == 19
        assert accounted(bus, "orders") == found[0]["handled"]
