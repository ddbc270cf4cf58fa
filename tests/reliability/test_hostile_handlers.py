"""Handlers that do what no handler should: the bus goes on, and what was due is accounted for."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from workload import AGAIN

from eventbus import Context, EventBus, Projection, Retry, Table, Transaction, event, handles
from eventbus.errors import EventBusError, WouldDeadlock
from eventbus.testing import FakeClock

LONGEST = 60.0
TWICE = Retry(attempts=2, backoff=AGAIN)


@event(name="hostile.Step", stream="walk-{walk}")
class Step:
    number: int
    walk: int = 0


@event(name="hostile.Pause")
class Pause:
    number: int


def raising(error: type[BaseException]) -> Callable[[Step], None]:
    def handle(step: Step) -> None:
        if step.number == 1:
            raise error

    return handle


def raising_later(error: type[BaseException]) -> Callable[[Step], Any]:
    async def handle(step: Step) -> None:
        raising(error)(step)

    return handle


@pytest.fixture
def bus(tmp_path: Path) -> Any:
    with EventBus(tmp_path / "events.db") as bus:
        yield bus


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, asyncio.CancelledError])
@pytest.mark.parametrize("kind", ["plain", "async", "transactional"])
def test_whatever_a_handler_raises_is_a_failed_attempt(bus: EventBus, error: type[BaseException], kind: str) -> None:
    handler = raising_later(error) if kind == "async" else raising(error)
    bus.subscribe("hostile", Step, handler=handler, retry=TWICE, transactional=kind == "transactional")
    receipts = bus.publish_many([Step(1, 1), Step(2, 1), Step(3, 2)])
    bus.drain(timeout=LONGEST)
    assert [bus.status(each)["hostile"] for each in receipts] == ["dead", "held", "handled"]
    assert bus.status(receipts[0])["hostile"].attempts == 2


def test_a_handler_that_exits_ends_no_thread_of_the_bus(bus: EventBus) -> None:
    seen = []

    def leave(step: Step) -> None:
        seen.append(step.number)
        sys.exit(3)

    bus.subscribe("leaver", Step, handler=leave, retry=Retry(attempts=1))
    for number in range(20):
        bus.publish(Step(number, number))
        bus.drain(timeout=LONGEST)
    assert seen == list(range(20))


def test_ctrl_c_while_the_main_thread_drains_ends_the_drain_and_costs_no_event(tmp_path: Path) -> None:
    bus, presses = EventBus(tmp_path / "events.db", delivery="manual"), [KeyboardInterrupt]

    def handle(step: Step) -> None:
        if presses:
            raise presses.pop()

    bus.subscribe("worker", Step, handler=handle)
    receipt = bus.publish(Step(1))
    with pytest.raises(KeyboardInterrupt):
        bus.drain()
    assert bus.status(receipt)["worker"] == "waiting"
    assert bus.drain() == 1
    bus.close()


@pytest.mark.parametrize("kind", ["plain", "async", "transactional", "direct"])
def test_a_handler_may_publish_to_the_stream_it_handles(bus: EventBus, kind: str) -> None:
    def handle(step: Step, ctx: Context) -> None:
        if step.number < 50:
            (bus.publish if kind == "direct" else ctx.publish)(Step(step.number + 1, step.walk))

    async def handle_later(step: Step, ctx: Context) -> None:
        handle(step, ctx)

    handler = handle_later if kind == "async" else handle
    bus.subscribe("walker", Step, handler=handler, transactional=kind == "transactional")
    bus.publish(Step(1))
    bus.drain(timeout=LONGEST)
    found = list(bus.log.read())
    assert [(each.event.number, each.sequence) for each in found] == [(number, number) for number in range(1, 51)]
    assert [each.causation_id for each in found[1:]] == [each.id for each in found[:-1]]
    assert {each.correlation_id for each in found} == {found[0].id}


def test_what_a_handler_cannot_publish_is_its_own_failure(bus: EventBus) -> None:
    def late(step: Step, ctx: Context) -> None:
        ctx.publish(Pause(step.number), stream="pauses", expected_version=0)

    bus.subscribe("late", Step, handler=late, retry=TWICE)
    receipts = bus.publish_many([Step(1, 1), Step(2, 2), Step(3, 3)])
    bus.drain(timeout=LONGEST)
    assert [bus.status(each)["late"] for each in receipts] == ["handled", "dead", "dead"]
    assert "WrongExpectedVersion" in (bus.status(receipts[1])["late"].error or "")
    assert [each.event.number for each in bus.log.read(types=Pause)] == [1]


def test_calls_that_would_wait_for_the_handler_itself_raise_at_once(bus: EventBus) -> None:
    raised: list[EventBusError] = []

    def handle(step: Step) -> None:
        for call in (bus.drain, bus.close):
            with pytest.raises(WouldDeadlock) as caught:
                call()
            raised.append(caught.value)

    bus.subscribe("waiter", Step, handler=handle)
    receipt = bus.publish(Step(1))
    assert bus.wait_for(receipt, "waiter", timeout=LONGEST) == "handled"
    assert len(raised) == 2


def test_a_transactional_handler_cannot_publish_past_its_transaction(bus: EventBus) -> None:
    raised = []

    def handle(step: Step) -> None:
        for call in (
            lambda: bus.publish(Pause(1)),
            lambda: bus.submit(Pause(1)),
            bus.drain,
            bus.transaction().__enter__,
        ):
            with pytest.raises(WouldDeadlock) as caught:
                call()
            raised.append(caught.value)

    bus.subscribe("stubborn", Step, handler=handle, transactional=True)
    receipt = bus.publish(Step(1))
    assert bus.wait_for(receipt, "stubborn", timeout=LONGEST) == "handled"
    assert len(raised) == 4


def test_events_far_apart_are_found(bus: EventBus) -> None:
    """Far more than a claim lies between them, and none of it is meant for the subscription."""
    seen: list[int] = []
    for number in range(3):
        bus.publish(Pause(number))
        bus.publish_many([Step(each) for each in range(2000)])
    bus.subscribe("pauses", Pause, after=0, handler=lambda pause: seen.append(pause.number))
    bus.drain(timeout=LONGEST)
    assert seen == [0, 1, 2]


def test_a_function_subscribed_again_replaces_the_one_before_it(bus: EventBus) -> None:
    seen: list[tuple[str, int]] = []

    def version(name: str) -> Callable[[Step], None]:
        def handle(step: Step) -> None:
            seen.append((name, step.number))

        return handle

    for number, name in enumerate(("old", "new", "newer")):
        bus.subscribe("reloaded", Step, handler=version(name))
        bus.wait_for(bus.publish(Step(number)), "reloaded", timeout=LONGEST)
    assert seen == [("old", 0), ("new", 1), ("newer", 2)]


def test_taking_a_handler_out_while_it_runs_lets_it_finish_and_keeps_the_rest(bus: EventBus) -> None:
    started, go_on, seen = threading.Event(), threading.Event(), []

    def handle(step: Step) -> None:
        started.set()
        assert go_on.wait(LONGEST)
        seen.append(step.number)

    registration = bus.subscribe("slow", Step, handler=handle)
    receipts = bus.publish_many([Step(number) for number in range(5)])
    assert started.wait(LONGEST)
    registration.close()
    go_on.set()
    bus.drain(timeout=LONGEST)
    assert seen == [number for number in range(5) if bus.status(receipts[number])["slow"] == "handled"]
    bus.subscribe("slow", Step, handler=handle)
    bus.drain(timeout=LONGEST)
    assert seen == list(range(5))


PUBLISH_LOST = """
import sys
from eventbus import EventBus, event

