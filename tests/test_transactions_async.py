"""`async with bus.transaction()`: the same without blocking the loop, also when tasks are cancelled."""

import asyncio
import contextvars
import threading

import pytest
from bus_stage import Paid, Placed, Recorder, elsewhere, run

from eventbus import EventBus
from eventbus.errors import BusClosed, EventBusError, WouldDeadlock


@pytest.fixture(params=["file", "memory"])
def bus(request, tmp_path):
    made = EventBus(tmp_path / "shop.db" if request.param == "file" else None, errors="raise", delivery="manual")
    with made.transaction() as tx:
        tx.execute("CREATE TABLE orders (id TEXT PRIMARY KEY)")
    yield made
    made.close()


def orders(bus: EventBus) -> list[object]:
    return [row["id"] for row in bus.query("SELECT id FROM orders ORDER BY id")]


def in_line(bus: EventBus) -> int:
    """How many wait for the open transaction to end."""
    return len(bus._attachment.engine().storage.turnstile._waiting)


class Broken(Exception):
    pass


def test_rows_and_events_are_stored_together(bus):
    async def main() -> None:
        async with bus.transaction() as tx:
            tx.db["orders"].insert({"id": "o-1"})
            await asyncio.sleep(0)
            tx.publish(Placed(1))

    run(main())
    assert (orders(bus), bus.log.head) == (["o-1"], 1)


def test_an_exception_takes_back_both(bus):
    async def main() -> None:
        async with bus.transaction() as tx:
            tx.execute("INSERT INTO orders VALUES ('o-1')")
            tx.publish(Placed(1))
            raise Broken

    with pytest.raises(Broken):
        run(main())
    assert (orders(bus), bus.log.head) == ([], 0)


def test_live_handlers_hear_of_it_on_the_loop_after_the_commit(bus):
    heard = []
    bus.on(Placed, handler=lambda placed: heard.append((placed, bus.log.head, threading.current_thread())))

    async def main() -> threading.Thread:
        async with bus.transaction() as tx:
            tx.publish(Placed(1))
            assert heard == []
        return threading.current_thread()

    assert heard == [(Placed(1), 1, run(main()))]


def test_transactions_of_tasks_and_threads_take_turns(bus):
    async def one(number: int) -> None:
        async with bus.transaction() as tx:
            (count,) = tx.execute("SELECT count(*) FROM orders").fetchone()
            await asyncio.sleep(0)
            tx.execute("INSERT INTO orders VALUES (?)", (f"o-{count}",))
            tx.publish(Placed(number), stream="orders", expected_version=count)

    async def main() -> None:
        await asyncio.gather(*[one(n) for n in range(20)], *[bus.publish_async(Paid(n)) for n in range(20)])

    run(main())
    assert (len(orders(bus)), bus.log.head) == (20, 40)


def test_other_tasks_publish_async_meanwhile_and_are_stored_after_it(bus):
    async def main() -> None:
        async with bus.transaction() as tx:
            other = asyncio.get_running_loop().create_task(bus.publish_async(Paid(1)), context=contextvars.Context())
            await asyncio.sleep(0)
            tx.publish(Placed(1))
        assert (await other).position == 2

    run(main())


@pytest.mark.parametrize("call", ["publish", "publish_many", "drain", "wait_for", "transaction", "submit"])
def test_inside_it_what_would_wait_for_it_raises_at_once(bus, call):
    bus.subscribe("orders", Placed, handler=lambda placed: None)
    bus.publish(Placed())
    calls = {
        "publish": lambda: bus.publish_async(Placed()),
        "publish_many": lambda: bus.publish_many_async([Placed()]),
        "drain": lambda: bus.drain_async(),
        "wait_for": lambda: bus.wait_for_async(1, "orders"),
        "transaction": lambda: bus.transaction().__aenter__(),
        "submit": lambda: asyncio.to_thread(bus.submit, Placed()),
    }

    async def main() -> None:
        async with bus.transaction():
            with pytest.raises(WouldDeadlock):
                await calls[call]()

    run(main())


@pytest.mark.parametrize("form", ["async with", "with"])
@pytest.mark.parametrize(
    "call",
    [
        lambda bus: bus.publish(Paid(1)),
        lambda bus: bus.transaction().__enter__(),
        lambda bus: bus.subscriptions["orders"].pause(),
    ],
    ids=["publish", "transaction", "pause"],
)
def test_another_task_of_the_loop_may_not_block_it_meanwhile(bus, form, call):
    bus.subscribe("orders", Placed, handler=lambda placed: None)
    bus.publish(Placed())
    refused = []

    async def other() -> None:
        with pytest.raises(WouldDeadlock, match="_async") as caught:
            call(bus)
        refused.append(caught.value)

    async def main() -> None:
        if form == "with":
            with bus.transaction():
                await asyncio.get_running_loop().create_task(other(), context=contextvars.Context())
        else:
            async with bus.transaction():
                await asyncio.get_running_loop().create_task(other(), context=contextvars.Context())
        assert (await bus.publish_async(Placed(2))).position == 2

    run(main())
    assert len(refused) == 1


