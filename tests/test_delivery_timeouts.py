"""Handlers that take too long: async ones are cancelled, threads are reported and gone around until they return."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sized
from pathlib import Path
from typing import Any

import pytest
from bus_stage import PATIENCE
from delivery_stage import Oops, Placed, accounted, standing_still

from eventbus import Context, EventBus, EventDefinitionError, Retry
from eventbus.retry import fixed
from eventbus.technical import HandlerOverdue
from eventbus.testing import FakeClock

RETRY = Retry(attempts=3, backoff=fixed(0))
RETRY_LATER = Retry(attempts=9, backoff=fixed(10))


class Hanging:
    """A handler whose event number 1 hangs until the test lets it go; then it returns, or raises `error`."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error
        self.inside, self.go, self.out = threading.Event(), threading.Event(), threading.Event()
        self.numbers: list[int] = []

    def __call__(self, placed: Placed) -> None:
        if placed.number == 1 and not self.go.is_set():
            self.inside.set()
            assert self.go.wait(PATIENCE)
            if self.error is not None:
                raise self.error
        self.numbers.append(placed.number)


@pytest.fixture
def hanging() -> Iterator[Hanging]:
    handler = Hanging()
    yield handler
    handler.go.set()


def drained_past(bus: EventBus, clock: FakeClock, inside: threading.Event, seconds: float = 30.0) -> None:
    """Drain, and let so many seconds pass once the handler hangs."""
    done = threading.Thread(target=lambda: bus.drain(), daemon=True)
    done.start()
    assert inside.wait(PATIENCE)
    clock.advance(seconds)
    done.join(PATIENCE)
    assert not done.is_alive(), "it hangs"


def hung(hanging: Hanging, clock: FakeClock, keys: str = "aba", path: Path | None = None, **how: Any) -> EventBus:
    bus = standing_still(path, clock)
    bus.subscribe("orders", Placed, handler=hanging, **{"timeout": 30, "retry": RETRY, **how})
    bus.publish_many([Placed(key, number) for number, key in enumerate(keys, 1)])
    drained_past(bus, clock, hanging.inside)
    return bus


def until_called(bus: EventBus, calls: Sized, times: int) -> None:
    """Drain until a handler has been called so often, and all that came of it is recorded."""
    progress = bus._attachment.engine().pump.progress
    while len(calls) < times:
        bus.drain()
        progress.wait(progress.version, 0.02)
    bus.drain()


def until_drained(bus: EventBus, handled: int) -> None:
    """Drain until so many are handled: a thread that was let go comes back a moment later."""
    progress = bus._attachment.engine().pump.progress
    while bus.subscriptions["orders"].row.handled < handled:
        bus.drain()
        progress.wait(progress.version, 0.02)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_the_key_of_an_overdue_thread_waits_and_the_others_go_on(hanging: Hanging, concurrency: int) -> None:
    bus = hung(hanging, FakeClock(), "abacb", concurrency=concurrency)
    assert sorted(hanging.numbers) == [2, 4, 5]
    assert bus.subscriptions["orders"].counts == {"retrying": 1, "held": 1}
    status = bus.status(1)["orders"]
    assert (status, status.attempts) == ("retrying", 1)
    assert "HandlerTimeout: Handler of 'orders' ran longer than 30 s" in str(status.error)
    assert bus.status(3)["orders"] == "held"
    hanging.go.set()
    until_drained(bus, 5)
    assert hanging.numbers[-2:] == [1, 3]
    assert accounted(bus, "orders") == 5
    assert not bus.subscriptions["orders"].counts
    bus.close()


def test_it_is_told_where_the_thread_hangs(hanging: Hanging, caplog: pytest.LogCaptureFixture) -> None:
    clock, heard = FakeClock(), list[HandlerOverdue]()
    bus = standing_still(clock=clock)
    bus.on(HandlerOverdue, handler=heard.append)
    bus.subscribe("orders", Placed, handler=hanging, timeout=30)
    bus.publish(Placed("a", 1))
    drained_past(bus, clock, hanging.inside)
    bus.close(timeout=0.1)
    (overdue,) = heard
    assert (overdue.subscription, overdue.position, overdue.seconds) == ("orders", 1, 30.0)
    assert "assert self.go.wait(PATIENCE)" in overdue.stack
    assert "assert self.go.wait(PATIENCE)" in caplog.text


def test_an_overdue_handler_that_fails_in_the_end_is_a_failed_attempt() -> None:
    hanging = Hanging(Oops("late"))
    bus = hung(hanging, FakeClock())
    hanging.go.set()
    until_drained(bus, 3)
    assert hanging.numbers == [2, 1, 3]
    bus.close()


def test_a_process_that_starts_later_tries_it_at_once(hanging: Hanging, tmp_path: Path) -> None:
    path, numbers = tmp_path / "log.db", list[int]()
    hung(hanging, FakeClock(), path=path).close(timeout=0)
    with standing_still(path, FakeClock(seed=99)) as bus:
        bus.subscribe("orders", Placed, handler=lambda placed: numbers.append(placed.number), retry=RETRY)
        bus.drain()
        assert numbers == [1, 3]
        assert accounted(bus, "orders") == 3


