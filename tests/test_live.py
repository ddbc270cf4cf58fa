"""Live handlers of a bus: where each runs, in which order, and what becomes of their failures."""

import asyncio
import contextlib
import logging
import queue
import threading

import pytest
from bus_stage import PATIENCE, Opened, Paid, Placed, Recorder, Tick, elsewhere, run

from eventbus import EventBus, EventBusError, event
from eventbus.errors import BusClosed, WaitTimeout, WouldDeadlock
from eventbus.placement import loop as on_loop
from eventbus.placement import queue as in_queue
from eventbus.technical import DeliveryHandled


@pytest.fixture
def bus():
    made = EventBus(delivery="manual")
    yield made
    made.close()


@pytest.fixture
def strict():
    made = EventBus(errors="raise", delivery="manual")
    yield made
    with contextlib.suppress(Broken):
        made.close()


class Broken(Exception):
    pass


def fail(event: object) -> None:
    raise Broken


async def fail_later(event: object) -> None:
    await asyncio.sleep(0)
    raise Broken


@pytest.fixture(autouse=True)
def quiet(caplog):
    """Failing handlers are logged; these tests make them fail on purpose."""
    caplog.set_level(logging.CRITICAL, "eventbus.dispatch")


# --- where they run ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "verb",
    [
        lambda bus: bus.publish(Placed()),
        lambda bus: bus.publish_many([Placed()]),
        lambda bus: bus.emit(Placed()),
    ],
    ids=["publish", "publish_many", "emit"],
)
def test_plain_handlers_run_on_the_publishers_thread_before_it_goes_on(bus, verb):
    heard = Recorder()
    bus.on(Placed, handler=heard)
    verb(bus)
    assert heard.threads == [threading.current_thread()]


@pytest.mark.parametrize("verb", ["publish_async", "emit_async"])
def test_plain_handlers_of_async_verbs_run_on_the_callers_loop(bus, verb):
    loops = []
    bus.on(Placed, handler=lambda placed: loops.append(asyncio.get_running_loop()))

    async def main() -> None:
        await getattr(bus, verb)(Placed())
        assert loops == [asyncio.get_running_loop()]

    run(main())


@pytest.mark.parametrize("verb", ["publish_async", "emit_async"])
def test_async_verbs_await_async_handlers_all_together(bus, verb):
    meeting = asyncio.Barrier(3)
    done = []

    async def meet(placed):
        await meeting.wait()
        done.append(placed)

    for _ in range(3):
        bus.on(Placed, handler=_copy(meet))
    run(getattr(bus, verb)(Placed(1)))
    assert done == [Placed(1)] * 3


def _copy(handler):
    async def copy(placed):
        await handler(placed)

    return copy


def test_publish_schedules_async_handlers_on_a_loop_of_the_bus(bus):
    heard = Recorder()

    @bus.on(Placed)
    async def later(placed):
        heard(placed)

    bus.publish(Placed(1))
    bus.publish(Placed(2))
    assert heard.heard(2) == [Placed(1), Placed(2)]
    assert len(set(heard.threads)) == 1
    assert heard.threads[0] is not threading.current_thread()


@pytest.mark.parametrize("verb", ["publish", "publish_async", "submit", "emit"])
def test_async_handlers_run_on_the_loop_that_entered_the_bus(verb):
    loops = []

    async def main() -> None:
        async with EventBus() as bus:
            heard = asyncio.Event()

            @bus.on(Placed)
            async def later(placed):
                loops.append(asyncio.get_running_loop())
                heard.set()

            if verb == "publish_async":
                await bus.publish_async(Placed())
            else:
                await asyncio.to_thread(getattr(bus, verb), Placed())
            await heard.wait()
            assert loops == [asyncio.get_running_loop()]

    run(main())


def test_what_durable_handlers_publish_and_technical_events_are_told_on_one_thread_of_the_bus(bus):
    heard = Recorder()
    bus.on(Paid, DeliveryHandled, handler=heard)
    bus.subscribe("payments", Placed, handler=lambda placed, ctx: ctx.publish(Paid(placed.number)))
    for n in range(3):
        bus.publish(Placed(n))
    bus.drain(PATIENCE)
    paid = [each for each in heard.events if isinstance(each, Paid)]
    assert (paid, len(heard.events)) == ([Paid(0), Paid(1), Paid(2)], 6)
    assert len(set(heard.threads)) == 1
    assert heard.threads[0] is not threading.current_thread()