def test_a_task_may_not_block_the_loop_while_another_stands_in_line(bus):
    inside, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        with bus.transaction():
            inside.set()
            go_on.wait()

    async def later() -> None:
        async with bus.transaction() as tx:
            tx.publish(Placed(1))

    async def main() -> None:
        holder = threading.Thread(target=hold, daemon=True)
        holder.start()
        await asyncio.to_thread(inside.wait)
        waiting = asyncio.ensure_future(later())
        while not in_line(bus):
            await asyncio.sleep(0)
        with pytest.raises(WouldDeadlock):
            bus.publish(Paid(1))
        go_on.set()
        await waiting
        holder.join()

    run(main())
    assert bus.log.head == 1


def test_another_loop_and_other_threads_wait_for_their_turn(bus):
    inside, done = threading.Event(), []

    def other() -> None:
        inside.wait()
        done.append(asyncio.run(bus.publish_async(Paid(1))).position)
        done.append(bus.publish(Paid(2)).position)

    thread = threading.Thread(target=other, daemon=True)

    async def main() -> None:
        async with bus.transaction() as tx:
            inside.set()
            for _ in range(10):
                await asyncio.sleep(0)
            tx.publish(Placed(1))

    thread.start()
    run(main())
    thread.join()
    assert done == [2, 3]


def test_a_task_cancelled_inside_takes_it_back(bus):
    async def forever(started: asyncio.Event) -> None:
        async with bus.transaction() as tx:
            tx.execute("INSERT INTO orders VALUES ('o-1')")
            tx.publish(Placed(1))
            started.set()
            await asyncio.Event().wait()

    async def main() -> None:
        started = asyncio.Event()
        task = asyncio.ensure_future(forever(started))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await bus.publish_async(Placed(2))).position == 1

    run(main())
    assert (orders(bus), [each.event for each in bus.log.read()]) == ([], [Placed(2)])


@pytest.mark.parametrize("steps", range(8))
def test_wherever_a_task_is_cancelled_it_is_stored_wholly_or_not_and_the_bus_goes_on(bus, steps):
    heard = Recorder()
    bus.on(Placed, handler=heard)

    async def one() -> None:
        async with bus.transaction() as tx:
            tx.execute("INSERT INTO orders VALUES ('o-1')")
            tx.publish(Placed(1))

    async def main() -> None:
        task = asyncio.ensure_future(one())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await bus.publish_async(Paid(1))

    run(main())
    assert len(orders(bus)) == bus.log.head - 1
    if bus.log.head == 2:
        assert heard.heard(1) == [Placed(1)]


def test_a_task_cancelled_while_it_stands_in_line_leaves_the_line(bus):
    async def one() -> None:
        async with bus.transaction() as tx:
            tx.publish(Placed(1))

    async def main() -> None:
        async with bus.transaction():
            waiting = [asyncio.get_running_loop().create_task(one(), context=contextvars.Context()) for _ in range(3)]
            while in_line(bus) < 3:
                await asyncio.sleep(0)
            waiting[1].cancel()
            await asyncio.wait([waiting[1]])
        await asyncio.gather(waiting[0], waiting[2])

    run(main())
    assert bus.log.head == 2


def test_a_run_of_asyncio_that_ends_in_the_middle_leaves_the_bus_usable(bus):
    async def one() -> None:
        async with bus.transaction() as tx:
            tx.publish(Placed(1))

    async def main(steps: int) -> None:
        left = [asyncio.ensure_future(one()) for _ in range(4)]
        for _ in range(steps):
            await asyncio.sleep(0)
        assert left

    for steps in range(6):
        elsewhere(lambda steps=steps: asyncio.run(main(steps)))
        elsewhere(lambda: bus.publish(Paid(1)))
    assert [each.position for each in bus.log.read()] == list(range(1, bus.log.head + 1))


def test_after_the_block_it_refuses_to_work(bus):
    async def main() -> None:
        async with bus.transaction() as tx:
            tx.publish(Placed(1))
        with pytest.raises(EventBusError):
            tx.publish(Placed(2))

    run(main())
    assert bus.log.head == 1


def test_a_closed_bus_opens_none(bus):
    bus.close()

    async def main() -> None:
        async with bus.transaction():
            pass

    with pytest.raises(BusClosed):
        run(main())


def test_however_many_wait_for_it_it_can_be_left_and_others_opened_and_closed(bus, tmp_path):
    other = EventBus(tmp_path / "other.db", delivery="manual")

    async def main() -> None:
        async with bus.transaction() as tx:
            # A drain has to record it first. In a context without the transaction, which would refuse it.
            contextvars.Context().run(lambda: bus.subscribe("orders", Placed, handler=lambda placed: None))
            loop = asyncio.get_running_loop()
            drains = [loop.create_task(bus.drain_async(), context=contextvars.Context()) for _ in range(12)]
            while not in_line(bus):
                await asyncio.sleep(0)
            await other.publish_async(Placed(2))
            async with other.transaction() as inner:
                inner.publish(Placed(3))
            await other.drain_async()
            await other.close_async()
            tx.publish(Placed(1))
        await asyncio.gather(*drains)

    run(main())
    assert bus.log.head == 1


def test_a_transaction_is_open_only_for_the_task_that_opened_it(bus):
    async def main() -> None:
        opened, go_on = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            async with bus.transaction() as tx:
                opened.set()
                await go_on.wait()
                tx.publish(Placed(1))

        holder = asyncio.ensure_future(hold())
        await opened.wait()
        publishing = asyncio.ensure_future(bus.publish_async(Paid(1)))
        await asyncio.sleep(0)
        go_on.set()
        await holder
        assert (await publishing).position == 2

    run(main())
