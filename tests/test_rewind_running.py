"""A rewind while handlers run: what is from before the position goes on and counts, what comes after it does not."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from bus_stage import PATIENCE
from delivery_stage import Oops, Placed, accounted, standing_still
from test_delivery_timeouts import drained_past, until_drained

from eventbus import Context, EventBus, Handlers, Retry
from eventbus.retry import fixed
from eventbus.testing import FakeClock

AGAIN = Retry(attempts=2, backoff=fixed(10))


class Held:
    """A handler that calls `run` for number 1, which waits inside until it is let go the first time it gets there."""

    def __init__(self, *, fails_first: bool = False, steps: bool = False, error: BaseException | None = None) -> None:
        self.inside, self.go = threading.Event(), threading.Event()
        self.fails_first, self.steps, self.error = fails_first, steps, error
        self.calls: list[tuple[int, int]] = []
        self.paid = 0

    def __call__(self, placed: Placed, ctx: Context) -> None:
        self.calls.append((placed.number, ctx.attempt))
        if placed.number != 1:
            return
        if self.fails_first and ctx.attempt == 1:
            raise Oops
        if self.steps:
            ctx.step("pay", self.wait)
        else:
            self.wait()
        if self.error is not None and ctx.attempt <= 2:
            raise self.error

    def wait(self) -> int:
        self.paid += 1
        if self.paid == 1:
            self.inside.set()
            assert self.go.wait(PATIENCE)
        return self.paid


def begun_again(bus: EventBus, clock: FakeClock, handler: Held) -> threading.Thread:
    """Deliver a, b, c, of which the first fails; returns while its second attempt runs, in the thread that drains."""
    bus.publish_many([Placed(key, number) for number, key in enumerate("abc", 1)])
    bus.drain()
    clock.advance(10)
    draining = threading.Thread(target=bus.drain, daemon=True)
    draining.start()
    assert handler.inside.wait(PATIENCE)
    return draining


@pytest.mark.parametrize("how", [{}, {"concurrency": 3}, {"order_by": None}])
@pytest.mark.parametrize("steps", [False, True])
def test_a_last_attempt_that_succeeds_meanwhile_is_handled(how: dict[str, Any], steps: bool) -> None:
    clock, handler = FakeClock(), Held(fails_first=True, steps=steps)
    with standing_still(clock=clock) as bus:
        bus.subscribe("orders", Placed, handler=handler, retry=AGAIN, **how)
        draining = begun_again(bus, clock, handler)
        bus.subscriptions["orders"].rewind(after=2)
        handler.go.set()
        draining.join(PATIENCE)
        bus.drain()
        assert sorted(handler.calls) == [(1, 1), (1, 2), (2, 1), (3, 1), (3, 1)]
        assert (handler.paid, bus.status(1)["orders"]) == (1, "handled")
        assert bus.subscriptions["orders"].row.handled == accounted(bus, "orders") == 3


def test_a_last_attempt_that_fails_meanwhile_is_dead_of_its_own_error() -> None:
    clock, handler = FakeClock(), Held(fails_first=True, error=Oops("mine"))
    with standing_still(clock=clock) as bus:
        bus.subscribe("orders", Placed, handler=handler, retry=AGAIN)
        draining = begun_again(bus, clock, handler)
        bus.subscriptions["orders"].rewind(after=1)
        handler.go.set()
        draining.join(PATIENCE)
        bus.drain()
        (letter,) = bus.dead_letters.list()
        assert (letter.position, letter.attempts, letter.error) == (1, 2, "Oops: mine")
        assert accounted(bus, "orders") == 3


def test_an_outcome_that_had_come_back_and_was_not_recorded_yet_counts_too() -> None:
    clock, handler = FakeClock(), Held(fails_first=True)
    with standing_still(clock=clock) as bus:
        bus.subscribe("orders", Placed, handler=handler, retry=AGAIN)
        bus.publish_many([Placed(key, number) for number, key in enumerate("abc", 1)])
        bus.drain()
        clock.advance(10)
        handler.go.set()
        pump = bus._attachment.engine().pump
        while not handler.paid:  # steps of the pump: this one hands it out, the next would record it
            pump.step(here=True)
        bus.subscriptions["orders"].rewind(after=2)
        bus.drain()
        assert [call for call in handler.calls if call[0] == 1] == [(1, 1), (1, 2)]
        assert bus.status(1)["orders"] == "handled"
        assert bus.subscriptions["orders"].row.handled == 3


@pytest.mark.parametrize("concurrency", [1, 3])
def test_a_subscription_whose_handler_hangs_goes_on_after_a_rewind_once_that_is_overdue(concurrency: int) -> None:
    clock, handler = FakeClock(), Held()
    bus = standing_still(clock=clock)
    bus.subscribe("orders", Placed, handler=handler, timeout=30, retry=AGAIN, concurrency=concurrency)
    bus.publish_many([Placed("a", 1), Placed("b", 2)])
    rewound: list[object] = []

    def rewind() -> None:
        assert handler.inside.wait(PATIENCE)
        rewound.append(bus.subscriptions["orders"].rewind(after=0))

    rewinding = threading.Thread(target=rewind, daemon=True)
    rewinding.start()
    draining = threading.Thread(target=bus.drain, daemon=True)
    draining.start()
    rewinding.join(PATIENCE)
    clock.advance(30)
    draining.join(PATIENCE)
    assert not draining.is_alive(), "it hangs"
    assert rewound
    assert sorted({number for number, _ in handler.calls[-2:]}) == [1, 2]
    assert bus.subscriptions["orders"].row.handled == 2
    handler.go.set()
    bus.drain()
    assert bus.subscriptions["orders"].row.handled == 2, "what was done before counts for nothing"
    bus.close()


@pytest.mark.parametrize("steps", [False, True])
def test_an_overdue_handler_from_before_the_position_goes_on_and_its_key_waits_for_it(steps: bool) -> None:
    clock, handler = FakeClock(), Held(steps=steps)
    bus = standing_still(clock=clock)
    bus.subscribe("orders", Placed, handler=handler, timeout=30, retry=Retry(attempts=1))
    bus.publish_many([Placed(key, number) for number, key in enumerate("aab", 1)])
    drained_past(bus, clock, handler.inside)
    bus.subscriptions["orders"].rewind(after=1)
    bus.drain()
    assert [number for number, _ in handler.calls] == [1, 3, 3]
    handler.go.set()
    until_drained(bus, 3)
    assert [number for number, _ in handler.calls] == [1, 3, 3, 2]
    assert handler.paid == 1
    assert not bus.subscriptions["orders"].counts
    bus.close()


def test_an_overdue_list_is_recorded_for_what_the_rewind_left_of_it() -> None:
    clock, inside, go, lists = FakeClock(), threading.Event(), threading.Event(), list[list[int]]()

    def handle(events: list[Placed]) -> None:
        lists.append([event.number for event in events])
        if len(events) == 3:
            inside.set()
            assert go.wait(PATIENCE)

    bus = standing_still(clock=clock)
    bus.subscribe("orders", Placed, handler=handle, timeout=30, batch=3)
    bus.publish_many([Placed(key, number) for number, key in enumerate("aab", 1)])
    drained_past(bus, clock, inside)
    bus.subscriptions["orders"].rewind(after=2)
    bus.drain()
    go.set()
    until_drained(bus, 3)
    assert lists == [[1, 2, 3], [3]]
    assert (accounted(bus, "orders"), bus.subscriptions["orders"].counts) == (3, {})
    bus.close()


def test_a_handler_that_still_runs_where_another_takes_its_place_is_not_called_beside_it() -> None:
    clock, handler, numbers = FakeClock(), Held(steps=True), list[int]()
    bus = standing_still(clock=clock)
    earlier = Handlers()
    earlier.subscribe("orders", Placed, handler=handler, timeout=30)
    registration = bus.include(earlier)
    bus.publish_many([Placed(key, number) for number, key in enumerate("aa", 1)])
    drained_past(bus, clock, handler.inside)
    registration.close()
    bus.subscribe("orders", Placed, handler=lambda placed: numbers.append(placed.number))
    bus.drain()
    assert numbers == []
    handler.go.set()
    until_drained(bus, 2)
    assert (numbers, handler.paid) == ([2], 1)
    bus.close()
