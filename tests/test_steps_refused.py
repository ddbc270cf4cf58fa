"""What a step gives back, and where there are none."""

from __future__ import annotations

import asyncio
import functools
import queue
from collections.abc import Callable, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from bus_stage import PATIENCE, elsewhere
from delivery_stage import Oops, Placed, standing_still
from step_stage import THE_CHARGE, Charge, Provider, Stage

from eventbus import Context
from eventbus.errors import EventBusError, InvalidStep, LeaseLost, WouldDeadlock
from eventbus.testing import FakeClock

if TYPE_CHECKING:
    from collections import OrderedDict


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def stage(clock: FakeClock) -> Stage:
    return Stage(clock)


# --- what comes back ------------------------------------------------------------------------------------


def make_local(cls: type) -> Callable[[], Any]:
    def local() -> cls:  # type: ignore[valid-type]
        return cls(*attrs.astuple(THE_CHARGE))

    return local


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (Provider().charge, THE_CHARGE),
        (functools.partial(Provider.charge, Provider(), THE_CHARGE), THE_CHARGE),
        (make_local(Charge), THE_CHARGE),
        (functools.partial(Provider.untyped, Provider(), {"a": [1, 2.5, None, True, "x"]}), None),
        (functools.partial(Provider.untyped, Provider()), None),
    ],
)
def test_a_result_comes_back_equal(stage: Stage, function: Callable[[], Any], expected: Any) -> None:
    results: list[Any] = []

    def handler(placed: Placed, ctx: Context) -> None:
        results.append(ctx.step("it", function))
        if ctx.attempt == 1:
            raise Oops("no")

    stage.subscribe(handler)
    stage.attempt()
    stage.attempt()
    first, again = results
    assert (type(first), first) == (type(again), again)
    assert expected is None or again == expected


def test_a_class_is_a_function_that_returns_its_instance(stage: Stage) -> None:
    results: list[Any] = []

    def handler(placed: Placed, ctx: Context) -> None:
        results.append(ctx.step("it", Charge, "ch-1", amount=Decimal("9.90"), at=THE_CHARGE.at))
        if ctx.attempt == 1:
            raise Oops("no")

    stage.subscribe(handler)
    stage.attempt()
    stage.attempt()
    assert results == [THE_CHARGE, THE_CHARGE]


@pytest.mark.parametrize("result", [(1, 2), {1: "a"}, {"at": datetime(2026, 1, 1)}, float("nan"), object(), {1, 2}])
def test_a_result_that_would_not_come_back_equal_fails_the_step_and_it_does_not_run_again(
    stage: Stage, provider: Provider, result: Any
) -> None:
    errors: list[InvalidStep] = []

    def handler(placed: Placed, ctx: Context) -> None:
        try:
            ctx.step("charge", provider.untyped, result)
        except InvalidStep as error:
            errors.append(error)
            raise

    stage.subscribe(handler)
    stage.attempt()
    stage.attempt()
    assert provider.calls == 1
    assert [error.step for error in errors] == ["charge", "charge"]
    assert all("The step 'charge' has run, but its result" in str(error) for error in errors)
    assert stage.steps == [("charge", None)]


def test_the_error_of_a_result_names_the_place(stage: Stage, provider: Provider) -> None:
    naive = attrs.evolve(THE_CHARGE, at=datetime(2026, 1, 1))
    stage.subscribe(lambda placed, ctx: ctx.step("charge", provider.charge, naive))
    stage.attempt()
    assert "its result.at is a naive datetime" in stage.error


def test_a_kept_result_that_no_longer_fits_the_annotation_says_so(stage: Stage) -> None:
    def text() -> str:
        return "many"

    def number() -> int:
        raise AssertionError("it ran again")

    def handler(placed: Placed, ctx: Context) -> None:
        ctx.step("count", text if ctx.attempt == 1 else number)
        raise Oops("no")

    stage.subscribe(handler)
    stage.attempt()
    stage.attempt()
    assert "no longer fits its annotation" in stage.error


def unfit() -> Sequence[int]:
    raise AssertionError("it ran")


def unresolved() -> OrderedDict[str, int]:
    raise AssertionError("it ran")


async def coroutine() -> None: ...


@pytest.mark.parametrize(
    ("name", "function", "why"),
    [
        ("it", unfit, "would not come back equal"),
        ("it", unresolved, "'OrderedDict' in the return annotation"),
        ("it", lambda: coroutine(), "returned a coroutine"),
        ("", unfit, "cannot name a step"),
        ("x" * 201, unfit, "cannot name a step"),
        (7, unfit, "cannot name a step"),
    ],
)
def test_a_step_that_could_not_be_kept_is_refused_before_it_runs(
    stage: Stage, name: Any, function: Callable[[], Any], why: str
) -> None:
    stage.subscribe(lambda placed, ctx: ctx.step(name, function))
    stage.attempt()
    assert "EventDefinitionError" in stage.error
    assert why in stage.error
    assert stage.steps == []


