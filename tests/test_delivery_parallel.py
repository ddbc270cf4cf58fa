"""Several order keys at once: each key in order, the cursor below what is not done, and nothing twice after a crash."""

from __future__ import annotations

import asyncio
import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from bus_stage import PATIENCE
from delivery_stage import Oops, Placed, accounted, standing_still

from eventbus import Context, EventBus, EventDefinitionError, Retry
from eventbus.errors import BusClosed
from eventbus.retry import fixed

AGAIN = Retry(attempts=3, backoff=fixed(0))


class Meeting:
    """A handler whose calls wait for each other until so many run at once."""

    def __init__(self, size: int) -> None:
        self.barrier = threading.Barrier(size)
        self.streams: list[str] = []

    def __call__(self, placed: Placed) -> None:
        self.barrier.wait(PATIENCE)
        self.streams.append(placed.order_id)


def orders(keys: str) -> list[Placed]:
    """One order an event, numbered in the order in which they are published."""
    return [Placed(key, number) for number, key in enumerate(keys, 1)]


def test_as_many_keys_are_worked_on_at_once_as_it_says() -> None:
    meeting = Meeting(3)
    with standing_still() as bus:
        bus.subscribe("orders", Placed, handler=meeting, concurrency=3)
        bus.publish_many(orders("abcabc"))
        assert bus.drain(timeout=PATIENCE) == 6
    assert sorted(meeting.streams) == list("aabbcc")


def test_async_handlers_run_at_once_too_and_no_more_than_it_says() -> None:
    now = most = 0

    async def handle(placed: Placed) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(10):
            await asyncio.sleep(0)
        now -= 1

    async def run() -> int:
        async with EventBus(delivery="manual") as bus:
            bus.subscribe("orders", Placed, handler=handle, concurrency=4)
            await bus.publish_many_async(orders("abcdefghij" * 5))
            return await bus.drain_async()

    assert asyncio.run(run()) == 50
    assert most == 4


@pytest.mark.parametrize("concurrency", [2, 8, 20])
def test_each_key_is_in_order_whatever_fails(concurrency: int) -> None:
    seen: dict[str, list[int]] = defaultdict(list)
    failed: set[int] = set()

    def handle(placed: Placed) -> None:
        if placed.number % 7 == 0 and placed.number not in failed:
            failed.add(placed.number)
            raise Oops
        seen[placed.order_id].append(placed.number)

    with standing_still() as bus:
        bus.subscribe("orders", Placed, handler=handle, concurrency=concurrency, retry=AGAIN)
        bus.publish_many(orders("abacadbbcaad" * 20))
        assert bus.drain(timeout=PATIENCE) == 240
        assert accounted(bus, "orders") == 240
        row = bus.subscriptions["orders"].row
        assert (row.cursor, row.ahead) == (240, frozenset())
    assert all(numbers == sorted(numbers) for numbers in seen.values())
    assert sum(map(len, seen.values())) == 240


def test_events_without_a_key_stand_alone() -> None:
    meeting = Meeting(3)
    with standing_still() as bus:
        bus.subscribe("orders", Placed, handler=meeting, concurrency=3, order_by=None)
        bus.publish_many(orders("aaa"))
        assert bus.drain(timeout=PATIENCE) == 3


class Gate:
    """A handler whose event number 1 waits until the test lets it go; the others are noted."""

    def __init__(self) -> None:
        self.inside, self.go = threading.Event(), threading.Event()
        self.numbers: list[int] = []
        self.others = threading.Semaphore(0)

    def __call__(self, placed: Placed) -> None:
        if placed.number == 1:
            self.inside.set()
            assert self.go.wait(PATIENCE)
        self.numbers.append(placed.number)
        self.others.release()


def until_recorded(bus: EventBus, name: str, handled: int) -> None:
    """Wait for the commit that counts so many."""
    progress = bus._attachment.engine().pump.progress
    while bus.subscriptions[name].row.handled < handled:
        progress.wait(progress.version, 0.05)