@event(name="hostile.Lost")
class Lost:
    number: int

with EventBus(sys.argv[1], delivery="manual") as bus:
    bus.publish_many([Lost(number) for number in (1, 2)], stream="lost")
"""


def test_an_event_whose_class_is_loaded_later_is_handled_then(tmp_path: Path) -> None:
    path, seen = tmp_path / "events.db", []
    subprocess.run([sys.executable, "-c", PUBLISH_LOST, str(path)], check=True)
    with EventBus(path, delivery="manual") as bus:
        bus.subscribe("all", "hostile.*", after=0, handler=seen.append)
        bus.publish(Step(3))
        bus.drain()
        assert [bus.status(position)["all"] for position in (1, 2, 3)] == ["waiting", "held", "handled"]

        @event(name="hostile.Lost")
        class Lost:
            number: int

        bus.drain()
        assert seen == [Step(3), Lost(1), Lost(2)]
        assert [bus.status(position)["all"] for position in (1, 2)] == ["handled", "handled"]


def test_a_subscription_two_buses_share_goes_on_when_one_of_them_leaves(tmp_path: Path) -> None:
    seen: list[int] = []

    def handle(step: Step) -> None:
        seen.append(step.number)

    with EventBus(tmp_path / "events.db") as first:
        first.subscribe("shared", Step, handler=handle)
        with EventBus(tmp_path / "events.db") as second:
            second.subscribe("shared", Step, handler=handle)
            second.publish(Step(1))
            second.drain(timeout=LONGEST)
        first.publish(Step(2))
        first.drain(timeout=LONGEST)
        assert seen == [1, 2]
        assert first.subscriptions["shared"].state == "active"


class Walks(Projection):
    """Trips over number 3 until it is mended."""

    walks = Table("number INTEGER PRIMARY KEY")
    mended = False

    @handles(Step)
    def step(self, e: Step, tx: Transaction) -> None:
        """Add a row."""
        tx.execute(f"INSERT INTO {self.walks} VALUES (?)", (e.number,))
        if e.number == 3 and not self.mended:
            raise ValueError("tripped")


def test_a_projection_that_failed_is_mended_and_rebuilt(bus: EventBus, monkeypatch: pytest.MonkeyPatch) -> None:
    def numbers() -> list[int]:
        return [row["number"] for row in bus.query("SELECT number FROM walks ORDER BY number")]

    bus.project(Walks)
    receipts = bus.publish_many([Step(number) for number in range(1, 6)])
    bus.drain(timeout=LONGEST)
    assert [bus.status(each)["walks"] for each in receipts] == ["handled", "handled", "dead", "held", "held"]
    with pytest.raises(EventBusError, match="tripped"):
        bus.projections[Walks].rebuild()
    assert numbers() == [1, 2], "readers see the old rows"
    monkeypatch.setattr(Walks, "mended", True)
    bus.projections[Walks].rebuild()
    assert numbers() == [1, 2, 3, 4, 5]
    bus.wait_for(bus.publish(Step(6)), Walks, timeout=LONGEST)
    assert numbers() == [1, 2, 3, 4, 5, 6]
    assert bus.projections[Walks].state == "active"


def test_a_projection_is_rebuilt_again_and_again_while_others_publish_and_read(bus: EventBus) -> None:
    class Counted(Projection):
        counted = Table("number INTEGER PRIMARY KEY")

        @handles(Step)
        def step(self, e: Step, tx: Transaction) -> None:
            tx.execute(f"INSERT INTO {self.counted} VALUES (?)", (e.number,))

    bus.project(Counted)
    stop = threading.Event()

    def rebuild() -> None:
        while not stop.is_set():
            bus.projections[Counted].rebuild()

    rebuilder = threading.Thread(target=rebuild)
    rebuilder.start()
    try:
        for number in range(100):
            receipt = bus.publish(Step(number))
            assert bus.wait_for(receipt, Counted, timeout=LONGEST) == "handled"
            assert bus.query("SELECT count(*) AS n FROM counted")[0]["n"] == number + 1, "a reader saw it half done"
    finally:
        stop.set()
        rebuilder.join(LONGEST)


def test_with_a_simulated_clock_retries_come_when_it_says(tmp_path: Path) -> None:
    clock, attempts = FakeClock(), []

    def fail(step: Step, ctx: Context) -> None:
        attempts.append((clock.monotonic(), ctx.attempt))
        if ctx.attempt < 4:
            raise ValueError

    with EventBus(tmp_path / "events.db", clock=clock) as bus:
        bus.subscribe("late", Step, handler=fail)
        receipt = bus.publish(Step(1))
        for _ in range(20):
            bus.drain(timeout=LONGEST)
            clock.advance(0.5)
        assert attempts == [(0.0, 1), (0.5, 2), (1.5, 3), (3.5, 4)]
        assert bus.status(receipt)["late"] == "handled"


@pytest.mark.parametrize("kind", ["handler", "transaction"])
def test_nobody_hears_of_an_event_that_a_savepoint_took_back(bus: EventBus, kind: str) -> None:
    heard: list[int] = []
    bus.on(Pause, handler=lambda pause: heard.append(pause.number))

    def change_its_mind(tx: Transaction) -> None:
        with suppress(ValueError), tx.db.atomic():
            tx.publish(Pause(1))
            raise ValueError
        tx.publish(Pause(2))

    if kind == "transaction":
        with bus.transaction() as tx:
            change_its_mind(tx)
    else:
        bus.subscribe("undecided", Step, transactional=True, handler=lambda step, ctx: change_its_mind(ctx.tx))
        bus.publish(Step(1))
        bus.drain(timeout=LONGEST)
    bus.close()
    assert heard == [2]


def test_a_full_disk_is_no_fault_of_the_event(bus: EventBus) -> None:
    full = [True]

    def fill(step: Step, ctx: Context) -> None:
        ctx.tx.execute("INSERT INTO rows VALUES (?)", (step.number,))
        if full:
            full.clear()
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

    with bus.transaction() as tx:
        tx.execute("CREATE TABLE rows (number INTEGER)")
    bus.subscribe("writer", Step, transactional=True, retry=Retry(attempts=1), handler=fill)
    receipt = bus.publish(Step(1))
    assert bus.wait_for(receipt, "writer", timeout=LONGEST) == "handled"
    assert bus.query("SELECT number FROM rows") == [{"number": 1}]