def test_a_queue_takes_a_handler_to_whoever_reads_it(bus):
    heard, thunks = Recorder(), queue.SimpleQueue()
    bus.on(Placed, handler=heard, via=in_queue(thunks))
    bus.publish(Placed(1))
    elsewhere(lambda: bus.publish(Placed(2)))
    assert heard.events == []
    for _ in range(2):
        thunks.get(timeout=PATIENCE)()
    assert heard.events == [Placed(1), Placed(2)]
    assert set(heard.threads) == {threading.current_thread()}


def test_a_loop_takes_a_handler_to_itself(bus):
    async def main() -> None:
        loop, heard = asyncio.get_running_loop(), asyncio.Event()
        bus.on(Placed, handler=lambda placed: heard.set(), via=on_loop(loop))
        await asyncio.to_thread(bus.publish, Placed())
        await heard.wait()

    run(main())


def test_what_a_handler_publishes_elsewhere_is_caused_by_its_event_too(bus):
    thunks = queue.SimpleQueue()
    bus.on(Placed, handler=lambda placed: bus.publish(Paid()), via=in_queue(thunks))
    placed = bus.publish(Placed())
    thunks.get(timeout=PATIENCE)()
    assert bus.log.get(2).causation_id == placed.id


# --- order -------------------------------------------------------------------------------------------------


def test_handlers_run_by_priority_and_then_as_they_were_connected(bus):
    order = []
    for name, priority in (("a", 0), ("b", 0), ("last", -1), ("first", 5)):
        bus.on(Placed, handler=lambda placed, name=name: order.append(name), priority=priority)
    bus.publish(Placed())
    assert order == ["first", "a", "b", "last"]


def test_nested_publishes_go_depth_first(bus):
    order = []

    @bus.on(Placed)
    def one(placed):
        order.append(f"one {placed.number}")
        if placed.number == 1:
            bus.publish(Placed(2))
        order.append(f"end {placed.number}")

    bus.on(Placed, handler=lambda placed: order.append(f"two {placed.number}"))
    bus.publish(Placed(1))
    assert order == ["one 1", "one 2", "end 2", "two 2", "end 1", "two 1"]
    assert [each.event.number for each in bus.log.read()] == [1, 2]


def test_every_bus_on_a_file_hears_what_either_publishes(tmp_path):
    one, other = (EventBus(tmp_path / "shop.db", delivery="manual") for _ in range(2))
    heard = []
    for name, bus in (("one", one), ("other", other)):
        bus.on(Placed, handler=lambda placed, name=name: heard.append((name, placed.number)))
        assert bus.log.head == 0
    one.publish(Placed(1))
    run(other.publish_async(Placed(2)))
    assert heard == [("one", 1), ("other", 1), ("one", 2), ("other", 2)]
    one.close()
    other.publish(Placed(3))
    assert heard[4:] == [("other", 3)]
    other.close()


def test_off_takes_a_handler_out_and_says_whether_it_was_in(bus):
    heard = []
    bus.on(Placed, Paid, handler=heard.append)
    assert bus.off(heard.append)
    assert not bus.off(heard.append)
    bus.publish_many([Placed(), Paid()])
    assert heard == []


def test_the_signal_of_a_class_is_blinkers(bus):
    heard = []
    bus.signal(Placed).connect(heard.append, weak=False)
    bus.publish(Placed(1))
    bus.signal(Placed).disconnect(heard.append)
    bus.publish(Placed(2))
    assert heard == [Placed(1)]


def test_a_context_tells_what_is_handled(bus):
    told = []
    bus.on(Opened, handler=lambda opened, ctx: told.append((ctx.envelope.stream, ctx.envelope.sequence, ctx.attempt)))
    bus.publish(Opened("7"))
    bus.emit(Opened("7"))
    assert told == [("account-7", 1, 1), (None, None, 1)]


def test_a_live_handler_has_no_transaction_of_its_own(strict):
    strict.on(Placed, handler=lambda placed, ctx: ctx.tx)
    with pytest.raises(EventBusError, match="transactional=True"):
        strict.publish(Placed())