def test_what_overtook_a_slow_event_is_kept_beside_the_cursor_and_is_not_done_again(tmp_path: Path) -> None:
    gate, path = Gate(), tmp_path / "log.db"
    bus = EventBus(path)
    bus.subscribe("orders", Placed, handler=gate, concurrency=2)
    with bus:
        receipts = bus.publish_many(orders("abcb"))
        assert gate.inside.wait(PATIENCE)
        until_recorded(bus, "orders", 3)
        row = bus.subscriptions["orders"].row
        assert (row.cursor, row.ahead) == (0, frozenset({2, 3, 4}))
        assert [bus.status(receipt)["orders"] for receipt in receipts] == ["waiting", "handled", "handled", "handled"]
        bus.close(timeout=0)
    assert gate.numbers == [2, 3, 4]
    again: list[int] = []
    with standing_still(path) as bus:
        bus.subscribe("orders", Placed, handler=lambda placed: again.append(placed.number), concurrency=2)
        bus.drain()
        assert bus.subscriptions["orders"].row.cursor == 4
        assert accounted(bus, "orders") == 4
    assert again == [1]
    gate.go.set()


def test_a_failure_beyond_a_slow_event_is_not_lost(tmp_path: Path) -> None:
    gate, path = Gate(), tmp_path / "log.db"

    def handle(placed: Placed) -> None:
        gate(placed)
        if placed.number == 2:
            raise Oops

    with EventBus(path) as bus:
        bus.subscribe("orders", Placed, handler=handle, concurrency=2, retry=Retry(attempts=1))
        bus.publish_many(orders("abcb"))
        until_recorded(bus, "orders", 1)
        bus.close(timeout=0)
    with standing_still(path) as bus:
        bus.subscribe("orders", Placed, handler=lambda placed: None, concurrency=2, retry=Retry(attempts=1))
        bus.drain()
        assert bus.subscriptions["orders"].counts == {"dead": 1, "held": 1}
        assert accounted(bus, "orders") == 4
    gate.go.set()


def test_steps_and_published_events_belong_to_their_own_event() -> None:
    def handle(placed: Placed, ctx: Context) -> None:
        number = ctx.step("number", lambda: placed.number)
        if ctx.attempt == 1 and placed.number % 3 == 0:
            raise Oops
        assert number == placed.number

    with standing_still() as bus:
        bus.subscribe("orders", Placed, handler=handle, concurrency=5, retry=AGAIN)
        bus.publish_many(orders("abcdefgh" * 4))
        assert bus.drain(timeout=PATIENCE) == 32


def test_closing_gives_back_what_was_not_begun(tmp_path: Path) -> None:
    path, gate = tmp_path / "log.db", Gate()
    with EventBus(path) as bus:
        bus.subscribe("orders", Placed, handler=gate, concurrency=2)
        bus.publish_many(orders("aaaa"))
        assert gate.inside.wait(PATIENCE)
        threading.Timer(0, gate.go.set).start()
    with pytest.raises(BusClosed):
        bus.publish(Placed("a"))
    with standing_still(path) as bus:
        bus.subscribe("orders", Placed, handler=gate, concurrency=2)
        bus.drain()
        assert accounted(bus, "orders") == 4
    assert gate.numbers == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"concurrency": 0}, "whole number from 1"),
        ({"concurrency": True}, "whole number from 1"),
        ({"concurrency": 1000}, "whole number from 1"),
        ({"concurrency": 2, "order_by": "log"}, "one event after the other"),
        ({"concurrency": 2, "transactional": True}, "one writes at a time"),
        ({"concurrency": 2, "via": lambda thunk: thunk()}, "one event after the other elsewhere"),
    ],
)
def test_what_cannot_run_at_once_is_refused(how: dict[str, Any], why: str) -> None:
    with EventBus() as bus, pytest.raises(EventDefinitionError, match=why):
        bus.subscribe("orders", Placed, handler=lambda placed: None, **how)
