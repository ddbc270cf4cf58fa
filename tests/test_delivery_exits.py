"""The app's own code that exits where delivery calls it: its delivery fails, and everything else goes on."""

from __future__ import annotations

import asyncio
import logging
import queue
import sys
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn

import pytest
from bus_stage import PATIENCE, run
from delivery_stage import Counted, Notes, failing, standing_still

from eventbus import Context, EventBus, Retry, RetryLater
from eventbus.delivery import Failed
from eventbus.retry import fixed
from eventbus.testing import FakeClock
from eventbus.worker.loop import BusLoop

ONCE = Retry(attempts=1)


def leave(*arguments: object) -> NoReturn:
    sys.exit("leaving")


def interrupt(*arguments: object) -> NoReturn:
    raise KeyboardInterrupt


class ExitsWhenSaid(Exception):
    def __str__(self) -> str:
        leave()


EXITS: dict[str, dict[str, Any]] = {
    "order_by": {"order_by": leave, "retry": ONCE},
    "order_by interrupted": {"order_by": interrupt, "retry": ONCE},
    "via": {"via": leave, "retry": ONCE},
    "via interrupted": {"via": interrupt, "retry": ONCE},
    "message": {"handler": failing(ExitsWhenSaid()), "retry": ONCE},
    "message, transactional": {"handler": failing(ExitsWhenSaid()), "retry": ONCE, "transactional": True},
}


@pytest.mark.parametrize("options", EXITS.values(), ids=EXITS.keys())
def test_what_exits_on_the_pumps_thread_fails_its_delivery_and_stops_no_other(options: dict[str, Any]) -> None:
    how: dict[str, Any] = {"handler": Notes(), **options}
    with EventBus() as bus:
        bus.subscribe("exits", Counted, **how)
        bus.subscribe("good", Counted, handler=Notes())
        for number in range(2):
            receipt = bus.publish(Counted(number))
            assert bus.wait_for(receipt, "good", timeout=PATIENCE) == "handled"
            assert bus.wait_for(receipt, "exits", timeout=PATIENCE) == "dead"
            assert bus.status(receipt)["exits"].error


def test_a_backoff_that_exits_does_not_stop_the_pump() -> None:
    with EventBus() as bus:
        bus.subscribe("exits", Counted, handler=failing(), retry=Retry(attempts=2, backoff=leave))
        receipt = bus.publish(Counted(1))
        assert bus.wait_for(receipt, "exits", timeout=PATIENCE) == "dead"
        assert bus.status(receipt)["exits"].attempts == 2


def test_an_error_that_cannot_be_shown_is_a_failure_all_the_same() -> None:
    class Tangled(Exception):
        @property
        def __notes__(self) -> list[str]:
            leave()

    failed = Failed(Tangled("knots"), 0.0, 0.0)
    assert failed.line() == "Tangled: knots"
    assert "SystemExit" in failed.traceback()


def test_the_pump_goes_on_whatever_is_raised_on_its_thread(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "eventbus.worker")
    raised: queue.SimpleQueue[type[BaseException]] = queue.SimpleQueue()
    with EventBus() as bus:
        notes = Notes()
        bus.subscribe("stock", Counted, handler=notes)

        def between() -> bool:
            if not raised.empty():
                raise raised.get()
            return False

        bus._attachment.engine().between.append(between)
        for number, error in enumerate((SystemExit, KeyboardInterrupt, GeneratorExit)):
            raised.put(error)
            receipt = bus.publish(Counted(number))
            assert bus.wait_for(receipt, "stock", timeout=PATIENCE) == "handled"
        assert notes.numbers == [0, 1, 2]


def test_ctrl_c_in_an_order_key_ends_the_drain_and_costs_no_event() -> None:
    presses, notes = [KeyboardInterrupt], Notes()

    def key(envelope: object) -> None:
        if presses:
            raise presses.pop()

    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=notes, order_by=key)
        bus.publish_many([Counted(1), Counted(2)])
        with pytest.raises(KeyboardInterrupt):
            bus.drain()
        assert bus.drain() == 2
        assert notes.numbers == [1, 2]


