"""Publishing on asyncio loops and in the background: publish_async, publish_many_async, submit."""

import asyncio
import logging
import threading
from concurrent.futures import Future

import pytest
from bus_stage import PATIENCE, Opened, Paid, Placed, Recorder, at_once, run

from eventbus import EventBus, IdempotencyConflict, InvalidEvent, WrongExpectedVersion
from eventbus.errors import BusClosed, EventBusError
from eventbus.technical import HandlerFailed


@pytest.fixture(params=["file", "memory"])
def bus(request, tmp_path):
    made = EventBus(tmp_path / "shop.db" if request.param == "file" else None, delivery="manual")
    yield made
    made.close()


class Gate:
    """Holds up whatever writes to the bus until it is opened."""

    def __init__(self, bus: EventBus) -> None:
        self._held, self._open = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._hold, args=(bus,), daemon=True)
        self._thread.start()
        assert self._held.wait(PATIENCE)

    def _hold(self, bus: EventBus) -> None:
        with bus.transaction():
            self._held.set()
            self._open.wait(PATIENCE)

    def open(self) -> None:
        self._open.set()
        self._thread.join(PATIENCE)


# --- publish_async -----------------------------------------------------------------------------------------


def test_publish_async_gives_the_receipt_of_what_is_stored(bus):
    async def main() -> None:
        first = await bus.publish_async(Opened("7"), metadata={"a": 1})
        second = await bus.publish_async(Opened("7"), expected_version=1)
        assert (first.position, first.stream, first.sequence) == (1, "account-7", 1)
        assert (second.position, second.sequence) == (2, 2)
        assert [each.event for each in bus.log.read()] == [Opened("7")] * 2

    run(main())


def test_publish_many_async_stores_all_or_none(bus):
    async def main() -> None:
        receipts = await bus.publish_many_async([Placed(1), Placed(2)], stream="order-1", idempotency_keys=["a", "b"])
        assert [each.sequence for each in receipts] == [1, 2]
        assert await bus.publish_many_async([]) == []
        with pytest.raises(WrongExpectedVersion):
            await bus.publish_many_async([Placed(3), Placed(4)], stream="order-1", expected_version=0)
        with pytest.raises(EventBusError, match="one key for each"):
            await bus.publish_many_async([Placed(3)], idempotency_keys=[])
        assert bus.log.head == 2

    run(main())


def test_what_publish_refuses_publish_async_refuses(bus):
    async def main() -> None:
        with pytest.raises(InvalidEvent):
            await bus.publish_async(Placed("one"))  # type: ignore[arg-type]
        await bus.publish_async(Placed(1), stream="order-1", idempotency_key="k")
        assert (await bus.publish_async(Placed(1), stream="order-1", idempotency_key="k")).duplicate
        with pytest.raises(IdempotencyConflict):
            await bus.publish_async(Placed(2), idempotency_key="k")
        with pytest.raises(WrongExpectedVersion):
            await bus.publish_async(Placed(2), stream="order-1", expected_version=7)
        assert bus.log.head == 1

    run(main())


def test_a_conflict_of_one_of_many_that_share_a_commit_is_its_own(bus):
    bus.publish(Placed(0), idempotency_key="k")
    gate = Gate(bus)

    async def main() -> list[object]:
        waiting = [
            asyncio.ensure_future(bus.publish_async(Placed(n), idempotency_key="k" if n == 2 else None))
            for n in range(1, 4)
        ]
        await asyncio.sleep(0)
        gate.open()
        return await asyncio.gather(*waiting, return_exceptions=True)

    first, second, third = run(main())
    assert isinstance(second, IdempotencyConflict)
    assert sorted([first.position, third.position]) == [2, 3]


def test_publish_async_does_not_hold_up_the_loop(bus):
    async def main() -> None:
        gate = Gate(bus)
        publishing = asyncio.ensure_future(bus.publish_async(Placed()))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not publishing.done()
        gate.open()
        assert (await publishing).position == 1

    run(main())


