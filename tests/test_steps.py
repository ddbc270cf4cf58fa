"""Steps: what a handler has done already is not done again by a retry."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bus_stage import PATIENCE, elsewhere
from delivery_stage import Oops, Placed, standing_still
from step_stage import SOON, THE_CHARGE, Charge, Provider, Stage, stored_steps

from eventbus import Context
from eventbus.errors import EventBusError, EventDefinitionError, InvalidStep
from eventbus.store.transaction import Transaction
from eventbus.testing import FakeClock, context

MANY = 6  # more than the threads on which transactions begin and end


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def stage(clock: FakeClock) -> Stage:
    return Stage(clock)


# --- a retry --------------------------------------------------------------------------------------------


def test_a_retry_gets_the_result_back_without_running_the_step_again(stage: Stage, provider: Provider) -> None:
    results: list[Charge] = []

    def handler(placed: Placed, ctx: Context) -> None:
        results.append(ctx.step("charge", provider.charge))
        if ctx.attempt < 3:
            raise Oops("no")

    stage.subscribe(handler)
    for _ in range(3):
        stage.attempt()
    assert (provider.calls, results) == (1, [THE_CHARGE] * 3)


def test_a_step_that_failed_runs_again(stage: Stage) -> None:
    attempts: list[int] = []

    def flaky(attempt: int) -> int:
        attempts.append(attempt)
        if attempt == 1:
            raise Oops("no")
        return attempt

    stage.subscribe(lambda placed, ctx: ctx.step("flaky", flaky, ctx.attempt))
    stage.attempt()
    stage.attempt()
    assert attempts == [1, 2]


def test_a_result_is_stored_before_the_step_returns(stage: Stage, provider: Provider) -> None:
    seen: list[Any] = []

    def handler(placed: Placed, ctx: Context) -> None:
        ctx.step("charge", provider.untyped, {"id": "ch-1"})
        seen.extend(stored_steps(stage.bus))

    stage.subscribe(handler)
    stage.attempt()
    assert seen == [("charge", '{"id":"ch-1"}')]


def test_the_commit_of_a_step_follows_the_durability(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(clock, tmp_path / "events.db")
    stage.subscribe(lambda placed, ctx: ctx.step("one", int))
    storage = stage.bus._attachment.engine().storage
    synced: list[bool] = []
    writing = storage.writing

    def noted(*, synced_: bool = True, **how: Any) -> Any:
        synced.append(how.get("synced", synced_))
        return writing(**how)

    monkeypatch.setattr(storage, "writing", noted)
    stage.attempt()
    assert synced.count(True) == 1


def test_the_steps_of_a_delivery_are_gone_when_it_is_settled(stage: Stage, provider: Provider) -> None:
    def handler(placed: Placed, ctx: Context) -> None:
        ctx.step("charge", provider.untyped)
        if placed.number == 0 and ctx.attempt == 1:
            raise Oops("no")

    stage.subscribe(handler)
    stage.bus.publish(Placed("2", 1))
    stage.bus.drain()
    assert [name for name, _ in stage.steps] == ["charge"]
    stage.clock.advance(1)
    stage.attempt()
    assert stage.steps == []


def test_a_dead_letter_keeps_its_steps(stage: Stage, provider: Provider) -> None:
    def handler(placed: Placed, ctx: Context) -> None:
        ctx.step("charge", provider.untyped)
        raise Oops("no")

    stage.subscribe(handler)
    for _ in range(5):
        stage.attempt()
    assert stage.bus.subscriptions["charges"].counts == {"dead": 1}
    assert len(stage.steps) == 1


def test_a_dead_letter_that_was_edited_goes_on_behind_its_steps(stage: Stage, provider: Provider) -> None:
    def handler(placed: Placed, ctx: Context) -> None:
        ctx.step("charge", provider.untyped)
        if placed.number == 0:
            raise Oops("no")

    stage.subscribe(handler)
    for _ in range(5):
        stage.attempt()
    stage.bus.dead_letters.edit(1, Placed("1", 7))
    stage.bus.dead_letters.retry(1)
    assert stage.bus.drain() == 1
    assert (provider.calls, stage.steps) == (1, [])


@pytest.mark.parametrize("whole_key", [False, True])
def test_a_delivery_that_a_person_gives_up_leaves_no_steps(stage: Stage, provider: Provider, whole_key: bool) -> None:
    def handler(placed: Placed, ctx: Context) -> None:
        ctx.step("charge", provider.untyped)
        if placed.number == 0:
            raise Oops("no")

    stage.subscribe(handler)
    stage.bus.publish(Placed("1", 1))
    for _ in range(5):
        stage.attempt()
    assert stage.bus.subscriptions["charges"].counts == {"dead": 1, "held": 1}
    stage.bus.dead_letters.discard(1, reason="refunded", whole_key=whole_key)
    stage.bus.drain()
    assert stage.steps == []
    assert stage.bus.subscriptions["charges"].counts == {}


DYING = """
import os
from eventbus import EventBus
from delivery_stage import Placed

