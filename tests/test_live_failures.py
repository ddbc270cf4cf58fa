"""Live handlers that fail: who is told, what is logged, and what `errors="raise"` raises where."""

import asyncio
import contextlib
import logging
import queue

import pytest
from bus_stage import PATIENCE, Paid, Placed, Recorder, Tick, run

from eventbus import EventBus, EventBusError
from eventbus.placement import queue as in_queue
from eventbus.technical import DeliveryHandled, DeliveryRetrying, HandlerFailed


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


# --- failures: told ----------------------------------------------------------------------------------------


def test_one_failing_handler_stops_nobody_and_does_not_fail_the_publish(bus):
    heard = []
    bus.on(Placed, handler=fail)
    bus.on(Placed, handler=heard.append)
    assert bus.publish(Placed(1)).position == 1
    bus.emit(Placed(2))
    run(bus.publish_async(Placed(3)))
    assert heard == [Placed(1), Placed(2), Placed(3)]


@pytest.mark.parametrize("handler", [fail, fail_later], ids=["plain", "async"])
@pytest.mark.parametrize("verb", ["publish", "publish_many", "publish_async", "transaction", "submit", "emit"])
def test_a_failure_is_told_with_handler_event_and_the_place_where_it_was_published(bus, verb, handler):
    failed = Recorder()
    bus.on(HandlerFailed, handler=failed)
    bus.on(Placed, handler=handler)
    _publish(bus, verb)
    (told,) = failed.heard(1)
    assert told.handler == f"test_live_failures:{handler.__name__}"
    assert (told.event_type, told.error) == ("stage.Placed", "Broken: ")
    assert told.event_id == (None if verb == "emit" else bus.log.get(1).id)
    assert __file__ in told.place
    assert "_publish" in told.place


def _publish(bus: EventBus, verb: str) -> None:
    if verb == "publish_many":
        bus.publish_many([Placed()])
    elif verb == "publish_async":

        async def _publish_there() -> None:
            await bus.publish_async(Placed())

        run(_publish_there())
    elif verb == "transaction":
        with bus.transaction() as tx:
            tx.publish(Placed())
    elif verb == "submit":
        bus.submit(Placed()).result(PATIENCE)
    else:
        getattr(bus, verb)(Placed())


def test_a_failure_is_logged_with_the_place(bus, caplog):
    caplog.set_level(logging.ERROR, "eventbus.dispatch")
    bus.on(Placed, handler=fail)
    bus.publish(Placed())
    (record,) = caplog.records
    assert "test_live_failures:fail" in record.getMessage()
    assert __file__ in record.getMessage()
    assert record.exc_info[0] is Broken


def test_a_failure_is_told_on_a_bus_that_has_opened_no_file_yet(tmp_path):
    failed = Recorder()
    bus = EventBus(tmp_path / "shop.db")
    bus.on(HandlerFailed, handler=failed)
    bus.on(Tick, handler=fail)
    bus.emit(Tick())
    assert failed.heard(1)[0].event_type == "stage.Tick"
    bus.close()
    assert list(tmp_path.iterdir()) == []


def test_handlers_of_failures_that_fail_do_not_go_round_for_ever(bus):
    told = []

    def fail_too(event):
        told.append(type(event).__name__)
        raise Broken

    bus.on("eventbus.*", handler=fail_too)
    bus.on(Placed, handler=fail)
    bus.subscribe("orders", Placed, handler=lambda placed: None)
    bus.publish(Placed())
    bus.drain(PATIENCE)
    assert sorted(told) == ["DeliveryHandled", "HandlerFailed", "HandlerFailed"]


def test_technical_events_are_built_only_when_somebody_listens(bus, monkeypatch):
    built = []
    for cls in (HandlerFailed, DeliveryHandled, DeliveryRetrying):
        monkeypatch.setattr(cls, "__init__", _noting(cls, built))
    bus.on(Placed, "*", handler=fail)
    bus.subscribe("orders", Placed, handler=lambda placed: None)
    bus.subscribe("broken", Placed, handler=fail)
    bus.publish(Placed())
    bus.drain(PATIENCE)
    assert built == []
    for cls in (HandlerFailed, DeliveryHandled, DeliveryRetrying):
        bus.on(cls, handler=lambda event: None)
    bus.publish(Placed())
    bus.drain(PATIENCE)
    assert sorted(set(built)) == ["DeliveryHandled", "DeliveryRetrying", "HandlerFailed"]