def test_a_publish_async_that_was_cancelled_is_stored_once_and_live_handlers_hear_of_it(bus):
    heard = Recorder()
    bus.on(Placed, handler=heard)
    bus.publish(Paid())

    async def main() -> None:
        gate = Gate(bus)
        publishing = asyncio.ensure_future(bus.publish_async(Placed(1)))
        await asyncio.sleep(0)
        publishing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publishing
        gate.open()
        assert await asyncio.to_thread(heard.heard, 1) == [Placed(1)]

    with bus.recorded() as seen:
        run(main())
    assert seen == [Placed(1)]
    assert [each.event for each in bus.log.read(after=1)] == [Placed(1)]


def test_what_many_publish_before_one_is_cancelled_is_told_to_the_end(bus):
    heard, started = Recorder(), []
    bus.on(Placed, handler=heard)

    async def main() -> None:
        loop, released = asyncio.get_running_loop(), threading.Event()

        @bus.on(Placed)
        async def wait(placed):
            started.append(placed)
            if len(started) == 1:
                loop.call_soon_threadsafe(publishing.cancel)
                await asyncio.to_thread(released.wait, PATIENCE)

        publishing = asyncio.ensure_future(bus.publish_many_async([Placed(1), Placed(2)]))
        with pytest.raises(asyncio.CancelledError):
            await publishing
        assert await asyncio.to_thread(heard.heard, 2) == [Placed(1), Placed(2)]
        released.set()

    run(main())


def test_tasks_on_many_loops_leave_no_holes(bus):
    async def publish(stream: str) -> None:
        async with asyncio.TaskGroup() as group:
            for n in range(100):
                group.create_task(bus.publish_async(Placed(n), stream=stream))

    def loop(number: int) -> None:
        asyncio.run(publish(f"order-{number % 2}"))

    at_once(*[lambda number=number: loop(number) for number in range(4)])
    envelopes = list(bus.log.read())
    assert [each.position for each in envelopes] == list(range(1, 401))
    for stream in ("order-0", "order-1"):
        assert [each.sequence for each in envelopes if each.stream == stream] == list(range(1, 201))


def test_tasks_of_one_loop_are_stored_in_the_order_in_which_they_published(bus):
    async def main() -> None:
        await bus.start_async()
        await asyncio.gather(*[bus.publish_async(Placed(n)) for n in range(50)])

    run(main())
    assert [each.event.number for each in bus.log.read()] == list(range(50))


def test_what_an_async_live_handler_publishes_is_caused_by_what_it_handles(bus):
    @bus.on(Placed)
    async def pay(placed):
        await asyncio.sleep(0)
        await bus.publish_async(Paid(placed.number))

    run(bus.publish_async(Placed(5)))
    placed, paid = bus.log.read()
    assert (paid.causation_id, paid.correlation_id) == (placed.id, placed.id)


def test_tasks_that_handle_different_events_do_not_mix_up_causes(bus):
    @bus.on(Placed)
    async def pay(placed):
        await asyncio.sleep(0)
        await bus.publish_async(Paid(placed.number))

    async def main() -> None:
        await asyncio.gather(*[bus.publish_async(Placed(n)) for n in range(10)])

    run(main())
    causes = {each.id: each.event.number for each in bus.log.read(types=Placed)}
    assert all(causes[each.causation_id] == each.event.number for each in bus.log.read(types=Paid))


def test_a_closed_bus_refuses_on_a_loop_too(bus):
    async def main() -> None:
        await bus.publish_async(Placed())
        await bus.close_async()
        for call in (bus.publish_async, bus.emit_async, lambda each: bus.publish_many_async([each])):
            with pytest.raises(BusClosed):
                await call(Placed())

    run(main())


def test_each_of_two_runs_of_asyncio_can_use_one_bus(bus):
    heard = Recorder()

    @bus.on(Placed)
    async def later(placed):
        heard(placed)

    for n in range(2):
        run(bus.publish_async(Placed(n)))
    assert heard.events == [Placed(0), Placed(1)]


# --- submit ------------------------------------------------------------------------------------------------


def test_submit_gives_a_future_of_the_receipt(bus):
    future = bus.submit(Opened("7"), metadata={"a": 1})
    assert isinstance(future, Future)
    receipt = future.result(PATIENCE)
    assert (receipt.position, receipt.stream, receipt.sequence) == (1, "account-7", 1)
    assert bus.log.get(receipt.id).metadata == {"a": 1}