def test_an_async_step_of_a_plain_handler_is_refused_at_the_call(stage: Stage, provider: Provider) -> None:
    went_on: list[Any] = []

    def handler(placed: Placed, ctx: Context) -> None:
        went_on.append(ctx.step("charge", provider.charge_async))

    stage.subscribe(handler)
    stage.attempt()
    assert "The step 'charge' was not run: step_stage:Provider.charge_async is async" in stage.error
    assert (went_on, provider.calls, stage.steps) == ([], 0, [])


def test_an_async_step_can_be_awaited_in_a_loop_that_a_plain_handler_runs(stage: Stage, provider: Provider) -> None:
    async def charge(ctx: Context) -> Charge:
        return await ctx.step("charge", provider.charge_async)

    results: list[Charge] = []
    stage.subscribe(lambda placed, ctx: results.append(asyncio.run(charge(ctx))))
    elsewhere(stage.attempt)
    assert (results, provider.calls) == ([THE_CHARGE], 1)


@pytest.mark.parametrize("as_task", [False, True])
def test_an_attempt_whose_handler_did_not_await_a_step_fails(stage: Stage, provider: Provider, as_task: bool) -> None:
    async def handler(placed: Placed, ctx: Context) -> None:
        left = ctx.step("charge", provider.charge_async)
        if as_task:
            asyncio.ensure_future(left).add_done_callback(ended.put)

    ended: queue.SimpleQueue[asyncio.Future[Any]] = queue.SimpleQueue()
    stage.subscribe(handler)
    elsewhere(stage.attempt)
    assert "The step 'charge' was not run: the handler returned without awaiting it." in stage.error
    assert (provider.calls, stage.steps) == (0, [])
    if as_task:  # it ended without having run
        assert isinstance(ended.get(timeout=PATIENCE).exception(), RuntimeError)


def test_a_replayed_handler_that_does_not_await_a_step_is_told(stage: Stage, provider: Provider) -> None:
    async def handler(placed: Placed, ctx: Context) -> None:
        ctx.step("charge", provider.charge_async)

    stage.subscribe(handler)
    (replayed,) = elsewhere(lambda: list(stage.bus.subscriptions["charges"].replay(stage.bus.log.read())))
    assert "without awaiting it" in str(replayed.error)


def test_a_name_is_used_once_in_an_attempt(stage: Stage, provider: Provider) -> None:
    def handler(placed: Placed, ctx: Context) -> None:
        ctx.step("charge", provider.untyped)
        ctx.step("charge", provider.untyped)

    stage.subscribe(handler)
    stage.attempt()
    assert "'charge' was not run: the name was used already in this attempt" in stage.error
    assert provider.calls == 1


# --- where there are none -------------------------------------------------------------------------------


def test_a_transactional_handler_has_no_steps(stage: Stage, provider: Provider) -> None:
    stage.subscribe(lambda placed, ctx: ctx.step("charge", provider.charge), transactional=True)
    stage.attempt()
    assert "A transactional handler has no steps; 'charge' was not run" in stage.error
    assert provider.calls == 0


def test_a_live_handler_has_no_steps(clock: FakeClock, provider: Provider) -> None:
    bus = standing_still(None, clock, errors="raise")
    bus.on(Placed, handler=lambda placed, ctx: ctx.step("charge", provider.charge))
    with pytest.raises(EventBusError, match="A live handler has no steps"):
        bus.publish(Placed("1"))
    assert provider.calls == 0


def test_a_step_inside_a_transaction_is_refused_before_it_runs(stage: Stage, provider: Provider) -> None:
    errors: list[Exception] = []

    def handler(placed: Placed, ctx: Context) -> None:
        with stage.bus.transaction(), pytest.raises(WouldDeadlock) as caught:
            ctx.step("charge", provider.charge)
        errors.append(caught.value)

    stage.subscribe(handler)
    stage.attempt()
    assert (len(errors), provider.calls) == (1, 0)


def test_a_process_that_lost_the_subscription_runs_no_step(stage: Stage, provider: Provider) -> None:
    errors: list[Exception] = []

    def handler(placed: Placed, ctx: Context) -> None:
        with stage.bus._attachment.engine().storage.writing() as connection:
            connection.execute("UPDATE eventbus_subscriptions SET epoch = epoch + 1")
        with pytest.raises(LeaseLost) as caught:
            ctx.step("charge", provider.charge)
        errors.append(caught.value)

    stage.subscribe(handler)
    stage.bus.drain()
    assert (len(errors), provider.calls) == (1, 0)


def test_replay_gives_back_what_is_kept_and_keeps_nothing(stage: Stage, provider: Provider) -> None:
    results: list[Any] = []

    def handler(placed: Placed, ctx: Context) -> None:
        results.append(ctx.step("charge", provider.charge).id)
        if ctx.is_replay:
            ctx.step("mail", provider.untyped)
        raise Oops("no")

    stage.subscribe(handler)
    stage.attempt()
    before = stage.steps
    (replayed,) = stage.bus.subscriptions["charges"].replay(stage.bus.log.read())
    assert isinstance(replayed.error, Oops)
    assert results == ["ch-1", "ch-1"]
    assert provider.calls == 2  # the charge of the first attempt, and the mail of the replay
    assert stage.steps == before
