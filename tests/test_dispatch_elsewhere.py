"""Live handlers on the bus's loop, and wherever `via` brings them."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from live_stage import Counter, Placed, Stage, emitted, fail, stored, told

from eventbus.dispatch import Live
from eventbus.events import Envelope, Vocabulary
from eventbus.handlers import Context, LiveDeclaration, handling


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


# --- async handlers ---------------------------------------------------------------------------------------


class AsyncCallable:
    def __init__(self, seen: list[object]) -> None:
        self.seen = seen

    async def __call__(self, event: object, context: Context) -> None:
        self.seen.append((event, context.envelope.position, handling.get()))


def test_async_handlers_run_on_the_loop_caused_by_the_event(stage: Stage) -> None:
    seen: list[object] = []

    async def handle(event: object) -> None:
        seen.append((event, threading.current_thread() is stage.loop.thread, handling.get()))

    stage.on(Placed, handler=handle)
    stage.on(Placed, handler=AsyncCallable(seen))
    assert stage.publish(Placed(1), 4) == []
    stage.loop.wait()
    assert seen == [(Placed(1), True, stored(4)), (Placed(1), 4, stored(4))]


def test_the_cause_holds_on_a_loop_that_was_started_with_another_context(stage: Stage) -> None:
    def spawn(coroutine: Coroutine[Any, Any, None]) -> Future[None]:
        return contextvars.Context().run(stage.loop.spawn, coroutine)

    live = Live(vocabulary=Vocabulary(), spawn=spawn, failed=stage.failures.append)
    causes: list[Envelope | None] = []

    async def handle(event: object) -> None:
        causes.append(handling.get())

    live.connect(LiveDeclaration((Placed,), handle))
    live.tell(Placed(), stored(6), told)
    stage.loop.wait()
    assert causes == [stored(6)]


def test_async_handlers_see_the_publishers_context_variables(stage: Stage) -> None:
    request: contextvars.ContextVar[str] = contextvars.ContextVar("request", default="none")
    seen: list[str] = []

    async def handle(event: object) -> None:
        seen.append(request.get())

    stage.on(Placed, handler=handle)
    token = request.set("r-1")
    stage.publish(Placed())
    request.reset(token)
    stage.loop.wait()
    assert seen == ["r-1"]


def test_a_plain_function_that_returns_a_coroutine_counts_as_async(stage: Stage) -> None:
    counter = Counter()
    stage.on(Placed, handler=lambda e: counter.add_later(e))
    stage.on(Placed, handler=lambda e: None)
    stage.publish(Placed())
    stage.loop.wait()
    assert counter.count == 1


def test_a_failing_async_handler_is_told_as_scheduled_with_the_place_of_publishing(stage: Stage) -> None:
    async def broken(event: object) -> None:
        raise ValueError("later")

    stage.on(Placed, handler=broken)
    assert stage.publish(Placed()) == []
    stage.loop.wait()
    (failure,) = stage.failures
    assert failure.scheduled
    assert failure.handler.endswith("broken")
    assert str(failure.error) == "later"
    assert failure.place is not None
    assert failure.place.endswith("in Stage.publish")


def test_a_loop_that_takes_no_more_is_a_failure_of_that_handler_only(stage: Stage) -> None:
    def refuse(coroutine: Coroutine[Any, Any, None]) -> Future[None]:
        raise RuntimeError("closed")

    live = Live(vocabulary=Vocabulary(), spawn=refuse, failed=stage.failures.append)
    counter, seen = Counter(), list[object]()
    live.connect(LiveDeclaration((Placed,), counter.add_later))
    live.connect(LiveDeclaration((Placed,), lambda e: counter.add_later(e)))
    live.connect(LiveDeclaration((Placed,), seen.append))
    assert [str(error) for error in live.tell(Placed(1), emitted, told)] == ["closed", "closed"]
    assert seen == [Placed(1)]
    assert len(stage.failures) == 2


def test_tell_async_waits_for_all_async_handlers_which_run_at_the_same_time(stage: Stage) -> None:
    seen: list[str] = []

    async def main() -> list[Exception]:
        met = asyncio.Barrier(2)

        async def one(event: object) -> None:
            await met.wait()
            seen.append("async")

        async def other(event: object) -> None:
            await met.wait()
            raise ValueError("broken later")

        live = Live(
            vocabulary=Vocabulary(),
            spawn=lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, running),
            failed=stage.failures.append,
        )
        running = asyncio.get_running_loop()
        live.connect(LiveDeclaration((Placed,), one))
        live.connect(LiveDeclaration((Placed,), other))
        live.connect(LiveDeclaration((Placed,), fail))
        live.connect(LiveDeclaration((Placed,), lambda e: seen.append("plain")))
        return await live.tell_async(Placed(), stored(), told)

    errors = asyncio.run(main())
    assert sorted(seen) == ["async", "plain"]
    assert [str(error) for error in errors] == ["broken", "broken later"]
    assert [failure.scheduled for failure in stage.failures] == [False, False]


def test_a_publisher_that_stops_waiting_does_not_stop_the_handlers(stage: Stage) -> None:
    finished: list[str] = []

    async def main() -> None:
        entered, go_on = asyncio.Event(), asyncio.Event()
        running = asyncio.get_running_loop()
        futures: list[Future[None]] = []

        def spawn(coroutine: Coroutine[Any, Any, None]) -> Future[None]:
            futures.append(asyncio.run_coroutine_threadsafe(coroutine, running))
            return futures[-1]

        async def slow(event: object) -> None:
            entered.set()
            await go_on.wait()
            finished.append("slow")
            raise ValueError("after all")

        live = Live(vocabulary=Vocabulary(), spawn=spawn, failed=stage.failures.append)
        live.connect(LiveDeclaration((Placed,), slow))
        publisher = asyncio.create_task(live.tell_async(Placed(), stored(), told))
        await entered.wait()
        publisher.cancel()
        with pytest.raises(asyncio.CancelledError):
            await publisher
        go_on.set()
        await asyncio.wrap_future(futures[0])

    asyncio.run(main())
    assert finished == ["slow"]
    assert [failure.scheduled for failure in stage.failures] == [True]


# --- via --------------------------------------------------------------------------------------------------


def test_via_runs_a_handler_elsewhere_with_its_cause(stage: Stage) -> None:
    thunks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    seen: list[object] = []

    def handle(event: object, context: Context) -> None:
        seen.append((event, context.envelope, handling.get(), threading.current_thread().name))

    stage.on(Placed, handler=handle, via=thunks.put)
    stage.publish(Placed(1), 9)
    assert seen == []
    thread = threading.Thread(target=lambda: thunks.get()(), name="window")
    thread.start()
    thread.join()
    assert seen == [(Placed(1), stored(9), stored(9), "window")]


def test_a_failure_elsewhere_is_isolated_and_told(stage: Stage) -> None:
    thunks: list[Callable[[], None]] = []
    stage.on(Placed, handler=fail, via=thunks.append)
    assert stage.publish(Placed()) == []
    thunks[0]()
    (failure,) = stage.failures
    assert failure.scheduled
    assert failure.place is not None
    assert failure.place.endswith("in Stage.publish")


def test_a_via_that_fails_is_a_failure_of_its_handler_only(stage: Stage) -> None:
    def closed(thunk: Callable[[], None]) -> None:
        raise RuntimeError("the window is closed")

    seen: list[object] = []
    stage.on(Placed, handler=print, via=closed)
    stage.on(Placed, handler=seen.append)
    assert [str(error) for error in stage.publish(Placed(1))] == ["the window is closed"]
    assert seen == [Placed(1)]


def test_a_handler_taken_out_on_the_way_is_not_called_any_more(stage: Stage) -> None:
    thunks: list[Callable[[], None]] = []
    counter = Counter()
    registration = stage.on(Placed, handler=counter.add, via=thunks.append)
    stage.publish(Placed())
    registration.close()
    weakly_held = Counter()
    stage.on(Placed, handler=weakly_held.add, via=thunks.append, weak=True)
    stage.publish(Placed())
    del weakly_held
    gc.collect()
    assert len(thunks) == 2
    for thunk in thunks:
        thunk()
    assert counter.count == 0
    assert not stage.failures


def test_an_async_handler_brought_to_a_loop_runs_on_it(stage: Stage) -> None:
    seen: list[object] = []

    async def main() -> None:
        finished = asyncio.Event()

        async def handle(event: object) -> None:
            seen.append((asyncio.get_running_loop(), handling.get()))
            finished.set()
            raise ValueError("there")

        stage.on(Placed, handler=handle, via=asyncio.get_running_loop().call_soon_threadsafe)
        await asyncio.to_thread(stage.publish, Placed(), 5)
        await finished.wait()
        seen.append(asyncio.get_running_loop())

    asyncio.run(main())
    assert seen == [(seen[1], stored(5)), seen[1]]
    assert [str(failure.error) for failure in stage.failures] == ["there"]


def test_an_async_handler_brought_to_a_thread_without_a_loop_runs_on_the_buss(stage: Stage) -> None:
    threads: list[threading.Thread] = []

    async def handle(event: object) -> None:
        threads.append(threading.current_thread())

    stage.on(Placed, handler=handle, via=lambda thunk: thunk())
    stage.publish(Placed())
    stage.loop.wait()
    assert threads == [stage.loop.thread]