def test_submit_refuses_here_what_could_not_be_stored_and_in_the_future_what_turns_out_later(bus):
    with pytest.raises(InvalidEvent):
        bus.submit(Placed("one"))  # type: ignore[arg-type]
    bus.publish(Placed(1), stream="order-1", idempotency_key="k")
    for how in ({"idempotency_key": "k"}, {"stream": "order-1", "expected_version": 5}):
        with pytest.raises((IdempotencyConflict, WrongExpectedVersion)):
            bus.submit(Placed(2), **how).result(PATIENCE)
    assert bus.submit(Placed(1), stream="order-1", idempotency_key="k").result(PATIENCE).duplicate


def test_submit_does_not_wait_for_whoever_writes(bus):
    gate = Gate(bus)
    futures = [bus.submit(Placed(n)) for n in range(5)]
    assert not any(future.done() for future in futures)
    gate.open()
    assert [future.result(PATIENCE).position for future in futures] == [1, 2, 3, 4, 5]
    assert [each.event.number for each in bus.log.read()] == [0, 1, 2, 3, 4]


def test_submit_does_not_open_the_file_on_the_callers_thread(tmp_path):
    bus = EventBus(tmp_path / "no folder" / "shop.db", delivery="manual")
    assert bus.submit(Placed()).result(PATIENCE).position == 1
    bus.close()


def test_a_log_that_cannot_be_opened_is_told_in_the_future(tmp_path):
    (tmp_path / "shop.db").write_text("this is something else entirely, and not a database at all")
    bus = EventBus(tmp_path / "shop.db")
    with pytest.raises(EventBusError, match=r"shop\.db"):
        bus.submit(Placed()).result(PATIENCE)
    bus.close()


def test_handlers_of_what_was_submitted_have_run_when_the_future_is_done(bus):
    heard = Recorder()
    bus.on(Placed, handler=heard)
    bus.submit(Placed(1)).result(PATIENCE)
    assert heard.events == [Placed(1)]


def test_submit_never_runs_handlers_on_the_callers_thread_and_keeps_to_the_order_of_commits(bus):
    heard = Recorder()
    bus.on(Placed, handler=heard)
    for future in [bus.submit(Placed(n)) for n in range(20)]:
        future.result(PATIENCE)
    assert heard.events == [Placed(n) for n in range(20)]
    assert len(set(heard.threads)) == 1
    assert heard.threads[0] is not threading.current_thread()


def test_a_future_can_be_waited_for_in_a_live_handler_of_another_thread(bus):
    bus.on(Placed, handler=lambda placed: bus.submit(Paid(placed.number)).result(PATIENCE))
    bus.publish(Placed(1))
    placed, paid = bus.log.read()
    assert paid.causation_id == placed.id


def test_closing_stores_what_was_submitted_before(tmp_path):
    bus = EventBus(tmp_path / "shop.db", delivery="manual")
    futures = [bus.submit(Placed(n)) for n in range(50)]
    bus.close()
    assert [future.result(0).position for future in futures] == list(range(1, 51))


def test_a_submitted_event_cannot_be_cancelled_any_more(bus):
    gate = Gate(bus)
    future = bus.submit(Placed())
    assert not future.cancel()
    gate.open()
    assert future.result(PATIENCE).position == 1


def test_a_handler_that_fails_on_a_submitted_event_is_told_with_the_place_of_submit(bus, caplog):
    failed = Recorder()
    bus.on(HandlerFailed, handler=failed)

    @bus.on(Placed)
    def broken(placed):
        raise ValueError("broken")

    with caplog.at_level(logging.CRITICAL, "eventbus"):
        assert bus.submit(Placed()).result(PATIENCE).position == 1
        (told,) = failed.heard(1)
    assert told.place is not None
    assert __file__ in told.place
    assert test_a_handler_that_fails_on_a_submitted_event_is_told_with_the_place_of_submit.__name__ in told.place


def test_a_misspelled_keyword_is_refused_by_name(bus):
    with pytest.raises(TypeError, match=r"submit\(\) got an unexpected keyword argument 'strem'"):
        bus.submit(Placed(), strem="s")
    with bus.transaction() as tx, pytest.raises(TypeError, match=r"tx.publish\(\) got an unexpected .* 'key'"):
        tx.publish(Placed(), key="k")