def test_a_close_in_order_uses_up_no_attempt_of_an_overdue_handler(hanging: Hanging, tmp_path: Path) -> None:
    path, attempts = tmp_path / "log.db", list[tuple[int, int]]()

    def handle(placed: Placed, ctx: Context) -> None:
        attempts.append((placed.number, ctx.attempt))

    hung(hanging, FakeClock(), path=path, retry=Retry(attempts=1)).close(timeout=0)
    with standing_still(path, FakeClock(seed=99)) as bus:
        bus.subscribe("orders", Placed, handler=handle, retry=Retry(attempts=1))
        bus.drain()
        assert attempts == [(1, 1), (3, 1)]
        assert not bus.dead_letters.list()
        assert accounted(bus, "orders") == 3


def test_what_a_person_changes_meanwhile_does_not_start_it_a_second_time(hanging: Hanging) -> None:
    bus = hung(hanging, FakeClock())
    bus.subscriptions["orders"].pause()
    bus.subscriptions["orders"].resume()
    bus.drain()
    assert hanging.numbers == [2]
    hanging.go.set()
    until_drained(bus, 3)
    assert hanging.numbers == [2, 1, 3]
    bus.close()


def test_all_of_an_overdue_list_waits(hanging: Hanging) -> None:
    def lists(events: list[Placed]) -> None:
        for each in events:
            hanging(each)

    clock = FakeClock()
    bus = standing_still(clock=clock)
    bus.subscribe("orders", Placed, handler=lists, timeout=30, retry=RETRY, batch=2)
    bus.publish_many([Placed(key, number) for number, key in enumerate("abcb", 1)])
    drained_past(bus, clock, hanging.inside)
    assert hanging.numbers == [3]
    assert bus.subscriptions["orders"].counts == {"retrying": 2, "held": 1}
    hanging.go.set()
    until_drained(bus, 4)
    assert hanging.numbers == [3, 1, 2, 4]
    bus.close()


class HangingList:
    """A handler of lists: one of three hangs until it is let go, and fails then; later number 1 alone fails once."""

    def __init__(self) -> None:
        self.inside, self.go = threading.Event(), threading.Event()
        self.lists, self.done = list[list[int]](), list[int]()

    def __call__(self, events: list[Placed]) -> None:
        numbers = [event.number for event in events]
        self.lists.append(numbers)
        if len(numbers) == 3:
            self.inside.set()
            assert self.go.wait(PATIENCE)
            raise Oops("the list")
        if numbers == [1] and self.lists.count([1]) == 1:
            raise Oops("the first")
        self.done += numbers


@pytest.mark.parametrize(("order_by", "keys"), [("stream", "aaa"), ("log", "abc"), ("log", "aaa")])
def test_an_overdue_list_that_fails_comes_again_in_order_and_waits_for_its_first(order_by: Any, keys: str) -> None:
    clock, hanging = FakeClock(), HangingList()
    bus = standing_still(clock=clock)
    bus.subscribe("orders", Placed, handler=hanging, timeout=30, batch=3, order_by=order_by, retry=RETRY_LATER)
    bus.publish_many([Placed(key, number) for number, key in enumerate(keys, 1)])
    drained_past(bus, clock, hanging.inside)
    assert bus.subscriptions["orders"].counts == {"retrying": 1, "held": 2}
    assert [bus.status(position)["orders"] for position in (1, 2, 3)] == ["retrying", "held", "held"]
    hanging.go.set()
    until_called(bus, hanging.lists, 2)
    assert hanging.lists[1:] == [[1]]
    assert bus.subscriptions["orders"].counts == {"retrying": 1, "held": 2}
    clock.advance(10)
    until_drained(bus, 3)
    assert hanging.done == [1, 2, 3]
    assert not bus.subscriptions["orders"].counts
    bus.close()


def test_a_process_that_comes_after_an_overdue_list_tries_it_in_order(tmp_path: Path) -> None:
    clock, hanging, path, done = FakeClock(), HangingList(), tmp_path / "log.db", list[int]()
    bus = standing_still(path, clock)
    bus.subscribe("orders", Placed, handler=hanging, timeout=30, batch=3)
    bus.publish_many([Placed("a", number) for number in (1, 2, 3)])
    drained_past(bus, clock, hanging.inside)
    bus.close(timeout=0)

    def handle(placed: Placed, ctx: Context) -> None:
        if (placed.number, done) == (1, []) and ctx.attempt < 3:
            raise Oops
        done.append(placed.number)

    again = FakeClock(seed=99)
    with standing_still(path, again) as bus:
        bus.subscribe("orders", Placed, handler=handle, retry=RETRY_LATER)
        bus.drain()
        assert (done, bus.subscriptions["orders"].counts) == ([], {"retrying": 1, "held": 2})
        for _ in range(3):
            again.advance(10)
            bus.drain()
        assert done == [1, 2, 3]
        assert accounted(bus, "orders") == 3
    hanging.go.set()