def _noting(cls, built):
    def init(self, *args, **named):
        built.append(cls.__name__)
        original(self, *args, **named)

    original = cls.__init__
    return init


def test_a_star_leaves_out_technical_events_and_a_pattern_can_name_them(bus):
    everything, own = [], []
    bus.on("*", handler=everything.append)
    bus.on("stage.T*", handler=own.append)
    bus.emit(Tick(1))
    bus.publish(Placed(1))
    assert (everything, own) == ([Placed(1)], [Tick(1)])


# --- handlers that exit ------------------------------------------------------------------------------------

ENDS = [SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError]
EXITS = [SystemExit, KeyboardInterrupt]


def raising(error):
    def leave(event):
        raise error

    return leave


def raising_later(error):
    async def leave_later(event):
        raise error

    return leave_later


@pytest.mark.parametrize("error", ENDS)
def test_a_handler_that_exits_on_the_dispatch_thread_has_failed_and_stops_nobody(strict, error):
    heard, failed = Recorder(), Recorder()
    strict.on(HandlerFailed, handler=failed)
    strict.on(Placed, handler=raising(error), priority=1)
    strict.on(Placed, handler=heard)
    assert strict.submit(Placed(1)).result(PATIENCE).position == 1
    with pytest.raises(EventBusError, match=error.__name__) as caught:
        strict.drain(PATIENCE)
    assert type(caught.value.__cause__) is error
    assert heard.events == [Placed(1)]
    assert failed.heard(1)[0].error.startswith(error.__name__)
    strict.subscribe("payments", Paid, handler=lambda paid, ctx: ctx.publish(Placed(2)))
    strict.publish(Paid())
    with pytest.raises(EventBusError, match=error.__name__):
        strict.drain(PATIENCE)
    assert heard.events == [Placed(1), Placed(2)]


@pytest.mark.parametrize("error", EXITS)
@pytest.mark.parametrize("verb", ["publish", "publish_many", "transaction", "emit"])
def test_an_exit_goes_on_through_the_publish_once_all_were_called(bus, verb, error):
    heard, failed = Recorder(), Recorder()
    bus.on(HandlerFailed, handler=failed)
    bus.on(Placed, handler=raising(error), priority=1)
    bus.on(Placed, handler=heard)
    with pytest.raises(error):
        _publish(bus, verb)
    assert heard.events == [Placed()]
    assert failed.heard(1)[0].handler == "test_live_failures:raising.<locals>.leave"
    assert bus.log.head == (0 if verb == "emit" else 1)


def test_an_exit_goes_on_through_publish_async_once_all_were_called(bus):
    heard = []
    bus.on(Placed, handler=raising(SystemExit), priority=1)
    bus.on(Placed, handler=heard.append)

    async def main() -> None:
        with pytest.raises(SystemExit):
            await bus.publish_async(Placed(1))

    run(main())
    assert heard == [Placed(1)]


@pytest.mark.parametrize("error", [GeneratorExit, asyncio.CancelledError])
def test_what_is_no_exit_is_the_handlers_own_failure(bus, error):
    heard = []
    bus.on(Placed, handler=raising(error), priority=1)
    bus.on(Placed, handler=heard.append)
    bus.publish(Placed(1))
    run(bus.publish_async(Placed(2)))
    assert heard == [Placed(1), Placed(2)]


@pytest.mark.parametrize("error", ENDS)
@pytest.mark.parametrize("adopted", [False, True], ids=["own loop", "app's loop"])
def test_an_async_handler_that_exits_has_failed_and_its_loop_goes_on(bus, error, adopted):
    heard, failed, handled = Recorder(), Recorder(), []
    bus.on(HandlerFailed, handler=failed)
    bus.on(Placed, handler=raising_later(error))

    @bus.on(Placed)
    async def hear(placed):
        heard(placed)

    @bus.subscribe("orders", Placed)
    async def handle(placed):
        handled.append(placed)

    async def main() -> None:
        if adopted:
            await bus.start_async()
        assert (await bus.publish_async(Placed(1))).position == 1
        bus.publish(Placed(2))
        await bus.drain_async(PATIENCE)

    run(main())
    assert heard.heard(2) == handled == [Placed(1), Placed(2)]
    assert [each.error for each in failed.heard(2)] == [f"{error.__name__}: "] * 2