@pytest.mark.parametrize("when", ["before", "after"])
def test_ctrl_c_in_via_ends_the_drain_and_what_is_left_is_due(when: str) -> None:
    presses, notes = [KeyboardInterrupt], Notes()

    def here(thunk: Callable[[], None]) -> None:
        if when == "after":
            thunk()
        if presses:
            raise presses.pop()
        if when == "before":
            thunk()

    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=notes, via=here)
        bus.publish_many([Counted(1), Counted(2)])
        with pytest.raises(KeyboardInterrupt):
            bus.drain()
        bus.drain()
        assert notes.numbers == [1, 2]
        assert [bus.status(position)["stock"] for position in (1, 2)] == ["handled", "handled"]


# --- on a loop ------------------------------------------------------------------------------------------


async def exit_later() -> None:
    await asyncio.sleep(0)
    leave()


async def answer() -> int:
    return 42


def test_a_handler_whose_coroutine_exits_has_failed_and_the_apps_loop_goes_on() -> None:
    async def main() -> None:
        async with EventBus() as bus:
            bus.subscribe("exits", Counted, handler=lambda counted: exit_later(), retry=ONCE)
            for number in range(2):
                receipt = await bus.publish_async(Counted(number))
                assert await bus.wait_for_async(receipt, "exits", timeout=PATIENCE) == "dead"

    run(main())


async def start_one_that_exits() -> None:
    task = asyncio.get_running_loop().create_task(exit_later())
    await asyncio.wait([task])
    assert isinstance(task.exception(), SystemExit)


async def stop_the_loop() -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)


@pytest.mark.parametrize("hostile", [start_one_that_exits, stop_the_loop])
def test_the_loop_of_the_bus_goes_on_whatever_a_handler_does_to_it(
    hostile: Callable[[], Coroutine[Any, Any, None]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    loop = BusLoop()
    for _ in range(2):
        loop.spawn(hostile()).result(PATIENCE)
        assert loop.spawn(answer()).result(PATIENCE) == 42
    loop.close()
    loop.close()


# --- exceptions whose own code fails ----------------------------------------------------------------------


class LooksAtNothing(Exception):
    def __getattribute__(self, name: str) -> Any:
        raise LookupError(name)


class OfNothing(ExceptionGroup[Exception]):
    @property
    def exceptions(self) -> Any:
        raise LookupError


class LaterSomehow(RetryLater):
    def __init__(self) -> None:
        """Without its parent's."""


@pytest.mark.parametrize(
    "make", [LooksAtNothing, lambda: OfNothing("none", [ValueError()])], ids=["attributes", "group"]
)
@pytest.mark.parametrize("transactional", [False, True])
def test_an_exception_that_cannot_be_looked_at_is_a_failed_attempt(
    make: Callable[[], Exception], transactional: bool
) -> None:
    def handle(counted: Counted, ctx: Context) -> None:
        calls.append(counted.number)
        if counted.number == 1:
            raise make()

    calls: list[int] = []
    with standing_still() as bus:
        bus.subscribe("odd", Counted, handler=handle, retry=ONCE, transactional=transactional)
        bus.publish_many([Counted(1), Counted(2)])
        bus.drain()
        assert calls == [1, 2]
        (letter,) = bus.dead_letters.list()
        assert "whose own code fails: LookupError" in (letter.error or "")


def test_a_retry_later_that_does_not_say_when_waits_as_the_backoff_says() -> None:
    clock, notes = FakeClock(), failing(LaterSomehow())
    with standing_still(clock=clock) as bus:
        bus.subscribe("later", Counted, handler=notes, retry=Retry(attempts=1, backoff=fixed(10)))
        bus.publish(Counted(1))
        for _ in range(3):
            bus.drain()
            clock.advance(10)
        assert notes.attempts == [1, 1, 1], "it uses up no attempt"