@pytest.mark.parametrize("order_by", ["stream", "log"])
def test_an_overdue_list_that_is_handled_in_the_end_lets_all_behind_it_go_on(order_by: Any) -> None:
    clock, inside, go, done = FakeClock(), threading.Event(), threading.Event(), list[int]()

    def handle(events: list[Placed]) -> None:
        if len(events) == 3:
            inside.set()
            assert go.wait(PATIENCE)
        done.extend(event.number for event in events)

    bus = standing_still(clock=clock)
    bus.subscribe("orders", Placed, handler=handle, timeout=30, batch=3, order_by=order_by)
    bus.publish_many([Placed("a", number) for number in range(1, 6)])
    drained_past(bus, clock, inside)
    go.set()
    until_drained(bus, 5)
    assert done == [1, 2, 3, 4, 5]
    assert (accounted(bus, "orders"), bus.subscriptions["orders"].row.cursor) == (5, 5)
    bus.close()


def test_a_handler_within_its_time_is_left_alone() -> None:
    clock, numbers = FakeClock(), list[int]()

    def handle(placed: Placed) -> None:
        clock.advance(29)
        numbers.append(placed.number)

    with standing_still(clock=clock) as bus:
        bus.subscribe("orders", Placed, handler=handle, timeout=30)
        bus.publish_many([Placed("a", number) for number in range(5)])
        assert bus.drain(timeout=1000) == 5


# --- on a loop ------------------------------------------------------------------------------------------


async def passing(bus: EventBus, clock: FakeClock, inside: asyncio.Event, *seconds: float) -> None:
    """Drain, and let time pass once the handler hangs."""
    drained = asyncio.ensure_future(bus.drain_async())
    await asyncio.wait_for(inside.wait(), PATIENCE)
    for each in seconds:
        clock.advance(each)
    await asyncio.wait_for(drained, PATIENCE)


@pytest.mark.parametrize("concurrency", [1, 2])
def test_an_overdue_async_handler_is_cancelled_and_tried_again(concurrency: int) -> None:
    tries: list[tuple[int, int]] = []
    clock = FakeClock()

    async def run() -> None:
        inside = asyncio.Event()

        async def handle(placed: Placed, ctx: Context) -> None:
            tries.append((placed.number, ctx.attempt))
            if placed.number == 1 and ctx.attempt == 1:
                inside.set()
                await asyncio.Event().wait()

        async with EventBus(delivery="manual", clock=clock) as bus:
            bus.subscribe("orders", Placed, handler=handle, timeout=30, retry=RETRY, concurrency=concurrency)
            await bus.publish_many_async([Placed(key, number) for number, key in enumerate("abab", 1)])
            await passing(bus, clock, inside, 30)
            assert bus.subscriptions["orders"].row.handled == 4

    asyncio.run(run())
    assert sorted(tries) == [(1, 1), (1, 2), (2, 1), (3, 1), (4, 1)]
    order = [number for number, _ in tries]
    assert order.index(3) > order.index(1)


def test_an_async_handler_that_runs_out_of_time_each_time_ends_dead() -> None:
    clock = FakeClock()

    async def run() -> None:
        inside = asyncio.Event()

        async def handle(placed: Placed) -> None:
            inside.set()
            await asyncio.Event().wait()

        async with EventBus(delivery="manual", clock=clock) as bus:
            bus.subscribe("orders", Placed, handler=handle, timeout=30, retry=Retry(attempts=1))
            receipt = await bus.publish_async(Placed("a", 1))
            await passing(bus, clock, inside, 30)
            status = bus.status(receipt)["orders"]
            assert (status, status.error) == ("dead", "HandlerTimeout: Handler of 'orders' ran longer than 30 s.")

    asyncio.run(run())


def test_an_async_handler_that_will_not_be_cancelled_is_gone_around() -> None:
    clock, numbers = FakeClock(), list[int]()

    async def run() -> None:
        inside, go = asyncio.Event(), asyncio.Event()

        async def handle(placed: Placed) -> None:
            if placed.number == 1:
                inside.set()
                while not go.is_set():
                    try:
                        await go.wait()
                    except asyncio.CancelledError:
                        clock.advance(5)
            numbers.append(placed.number)

        async with EventBus(delivery="manual", clock=clock) as bus:
            bus.subscribe("orders", Placed, handler=handle, timeout=30, retry=RETRY)
            await bus.publish_many_async([Placed(key, number) for number, key in enumerate("aba", 1)])
            await passing(bus, clock, inside, 30)
            assert numbers == [2]
            go.set()
            while bus.subscriptions["orders"].row.handled < 3:
                await bus.drain_async()
                await asyncio.sleep(0)
        assert numbers == [2, 1, 3]

    asyncio.run(run())


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"timeout": 0}, "seconds above 0"),
        ({"timeout": "5"}, "seconds above 0"),
        ({"timeout": float("nan")}, "seconds above 0"),
        ({"timeout": 1, "transactional": True}, "revoked after 5 s"),
    ],
)
def test_a_timeout_that_cannot_be_is_refused(how: dict[str, Any], why: str) -> None:
    with EventBus() as bus, pytest.raises(EventDefinitionError, match=why):
        bus.subscribe("orders", Placed, handler=lambda placed: None, **how)