def handler(placed, ctx):
    ctx.step("charge", print, "charged")
    os._exit(9)

bus = EventBus("events.db", delivery="manual")
bus.subscribe("charges", Placed, handler=handler)
bus.publish(Placed("1"))
bus.drain()
"""


def test_a_process_that_died_after_a_step_does_not_repeat_it(
    tmp_path: Path, clock: FakeClock, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    died = subprocess.run([sys.executable, "-c", DYING], cwd=tmp_path, env=environment, timeout=PATIENCE, check=False)
    assert died.returncode == 9
    bus = standing_still(tmp_path / "events.db", clock)
    results: list[None] = []
    bus.subscribe("charges", Placed, handler=lambda placed, ctx: results.append(ctx.step("charge", print, "again")))
    assert bus.drain() == 1
    assert (results, capsys.readouterr().out) == ([None], "")
    assert stored_steps(bus) == []


def test_an_attempt_that_was_left_undone_at_the_close_goes_on_behind_its_steps(
    tmp_path: Path, clock: FakeClock, provider: Provider
) -> None:
    cut = [True]

    def handler(placed: Placed, ctx: Context) -> None:
        ctx.step("charge", provider.charge)
        if cut.pop():
            raise KeyboardInterrupt

    for times in (1, 2):
        stage = Stage(clock, tmp_path / "events.db")
        stage.bus.subscribe("charges", Placed, handler=handler)
        if times == 1:
            stage.bus.publish(Placed("1"))
            with pytest.raises(KeyboardInterrupt):
                stage.bus.drain()
        else:
            cut.append(False)
            assert stage.bus.drain() == 1
            assert stage.steps == []
        stage.bus.close(timeout=0)
    assert provider.calls == 1


def test_steps_of_two_events_and_two_subscriptions_are_their_own(stage: Stage, provider: Provider) -> None:
    def handler(placed: Placed, ctx: Context) -> None:
        ctx.step("charge", provider.untyped)
        raise Oops("no")

    stage.subscribe(handler)
    stage.bus.subscribe("others", Placed, handler=handler, after=0)
    stage.bus.publish(Placed("2"))
    stage.attempt()
    assert provider.calls == 4


def test_what_a_handler_publishes_is_the_same_when_its_steps_are_not_run_again(
    stage: Stage, provider: Provider
) -> None:
    def handler(placed: Placed, ctx: Context) -> None:
        ctx.publish(Placed(ctx.step("charge", provider.charge).id, 1))
        if ctx.attempt == 1:
            raise Oops("no")

    stage.bus.subscribe("charges", Placed, handler=lambda e, c: handler(e, c) if e.number == 0 else None, retry=SOON)
    stage.bus.publish(Placed("1"))
    stage.attempt()
    stage.attempt()
    assert [each.event.order_id for each in stage.bus.log.read()] == ["1", "ch-1"]


# --- async handlers -------------------------------------------------------------------------------------


def test_an_async_step_is_awaited_and_not_run_again(stage: Stage, provider: Provider) -> None:
    results: list[Charge] = []

    async def handler(placed: Placed, ctx: Context) -> None:
        results.append(await ctx.step("charge", provider.charge_async))
        if ctx.attempt == 1:
            raise Oops("no")

    stage.subscribe(handler)
    elsewhere(stage.attempt)
    elsewhere(stage.attempt)
    assert (provider.calls, results) == (1, [THE_CHARGE] * 2)


def test_a_plain_function_is_a_step_of_an_async_handler_too(stage: Stage, provider: Provider) -> None:
    async def handler(placed: Placed, ctx: Context) -> None:
        assert ctx.step("charge", provider.charge) == THE_CHARGE
        await asyncio.gather(*(ctx.step(f"more {n}", provider.charge_async) for n in range(3)))
        if ctx.attempt == 1:
            raise Oops("no")

    stage.subscribe(handler)
    elsewhere(stage.attempt)
    elsewhere(stage.attempt)
    assert provider.calls == 4
    assert stage.bus.subscriptions["charges"].row.handled == 1


def test_an_async_step_leaves_the_loop_to_others(stage: Stage, provider: Provider) -> None:
    """It is kept while another task of the loop has a transaction open: waiting for that here would be for ever."""
    done: list[str] = []

    async def handler(placed: Placed, ctx: Context) -> None:
        stepped = asyncio.Event()
        opened = asyncio.Event()

        async def other() -> None:
            async with stage.bus.transaction():
                opened.set()
                await stepped.wait()

        async def step() -> str:
            opening = asyncio.create_task(other())
            stepped.opening = opening  # type: ignore[attr-defined]
            await opened.wait()
            asyncio.get_running_loop().call_soon(stepped.set)
            return "kept"

        done.append(await ctx.step("slow", step))

    stage.subscribe(handler)
    elsewhere(stage.attempt)
    assert done == ["kept"]


def test_steps_that_wait_for_a_transaction_leave_it_a_thread_to_end_on(tmp_path: Path, clock: FakeClock) -> None:
    async def main() -> list[str]:
        begun: list[str] = []
        kept: list[str] = []
        all_begun, opened, all_ran = asyncio.Event(), asyncio.Event(), asyncio.Event()

        async def step(name: str) -> str:
            begun.append(name)
            if len(begun) == MANY:
                all_begun.set()
            await opened.wait()
            asyncio.get_running_loop().call_later(0.1, all_ran.set)
            return name

        async def handler(placed: Placed, ctx: Context) -> None:
            kept.append(await ctx.step("one", step, f"step {len(begun)}"))

        async with standing_still(tmp_path / "events.db", clock) as bus:
            for number in range(MANY):
                bus.subscribe(f"charges {number}", Placed, handler=handler)
            await bus.publish_async(Placed("1"))
            draining = asyncio.create_task(bus.drain_async())
            await all_begun.wait()
            async with bus.transaction():
                opened.set()
                await all_ran.wait()
            await draining
        return kept

    assert len(elsewhere(lambda: asyncio.run(main()))) == MANY


# --- the testing kit ------------------------------------------------------------------------------------


def test_the_context_of_the_testing_kit_runs_steps_and_notes_them(provider: Provider) -> None:
    ctx = context(Placed("1"))
    assert ctx.step("charge", provider.charge) == THE_CHARGE

    async def again() -> Charge:
        return await ctx.step("again", provider.charge_async)

    assert asyncio.run(again()) == THE_CHARGE
    assert ctx.steps == {"charge": THE_CHARGE, "again": THE_CHARGE}


def test_the_context_of_the_testing_kit_refuses_what_a_bus_refuses(provider: Provider) -> None:
    ctx = context(Placed("1"))
    with pytest.raises(InvalidStep):
        ctx.step("charge", provider.untyped, (1, 2))
    with pytest.raises(EventDefinitionError, match="used already"):
        ctx.step("charge", provider.untyped)
    with pytest.raises(EventDefinitionError, match="nothing can await it here"):
        ctx.step("async", provider.charge_async)
    transaction = Transaction.__new__(Transaction)
    with pytest.raises(EventBusError, match="A transactional handler has no steps"):
        context(Placed("1"), transaction=transaction).step("charge", provider.untyped)
