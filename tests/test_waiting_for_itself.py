"""A handler that calls the bus in a way that would wait for the handler itself is told so at once, and what to call."""

from __future__ import annotations

import inspect
import queue
import threading
from collections.abc import Callable
from typing import Any

import pytest
from bus_stage import PATIENCE, Paid, Placed

from eventbus import EventBus, Projection, Retry, Table, Transaction, handles
from eventbus.errors import EventBusError, WaitTimeout, WouldDeadlock
from eventbus.threads import raised_by

ONCE = Retry(attempts=1)
NEVER = 1e6  # seconds: nobody waits so long


class Seen(Projection):
    """Calls what it is told to."""

    seen = Table("number INTEGER")

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call

    @handles(Placed)
    def placed(self, placed: Placed, tx: Transaction) -> None:
        self.call()


def elsewhere(thunk: Callable[[], None]) -> None:
    threading.Thread(target=thunk, daemon=True).start()


Call = Callable[[], Any]


def durable(bus: EventBus, call: Call) -> None:
    bus.subscribe("stock", Placed, handler=lambda placed: call(), retry=ONCE)


def durable_async(bus: EventBus, call: Call) -> None:
    async def handle(placed: Placed) -> None:
        result = call()
        if inspect.iscoroutine(result):
            await result

    bus.subscribe("stock", Placed, handler=handle, retry=ONCE)


def transactional(bus: EventBus, call: Call) -> None:
    bus.subscribe("stock", Placed, handler=lambda placed: call(), retry=ONCE, transactional=True)


def via(bus: EventBus, call: Call) -> None:
    bus.subscribe("stock", Placed, handler=lambda placed: call(), retry=ONCE, via=elsewhere)


def order_key(bus: EventBus, call: Call) -> None:
    bus.subscribe("stock", Placed, handler=print, retry=ONCE, order_by=lambda envelope: call())


def projection(bus: EventBus, call: Call) -> None:
    bus.project(Seen(call))


PLAIN: dict[str, Callable[[EventBus], object]] = {
    "drain": lambda bus: bus.drain(timeout=NEVER),
    "close": lambda bus: bus.close(timeout=NEVER),
    "wait_for": lambda bus: bus.wait_for(1, "stock", timeout=NEVER),
    "forget": lambda bus: bus.subscriptions["stock"].forget(),
    "rebuild": lambda bus: bus.projections["seen"].rebuild(),
}
ASYNC: dict[str, Callable[[EventBus], object]] = {
    "drain_async": lambda bus: bus.drain_async(timeout=NEVER),
    "close_async": lambda bus: bus.close_async(timeout=NEVER),
    "wait_for_async": lambda bus: bus.wait_for_async(1, "stock", timeout=NEVER),
}
INSIDE: dict[str, Callable[[EventBus], object]] = {
    "publish": lambda bus: bus.publish(Paid()),
    "publish_many": lambda bus: bus.publish_many([Paid()]),
    "submit": lambda bus: bus.submit(Paid()),
    "transaction": lambda bus: bus.transaction().__enter__(),
    "pause": lambda bus: bus.subscriptions["stock"].pause(),
}
CASES = (
    [(kind, name, PLAIN[name]) for kind in (durable, via, order_key) for name in PLAIN]
    + [(kind, name, call) for kind in (transactional, projection) for name, call in (PLAIN | INSIDE).items()]
    + [(durable_async, name, call) for name, call in (PLAIN | ASYNC).items()]
)


def raised_in(bus: EventBus, kind: Callable[[EventBus, Call], None], call: Callable[[EventBus], Any]) -> BaseException:
    """What a call raises in a handler of that kind."""
    raised: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()

    async def finish(result: Any) -> None:
        raised.put(await raised_by(lambda: result))

    def attempt() -> Any:
        try:
            result = call(bus)
        except BaseException as error:
            raised.put(error)
            return None
        if inspect.iscoroutine(result):
            return finish(result)
        raised.put(None)
        return None

    kind(bus, attempt)
    if kind is projection:
        durable(bus, lambda: None)
    else:
        projection(bus, lambda: None)
    bus.start()
    bus.publish(Placed())
    error = raised.get(timeout=PATIENCE)
    assert error is not None, "it did not raise"
    return error


