"""What a durable handler may do: publish, fail in odd ways, run on a loop or elsewhere; and what drain says of it."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import Any

import pytest
from delivery_stage import Counted, Notes, Oops, Paid, Placed, accounted, failing, only, standing_still

from eventbus import Context, EventBus, EventBusError, Retry, WaitTimeout
from eventbus.errors import WouldDeadlock
from eventbus.retry import fixed
from eventbus.worker.loop import BusLoop, LoopEnded

ONCE = Retry(attempts=1)

# --- what a handler may do ------------------------------------------------------------------------------


def test_what_an_interrupted_try_published_is_not_stored_beside_what_the_next_one_publishes() -> None:
    calls = []

    def pay(placed: Placed, ctx: Context) -> None:
        calls.append(ctx.publish(Paid(placed.order_id)))
        if len(calls) == 1:
            raise KeyboardInterrupt

    with standing_still() as bus:
        bus.subscribe("pay", Placed, handler=pay)
        bus.publish(Placed("1"))
        with pytest.raises(KeyboardInterrupt):
            bus.drain()
        bus.drain()
        assert [envelope.id for envelope in bus.log.read(types=Paid)] == calls[1:] == calls[:1]


def test_what_a_handler_publishes_after_it_has_returned_is_refused() -> None:
    kept: list[Context] = []
    with standing_still() as bus:
        bus.subscribe("pay", Placed, handler=lambda placed, ctx: kept.append(ctx))
        bus.publish(Placed("1"))
        bus.drain()
        with pytest.raises(EventBusError, match="has returned") as refused:
            kept[0].publish(Paid("1"))
        assert refused.value.stored == "not stored"
        assert bus.log.head == 1


def test_what_a_handler_publishes_is_stored_once_even_if_it_fails_afterwards() -> None:
    ids = []

    def pay(placed: Placed, ctx: Context) -> None:
        ids.append([ctx.publish(Paid(placed.order_id)), ctx.publish(Paid("gift"))])
        if ctx.attempt < 3:
            raise Oops

    with standing_still() as bus:
        bus.subscribe("pay", Placed, handler=pay, retry=Retry(attempts=3, backoff=fixed(0)))
        placed = bus.publish(Placed("1"))
        bus.drain()
        stored = list(bus.log.read(after=placed.position))
    assert [envelope.event for envelope in stored] == [Paid("1"), Paid("gift")]
    assert [envelope.id for envelope in stored] == ids[0] == ids[1] == ids[2]
    assert [envelope.causation_id for envelope in stored] == [placed.id, placed.id]
    assert [envelope.correlation_id for envelope in stored] == [placed.id, placed.id]


def test_what_a_handler_publishes_and_the_log_refuses_is_a_failure_of_the_handler() -> None:
    def pay(placed: Placed, ctx: Context) -> None:
        ctx.publish(Paid(placed.order_id), expected_version=7)

    with standing_still() as bus:
        bus.subscribe("pay", Placed, handler=pay, retry=ONCE)
        position = bus.publish(Placed("1")).position
        assert bus.drain() == 0
        assert bus.log.head == position
        assert "WrongExpectedVersion" in str(bus.status(position)["pay"].error)


@pytest.mark.parametrize("how", [{}, {"order_by": "log"}, {"concurrency": 3}, {"order_by": lambda envelope: "one"}])
def test_where_the_log_refuses_what_a_handler_publishes_nothing_of_its_key_has_run_before_it_is_tried_again(
    how: dict[str, Any],
) -> None:
    seen: list[tuple[str, int]] = []

    def pay(placed: Placed, ctx: Context) -> None:
        first = placed == Placed("a", 1) and ("a", 1) not in seen
        seen.append((placed.order_id, placed.number))
        ctx.publish(Paid(placed.order_id), expected_version=7 if first else None)

    with standing_still() as bus:
        bus.subscribe("pay", Placed, handler=pay, retry=Retry(attempts=3, backoff=fixed(0)), **how)
        bus.publish_many([Placed("a", 1), Placed("b", 1), Placed("a", 2), Placed("b", 2), Placed("a", 3)])
        bus.drain()
        assert [number for order, number in seen if order == "a"] == [1, 1, 2, 3]
        assert [number for order, number in seen if order == "b"] == [1, 2]
        assert len(list(bus.log.read(types=Paid))) == 5


def test_a_list_whose_publishes_the_log_may_refuse_leaves_the_rest_of_its_keys() -> None:
    seen: list[list[int]] = []

    def pay(events: list[Placed], ctx: Context) -> None:
        seen.append([event.number for event in events])
        wrong = len(events) > 1 and len(seen) == 1
        ctx.publish(Paid("a"), stream=f"paid-{events[0].number}", expected_version=7 if wrong else 0)

    with standing_still() as bus:
        bus.subscribe("pay", Placed, handler=pay, batch=2, order_by=lambda envelope: "one")
        bus.publish_many([Placed("a", number) for number in range(1, 6)])
        bus.drain()
        assert seen == [[1, 2], [1], [2], [3, 4], [5]]


def test_a_subscription_may_hear_what_it_publishes_itself() -> None:
    def count_down(counted: Counted, ctx: Context) -> None:
        if counted.number:
            ctx.publish(Counted(counted.number - 1))

    with standing_still() as bus:
        bus.subscribe("count", Counted, handler=count_down)
        bus.publish(Counted(3))
        assert bus.drain() == 4
        assert [envelope.event.number for envelope in bus.log.read()] == [3, 2, 1, 0]


@pytest.mark.parametrize("error", [SystemExit(3), GeneratorExit(), asyncio.CancelledError(), BaseException("odd")])
def test_a_handler_that_raises_what_is_no_exception_has_failed_and_the_bus_goes_on(error: BaseException) -> None:
    async def later(counted: Counted) -> None:
        raise error

    with standing_still() as bus:
        bus.subscribe("plain", Counted, handler=failing(error), retry=ONCE)
        bus.subscribe("transactional", Counted, handler=failing(error), retry=ONCE, transactional=True)
        bus.subscribe("async", Counted, handler=later, retry=ONCE)
        bus.publish(Counted(1))
        bus.drain()
        assert set(bus.status(1).values()) == {"dead"}
        bus.publish(Counted(2))


def test_an_error_that_cannot_say_what_it_is_is_recorded_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("cannot")

    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=failing(Mute()), retry=ONCE)
        bus.publish(Counted(1))
        bus.drain()
        assert "Mute" in str(bus.status(1)["stock"].error)


def test_a_handler_has_a_transaction_only_where_it_is_transactional() -> None:
    def touch(counted: Counted, ctx: Context) -> None:
        ctx.tx.execute("CREATE TABLE a (b)")

    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=touch, retry=ONCE)
        bus.publish(Counted(1))
        bus.drain()
        assert "transactional=True" in str(bus.status(1)["stock"].error)


def test_a_handler_can_be_sent_elsewhere_and_many_events_do_not_pile_up_on_its_stack() -> None:
    notes, turns = Notes(), list[Any]()

    def via(thunk: Any, frames: int = 5) -> None:
        if frames:
            return via(thunk, frames - 1)
        turns.append(thunk)
        return thunk()

    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=notes, via=via)
        bus.publish_many([Counted(number) for number in range(600)])
        assert bus.drain() == 600
        assert bus.subscriptions["stock"].counts == {}
    assert notes.numbers == list(range(600))
    assert len(turns) == 600


# --- async handlers -------------------------------------------------------------------------------------


def test_async_handlers_run_on_the_loop_that_was_entered() -> None:
    threads: set[int] = set()
    order: list[int] = []

    async def note(counted: Counted) -> None:
        threads.add(threading.get_ident())
        order.append(counted.number)
        await asyncio.sleep(0)
        order.append(counted.number)

    async def main() -> None:
        async with EventBus() as bus:
            bus.subscribe("stock", Counted, handler=note)
            await bus.publish_many_async([Counted(1), Counted(2)])
            await bus.drain_async()
            threads.add(threading.get_ident())

    asyncio.run(main())
    assert len(threads) == 1
    assert order == [1, 1, 2, 2]


def test_async_handlers_run_on_a_loop_of_the_bus_where_none_was_entered() -> None:
    threads: set[int] = set()

    async def note(counted: Counted) -> None:
        threads.add(threading.get_ident())

    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=note)
        bus.publish(Counted(1))
        assert bus.drain() == 1
    assert threading.get_ident() not in threads


def test_what_the_apps_loop_left_undone_as_it_ended_is_done_on_the_loop_of_the_bus() -> None:
    done: list[int] = []
    first: list[int] = []

    async def main() -> EventBus:
        begun = asyncio.Event()

        async def note(counted: Counted) -> None:
            if not first:
                first.append(counted.number)
                begun.set()
                await asyncio.Event().wait()
            done.append(counted.number)

        bus = EventBus()
        for name in "abc":
            bus.subscribe(name, Counted, handler=note)
        await bus.start_async()
        await bus.publish_async(Counted(1))
        await begun.wait()
        return bus

    with asyncio.run(main()) as bus:
        bus.drain(timeout=60)
        assert set(bus.status(1).values()) == {"handled"}
    assert set(done) == {1}


def test_what_was_left_on_a_loop_that_is_closed_ends_and_what_comes_next_runs_elsewhere() -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    async def answer() -> int:
        return 42

    loop, runs_on = asyncio.new_event_loop(), BusLoop()
    runs_on.adopt(loop)
    futures = [runs_on.spawn(forever()), runs_on.spawn(answer())]
    loop.close()
    runs_on.sweep()
    assert [type(future.exception(0)) for future in futures] == [LoopEnded, LoopEnded]
    assert runs_on.spawn(answer()).result(60) == 42
    runs_on.close()


# --- drain ----------------------------------------------------------------------------------------------


def test_drain_counts_what_was_handled_by_all_subscriptions() -> None:
    with standing_still() as bus:
        bus.subscribe("a", Counted, handler=Notes())
        bus.subscribe("b", Counted, handler=Notes(only(2)))
        bus.publish_many([Counted(1), Counted(2)])
        assert bus.drain() == 3
        assert bus.drain() == 0
        assert accounted(bus, "a") == accounted(bus, "b") == 2


def test_drain_in_a_handler_raises_at_once() -> None:
    with standing_still() as bus:
        bus.subscribe("a", Counted, handler=lambda counted: bus.drain(), retry=ONCE)
        bus.publish(Counted(1))
        bus.drain()
        assert "WouldDeadlock" in str(bus.status(1)["a"].error)


def test_drain_on_a_loop_and_in_a_transaction_raises_at_once() -> None:
    async def main(bus: EventBus) -> None:
        with pytest.raises(WouldDeadlock, match="drain_async"):
            bus.drain()

    with standing_still() as bus:
        asyncio.run(main(bus))
        with bus.transaction(), pytest.raises(EventBusError, match="drain was called inside an open transaction"):
            bus.drain()


def test_drain_gives_up_after_its_timeout() -> None:
    thunks: list[Any] = []
    with EventBus(delivery="manual") as bus:
        bus.subscribe("elsewhere", Counted, handler=Notes(), via=thunks.append)
        bus.publish(Counted(1))
        with pytest.raises(WaitTimeout):
            bus.drain(timeout=0)
        thunks.pop()()
        bus.drain()


def test_drain_gives_up_on_an_async_handler_as_well() -> None:
    go_on = threading.Event()

    async def wait(counted: Counted) -> None:
        await asyncio.to_thread(go_on.wait)

    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=wait)
        bus.publish(Counted(1))
        with pytest.raises(WaitTimeout):
            bus.drain(timeout=0)
        go_on.set()
        assert bus.drain() == 1


@pytest.mark.parametrize("delivery", ["manual", "thread"])
def test_what_was_given_to_via_is_not_waited_for_when_its_subscription_is_forgotten(delivery: Any) -> None:
    given: queue.Queue[Any] = queue.Queue()
    notes = Notes()
    with EventBus(delivery=delivery) as bus:
        bus.subscribe("gui", Counted, handler=notes, via=given.put)
        bus.publish(Counted(1))
        if delivery == "manual":
            with pytest.raises(WaitTimeout):
                bus.drain(timeout=0)
        late = given.get(timeout=60)
        bus.subscriptions["gui"].forget()
        late()
        assert "gui" not in bus.subscriptions
        bus.subscribe("gui", Counted, handler=notes)
        bus.publish(Counted(2))
        assert bus.drain() == 1