# --- nothing is stored -------------------------------------------------------------------------------------


def test_emit_stores_nothing_and_touches_no_file(tmp_path):
    bus = EventBus(tmp_path / "shop.db")
    heard = []
    bus.on(Tick, handler=lambda tick, ctx: heard.append((tick, ctx.envelope.position)))
    bus.emit(Tick(1))
    run(bus.emit_async(Tick(2)))
    assert heard == [(Tick(1), 0), (Tick(2), 0)]
    assert list(tmp_path.iterdir()) == []
    bus.close()


def test_what_a_handler_of_an_emitted_event_publishes_is_a_root(bus):
    bus.on(Tick, handler=lambda tick: bus.publish(Placed()))
    bus.emit(Tick())
    assert bus.log.get(1).causation_id is None


# --- the end -----------------------------------------------------------------------------------------------


def test_close_lets_scheduled_handlers_finish(bus):
    heard, go_on = Recorder(), threading.Event()

    @bus.on(Placed)
    async def later(placed):
        await asyncio.to_thread(go_on.wait, PATIENCE)
        heard(placed)

    bus.publish(Placed(1))
    threading.Thread(target=go_on.set).start()
    bus.close()
    assert heard.events == [Placed(1)]


def test_a_handler_may_close_the_bus(bus):
    heard = []
    bus.on(Placed, handler=lambda placed: bus.close())
    bus.on(Placed, handler=heard.append)
    receipts = elsewhere(lambda: bus.publish_many([Placed(1), Placed(2)]))
    assert len(receipts) == 2
    assert heard[0] == Placed(1)
    with pytest.raises(BusClosed):
        bus.publish(Placed(3))


def test_a_scheduled_handler_may_drain_without_waiting_for_itself(strict):
    drained = Recorder()

    @strict.on(Placed)
    async def drain(placed):
        drained(await strict.drain_async(PATIENCE))

    strict.publish(Placed())
    assert drained.heard(1) == [0]


def test_a_durable_handler_may_not_drain_the_bus_that_waits_for_it(bus):
    refused = []

    async def drain(placed):
        try:
            await bus.drain_async()
        except WouldDeadlock as error:
            refused.append(error)

    bus.subscribe("orders", Placed, handler=drain)
    bus.publish(Placed())
    elsewhere(lambda: bus.drain(PATIENCE))
    assert len(refused) == 1


def test_drain_waits_no_longer_than_it_was_told_for_handlers(strict):
    go_on = threading.Event()

    @strict.on(Placed)
    async def wait(placed):
        await asyncio.to_thread(go_on.wait, PATIENCE)

    strict.publish(Placed())
    with pytest.raises(WaitTimeout):
        strict.drain(0.0)
    go_on.set()
    strict.drain(PATIENCE)


# --- durable handlers that return coroutines ---------------------------------------------------------------


def test_a_plain_durable_handler_that_returns_a_coroutine_is_awaited(bus):
    done = []

    async def save(placed):
        await asyncio.sleep(0)
        done.append(placed)

    bus.subscribe("orders", Placed, handler=lambda placed: save(placed))
    receipt = bus.publish(Placed(1))
    assert bus.drain(PATIENCE) == 1
    assert done == [Placed(1)]
    assert bus.status(receipt)["orders"] == "handled"


def test_where_nobody_could_await_it_a_coroutine_is_a_failure_and_not_lost(bus):
    async def save(placed):
        raise AssertionError("it cannot run")

    bus.subscribe("transactional", Placed, handler=lambda placed: save(placed), transactional=True)
    bus.subscribe("window", Placed, handler=lambda placed: save(placed), via=lambda thunk: thunk())
    receipt = bus.publish(Placed(1))
    assert bus.drain(PATIENCE) == 0
    for name in ("transactional", "window"):
        status = bus.status(receipt)[name]
        assert status == "retrying"
        assert "coroutine" in status.error


def test_a_class_that_is_redefined_keeps_its_handlers(bus):
    heard = []

    def make() -> type:
        @event(name="stage.Reloaded")
        class Reloaded:
            number: int = 0

        return Reloaded

    bus.on(make(), handler=heard.append)
    bus.publish(make()(3))
    assert [each.number for each in heard] == [3]