@pytest.mark.parametrize("memory", [False, True])
@pytest.mark.parametrize(("kind", "name", "call"), CASES, ids=[f"{name} in {kind.__name__}" for kind, name, _ in CASES])
def test_a_handler_is_told_at_once(tmp_path: Any, kind: Any, name: str, call: Any, memory: bool) -> None:
    with EventBus(None if memory else tmp_path / "log.db") as bus:
        error = raised_in(bus, kind, call)
        assert isinstance(error, WouldDeadlock)
        assert error.hint, "and told what to call"


@pytest.mark.parametrize(
    "call",
    [
        *(call for name, call in INSIDE.items() if name != "submit"),
        lambda bus: bus.status(1),
        lambda bus: bus.query("SELECT 1"),
        lambda bus: bus.log.head,
    ],
)
def test_the_order_key_of_an_event_in_memory_cannot_ask_the_log_that_is_being_read(call: Any) -> None:
    with EventBus() as bus:
        assert isinstance(raised_in(bus, order_key, call), WouldDeadlock)


def test_a_handler_may_wait_for_another_subscription() -> None:
    found: list[str] = []

    def ask(placed: Placed) -> None:
        found.append(bus.wait_for(1, "stock", timeout=PATIENCE))

    with EventBus() as bus:
        bus.subscribe("stock", Placed, handler=print)
        bus.subscribe("asks", Placed, handler=ask)
        bus.publish(Placed())
        assert bus.wait_for(1, "asks", timeout=PATIENCE) == "handled"
    assert found == ["handled"]


def test_a_task_that_outlives_its_handler_is_no_handler() -> None:
    import asyncio

    tasks: list[Any] = []

    async def main() -> int:
        async with EventBus() as bus:

            async def later() -> int:
                await bus.wait_for_async(1, "stock", timeout=PATIENCE)
                return await bus.drain_async(timeout=PATIENCE)

            async def handle(placed: Placed) -> None:
                tasks.append(asyncio.create_task(later()))

            bus.subscribe("stock", Placed, handler=handle)
            await bus.publish_async(Placed())
            while not tasks:
                await asyncio.sleep(0)
            return await tasks[0]

    assert asyncio.run(main()) == 0


def test_a_live_handler_cannot_wait_for_what_is_told_after_it() -> None:
    raised: list[BaseException] = []

    def handle(placed: Placed) -> None:
        future = bus.submit(Paid())
        for ask in (future.result, future.exception):
            with pytest.raises(WouldDeadlock, match=r"bus\.publish") as caught:
                ask(timeout=NEVER)
            raised.append(caught.value)

    with EventBus() as bus:
        bus.on(Placed, handler=handle)
        assert bus.submit(Placed()).result(PATIENCE).position == 1
    assert len(raised) == 2


def test_on_the_publishers_thread_it_can() -> None:
    positions: list[int] = []
    with EventBus() as bus:
        bus.on(Placed, handler=lambda placed: positions.append(bus.submit(Paid()).result(PATIENCE).position))
        bus.publish(Placed())
    assert positions == [2]


def test_waiting_for_what_is_published_when_the_handler_returns_says_that_it_is_not_there() -> None:
    with EventBus() as bus:

        def handle(placed: Placed, ctx: Any) -> None:
            published = ctx.publish(Paid())
            with pytest.raises(EventBusError, match="There is no event") as caught:
                bus.wait_for(published, "others", timeout=NEVER)
            assert not isinstance(caught.value, WaitTimeout)

        bus.subscribe("others", Paid, handler=print)
        bus.subscribe("stock", Placed, handler=handle, retry=ONCE)
        assert bus.wait_for(bus.publish(Placed()), "stock", timeout=PATIENCE) == "handled"
