"""Handlers that take a list: what is in it, and what a failure of one event in it means for the others."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bus_stage import PATIENCE
from delivery_stage import Oops, Paid, Placed, accounted, standing_still

from eventbus import Context, EventBus, EventBusError, EventDefinitionError, Retry
from eventbus.retry import fixed
from eventbus.testing import FakeClock

AGAIN = Retry(attempts=2, backoff=fixed(5))


class Lists:
    """A handler of lists that notes the numbers it gets, and fails where one of `bad` is among them."""

    def __init__(self, *bad: int) -> None:
        self.bad = set(bad)
        self.lists: list[list[int]] = []
        self.attempts: list[int] = []

    def __call__(self, events: list[Placed], ctx: Context) -> None:
        assert [envelope.event for envelope in ctx.envelopes] == events
        assert ctx.envelope == ctx.envelopes[-1]
        self.lists.append([event.number for event in events])
        self.attempts.append(ctx.attempt)
        if self.bad.intersection(self.lists[-1]):
            raise Oops

    async def later(self, events: list[Placed], ctx: Context) -> None:
        await asyncio.sleep(0)
        self(events, ctx)


def placed(keys: str) -> list[Placed]:
    return [Placed(key, number) for number, key in enumerate(keys, 1)]


def drained(handler: Any, keys: str, clock: FakeClock | None = None, **how: Any) -> EventBus:
    bus = standing_still(clock=clock)
    bus.subscribe("orders", Placed, handler=handler, **{"batch": 3, "retry": AGAIN, **how})
    bus.publish_many(placed(keys))
    bus.drain(timeout=PATIENCE)
    return bus


@pytest.mark.parametrize("transactional", [False, True])
def test_a_handler_gets_what_there_is_and_no_more_than_it_asks_for(transactional: bool) -> None:
    handler = Lists()
    bus = drained(handler, "abcdefg", transactional=transactional)
    assert handler.lists == [[1, 2, 3], [4, 5, 6], [7]]
    assert bus.subscriptions["orders"].row.handled == 7
    bus.close()


def test_async_handlers_get_lists_too() -> None:
    handler = Lists()

    async def run() -> None:
        async with EventBus(delivery="manual") as bus:
            bus.subscribe("orders", Placed, handler=handler.later, batch=3)
            await bus.publish_many_async(placed("abcd"))
            assert await bus.drain_async() == 4

    asyncio.run(run())
    assert handler.lists == [[1, 2, 3], [4]]


@pytest.mark.parametrize("transactional", [False, True])
def test_a_list_that_fails_comes_again_event_by_event_and_that_uses_up_no_attempt(transactional: bool) -> None:
    handler, clock = Lists(2), FakeClock()
    bus = drained(handler, "abcad", clock, transactional=transactional)
    assert handler.lists[:3] == [[1, 2, 3], [1], [2]]
    assert sorted(number for each in handler.lists[3:] for number in each) == [3, 4, 5]
    assert set(handler.attempts) == {1}
    assert bus.subscriptions["orders"].counts == {"retrying": 1}
    clock.advance(5)
    bus.drain()
    assert (handler.lists[-1], handler.attempts[-1]) == ([2], 2)
    assert bus.subscriptions["orders"].counts == {"dead": 1}
    assert accounted(bus, "orders") == 5
    bus.close()


def test_events_behind_a_failed_one_of_their_key_are_held() -> None:
    handler = Lists(1)
    bus = drained(handler, "aabab")
    assert handler.lists == [[1, 2, 3], [1], [3], [5]]
    assert bus.subscriptions["orders"].counts == {"retrying": 1, "held": 2}
    bus.close()


def test_what_a_failed_list_published_is_not_stored() -> None:
    def handler(events: list[Placed], ctx: Context) -> None:
        ctx.publish(Paid(events[-1].order_id))
        if len(events) > 1:
            raise Oops

    bus = drained(handler, "abc")
    assert [each.event for each in bus.log.read(types=Paid)] == [Paid("a"), Paid("b"), Paid("c")]
    bus.close()


@pytest.mark.parametrize("how", [{}, {"order_by": "log"}, {"concurrency": 2}])
def test_a_list_of_which_the_log_refuses_an_event_comes_again_one_by_one_and_nothing_is_lost(
    how: dict[str, Any],
) -> None:
    lists: list[list[int]] = []

    def handler(events: list[Placed], ctx: Context) -> None:
        lists.append([event.number for event in events])
        for event in events:
            refused = event.number == 3 and len(events) > 1
            ctx.publish(Paid(event.order_id), stream=event.order_id, expected_version=7 if refused else 0)

    bus = drained(handler, "abcd", **how)
    assert [each for each in lists if each != [4]] == [[1, 2, 3], [1], [2], [3]]
    assert sorted(each.event.order_id for each in bus.log.read(types=Paid)) == ["a", "b", "c", "d"]
    assert (bus.subscriptions["orders"].row.handled, bus.subscriptions["orders"].counts) == (4, {})
    bus.close()


def test_of_a_list_that_the_log_refuses_only_the_event_whose_fault_it_is_fails() -> None:
    def handler(events: list[Placed], ctx: Context) -> None:
        for event in events:
            ctx.publish(Paid(event.order_id), stream=event.order_id, expected_version=7 if event.number == 3 else 0)

    bus = drained(handler, "abc", retry=Retry(attempts=1))
    assert [each.event for each in bus.log.read(types=Paid)] == [Paid("a"), Paid("b")]
    assert [str(bus.status(position)["orders"]) for position in (1, 2, 3)] == ["handled", "handled", "dead"]
    bus.close()


def test_what_a_list_publishes_is_caused_by_its_last_event() -> None:
    def handler(events: list[Placed], ctx: Context) -> None:
        ctx.publish(Paid(str(len(events))))

    bus = drained(handler, "abc")
    (paid,) = bus.log.read(types=Paid)
    assert (paid.event, paid.causation_id) == (Paid("3"), bus.log.get(3).id)
    bus.close()


def test_the_rows_of_a_list_are_in_the_file_exactly_once() -> None:
    bus = standing_still()
    with bus.transaction() as tx:
        tx.execute("CREATE TABLE seen (number INTEGER)")

    def handler(events: list[Placed], ctx: Context) -> None:
        ctx.tx.executemany("INSERT INTO seen VALUES (?)", [(event.number,) for event in events])
        if any(event.number == 4 for event in events):
            raise Oops

    bus.subscribe("orders", Placed, handler=handler, batch=3, transactional=True, retry=Retry(attempts=1))
    bus.publish_many(placed("abcdefg"))
    bus.drain()
    assert [row["number"] for row in bus.query("SELECT number FROM seen ORDER BY number", ())] == [1, 2, 3, 5, 6, 7]
    bus.close()


def test_several_lists_run_at_once_and_share_no_key() -> None:
    handler = Lists()
    bus = drained(handler, "aabbccdd" * 10, concurrency=3, batch=4)
    assert sum(map(len, handler.lists)) == 80
    for key in range(4):
        numbers = [number for each in handler.lists for number in each if (number - 1) // 2 % 4 == key]
        assert numbers == sorted(numbers)
    bus.close()


def test_a_handler_of_lists_has_no_steps() -> None:
    errors: list[Exception] = []

    def handler(events: list[Placed], ctx: Context) -> None:
        with pytest.raises(EventBusError, match="A batch handler has no steps") as caught:
            ctx.step("charge", lambda: 1)
        errors.append(caught.value)

    drained(handler, "a").close()
    assert errors


def test_replay_gives_it_lists_of_one() -> None:
    handler = Lists()
    bus = drained(handler, "abc")
    assert len(list(bus.subscriptions["orders"].replay(bus.log.read()))) == 3
    assert handler.lists[1:] == [[1], [2], [3]]
    bus.close()


@pytest.mark.parametrize("batch", [0, -1, True, 10_000, "3"])
def test_a_size_that_cannot_be_is_refused(batch: Any) -> None:
    with EventBus() as bus, pytest.raises(EventDefinitionError, match="whole number from 1 to 500"):
        bus.subscribe("orders", Placed, handler=lambda events: None, batch=batch)