def test_an_error_that_exits_when_it_is_shown_is_told_all_the_same(bus):
    class Unsaid(Exception):
        def __str__(self):
            raise SystemExit

    failed = Recorder()
    bus.on(HandlerFailed, handler=failed)
    bus.on(Placed, handler=raising(Unsaid()))
    bus.publish(Placed())
    assert failed.heard(1)[0].error == "Unsaid: (its message cannot be shown: SystemExit)"


# --- failures: raised --------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["publish", "publish_many", "publish_async", "transaction", "emit"])
def test_with_errors_raise_a_failure_raises_from_the_publish_and_the_event_is_stored(strict, verb):
    heard = []
    strict.on(Placed, handler=fail)
    strict.on(Placed, handler=heard.append)
    with pytest.raises(Broken):
        _publish(strict, verb)
    assert heard == [Placed()]
    assert strict.log.head == (0 if verb == "emit" else 1)


def test_several_failures_raise_as_a_group(strict):
    strict.on(Placed, handler=fail)
    strict.on(Placed, handler=lambda placed: fail(placed))
    with pytest.raises(ExceptionGroup) as caught:
        strict.publish(Placed())
    assert [type(each) for each in caught.value.exceptions] == [Broken, Broken]
    with pytest.raises(ExceptionGroup) as caught:
        strict.publish_many([Placed(), Placed()])
    assert len(caught.value.exceptions) == 4


@pytest.mark.parametrize("asynchronous", [False, True])
def test_what_closing_raises_does_not_replace_what_the_with_block_raised(caplog, asynchronous):
    def fill(bus):
        bus.on(Placed, handler=fail_later)
        bus.publish(Placed())
        raise LookupError("of the block")

    def enter():
        with EventBus(errors="raise") as bus:
            fill(bus)

    async def enter_async():
        async with EventBus(errors="raise") as bus:
            fill(bus)

    caplog.set_level(logging.ERROR, "eventbus.bus")
    with pytest.raises(LookupError, match="of the block"):
        run(enter_async()) if asynchronous else enter()
    (record,) = [each for each in caplog.records if each.name == "eventbus.bus"]
    assert record.exc_info[0] is Broken


def test_async_handlers_that_publish_async_awaits_raise_from_it(strict):
    strict.on(Placed, handler=fail_later)
    with pytest.raises(Broken):
        run(strict.publish_async(Placed()))
    strict.drain(PATIENCE)


@pytest.mark.parametrize("end", ["drain", "close"])
@pytest.mark.parametrize("verb", ["publish", "emit", "transaction"])
def test_failures_of_scheduled_handlers_raise_from_drain_and_close(strict, verb, end):
    strict.on(Placed, handler=fail_later)
    _publish(strict, verb)
    with pytest.raises(Broken):
        getattr(strict, end)()
    strict.close()


@pytest.mark.parametrize("end", ["drain", "close"])
def test_failures_on_the_dispatch_thread_raise_from_drain_and_close(strict, end):
    strict.on(Placed, handler=fail)
    assert strict.submit(Placed()).result(PATIENCE).position == 1
    with pytest.raises(Broken):
        getattr(strict, end)()


def test_failures_of_what_durable_handlers_publish_raise_from_drain(strict):
    strict.on(Paid, handler=fail)
    strict.subscribe("payments", Placed, handler=lambda placed, ctx: ctx.publish(Paid()))
    strict.publish(Placed())
    with pytest.raises(Broken):
        strict.drain(PATIENCE)
    assert strict.drain(PATIENCE) == 0


def test_failures_behind_via_raise_from_drain(strict):
    thunks = queue.SimpleQueue()
    strict.on(Placed, handler=fail, via=in_queue(thunks))
    strict.publish(Placed())
    thunks.get(timeout=PATIENCE)()
    with pytest.raises(Broken):
        strict.drain(PATIENCE)


def test_drain_async_raises_what_was_scheduled_on_its_loop(strict):
    strict.on(Placed, handler=fail_later)

    async def main() -> None:
        strict.publish(Placed())
        with pytest.raises(Broken):
            await strict.drain_async(PATIENCE)

    run(main())
