"""What one live handler's failure does to the others, and what a handler is told and causes."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from asyncio import CancelledError
from collections.abc import Iterator

import pytest
from live_stage import Counter, Placed, Shipped, Stage, Tick, emitted, fail, stored, told

from eventbus.dispatch import Live, LiveFailure, Place, caller
from eventbus.events import Envelope, Vocabulary
from eventbus.handlers import Context, LiveDeclaration, handling


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


# --- failures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wants_context", [False, True])
def test_a_failing_handler_stops_nobody_and_is_told_with_the_place_of_publishing(
    stage: Stage, caplog: pytest.LogCaptureFixture, wants_context: bool
) -> None:
    seen: list[object] = []
    stage.on(Placed, handler=fail, priority=1)
    stage.on(Placed, handler=seen.append)
    if wants_context:
        stage.on(Placed, handler=lambda e, ctx: seen.append(ctx.envelope))

    def publisher() -> tuple[list[BaseException], int]:
        frame = inspect.currentframe()
        assert frame is not None
        return stage.live.tell(Placed(1), stored(7), told), frame.f_lineno

    errors, line = publisher()
    (failure,) = stage.failures
    assert seen == [Placed(1), stored(7)][: 1 + wants_context]
    assert [str(error) for error in errors] == ["broken"]
    assert failure.error is errors[0]
    assert failure.handler == "live_stage:fail"
    assert (failure.event, failure.envelope, failure.scheduled) == (Placed(1), stored(7), False)
    assert failure.place == f"{__file__}:{line} in {publisher.__qualname__}"
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("eventbus.dispatch", logging.ERROR)
    assert failure.handler in record.getMessage()
    assert failure.place in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is failure.error


def test_a_place_noted_before_is_told_instead_of_the_stack(stage: Stage) -> None:
    stage.on(Placed, handler=fail)

    def publisher() -> Place | None:
        return caller()

    place = publisher()
    stage.live.tell(Placed(), emitted, told, place)
    assert place is not None
    assert stage.failures[0].place == str(place)
    assert stage.failures[0].envelope is None
    assert "publisher" in str(place)


def test_nobody_stands_behind_a_thread_of_our_own() -> None:
    places: list[Place | None] = []
    thread = threading.Thread(
        target=exec, args=("places.append(caller())", {"__name__": "eventbus.x", **locals(), "caller": caller})
    )
    thread.start()
    thread.join()
    assert places == [None]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, CancelledError])
@pytest.mark.parametrize("wants_context", [False, True])
def test_a_handler_that_exits_is_told_of_as_failed_and_stops_nobody(
    stage: Stage, error: type[BaseException], wants_context: bool
) -> None:
    def leave(event: object) -> None:
        raise error

    seen: list[object] = []
    stage.on(Placed, handler=leave, priority=1)
    stage.on(Placed, handler=seen.append)
    if wants_context:
        stage.on(Placed, handler=lambda e, ctx: None)
    assert [type(each) for each in stage.publish(Placed())] == [error]
    assert [type(each.error) for each in stage.failures] == [error]
    assert seen == [Placed()]
    assert handling.get() is None


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, CancelledError])
def test_an_async_handler_that_exits_is_told_of_as_failed_and_its_loop_goes_on(
    stage: Stage, error: type[BaseException]
) -> None:
    async def leave(event: object) -> None:
        raise error

    seen = Counter()
    stage.on(Placed, handler=leave)
    stage.on(Placed, handler=seen.add_later)
    for _ in range(2):
        stage.publish(Placed())
        stage.loop.wait()
    assert [type(each.error) for each in stage.failures] == [error, error]
    assert seen.count == 2


def test_an_async_handler_that_is_cancelled_has_not_failed(stage: Stage) -> None:
    begun = threading.Event()

    async def wait_for_ever(event: object) -> None:
        begun.set()
        await asyncio.Event().wait()

    stage.on(Placed, handler=wait_for_ever)
    stage.publish(Placed())
    assert begun.wait(10)
    (future,) = stage.loop.futures
    future.cancel()
    stage.loop.close()  # when it has done what was to be done
    assert not stage.failures


def test_a_failing_report_stops_nobody_and_is_logged(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    def failed(failure: LiveFailure) -> None:
        raise RuntimeError("no report")

    live = Live(vocabulary=Vocabulary(), spawn=stage.loop.spawn, failed=failed)
    seen: list[object] = []
    live.connect(LiveDeclaration((Placed,), fail))
    live.connect(LiveDeclaration((Placed,), seen.append))
    assert len(live.tell(Placed(1), emitted, told)) == 1
    assert seen == [Placed(1)]
    assert "no report" in caplog.text


def test_two_failures_are_both_returned_in_order(stage: Stage) -> None:
    def other(event: object) -> None:
        raise KeyError("other")

    stage.on(Placed, handler=other)
    stage.on(Placed, handler=fail)
    assert [type(error) for error in stage.emit(Placed())] == [KeyError, ValueError]


# --- contexts and causes ----------------------------------------------------------------------------------


def test_envelope_and_context_are_made_once_and_only_if_a_handler_wants_them(stage: Stage) -> None:
    made: list[str] = []

    def envelope() -> Envelope:
        made.append("envelope")
        return stored(0)

    def context(envelope: Envelope) -> Context:
        made.append("context")
        return told(envelope)

    stage.on(Placed, handler=lambda e: None)
    stage.live.tell(Placed(), envelope, context)
    assert made == []
    stage.on(Placed, handler=lambda e, ctx: made.append(f"first {ctx.envelope.position}"))
    stage.on(Placed, handler=lambda e, ctx: made.append(f"second {ctx.attempt}"))
    stage.live.tell(Placed(), envelope, context)
    assert made == ["envelope", "context", "first 0", "second 1"]


@pytest.mark.parametrize("wants_context", [False, True])
def test_what_a_handler_of_a_stored_event_does_is_caused_by_it(stage: Stage, wants_context: bool) -> None:
    causes: list[Envelope | None] = []

    def outer(event: Placed) -> None:
        causes.append(handling.get())
        stage.publish(Shipped(), 2)
        causes.append(handling.get())

    stage.on(Placed, handler=outer)
    stage.on(Shipped, handler=lambda e: causes.append(handling.get()))
    if wants_context:
        stage.on(Placed, Shipped, handler=lambda e, ctx: None)
    stage.publish(Placed(), 1)
    assert causes == [stored(1), stored(2), stored(1)]
    assert handling.get() is None


def test_an_emitted_event_is_no_cause_but_hands_on_the_one_it_was_emitted_under(stage: Stage) -> None:
    causes: list[Envelope | None] = []
    stage.on(Tick, handler=lambda e: causes.append(handling.get()))
    stage.on(Placed, handler=lambda e: stage.emit(Tick()) and None)
    stage.emit(Tick())
    stage.publish(Placed(), 3)
    assert causes == [None, stored(3)]
