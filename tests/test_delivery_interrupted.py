"""Rounds that end early: nothing is left lying, and what became due stays due."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from delivery_stage import Counted, Notes, accounted, only, standing_still

from eventbus import Breaker, EventBus, Retry
from eventbus.errors import LogBusy, LogIOError
from eventbus.retry import fixed
from eventbus.store.storage import Storage
from eventbus.testing import FakeClock
from eventbus.worker.circuits import Circuits

AGAIN = Retry(attempts=5, backoff=fixed(10))


def once(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, error: Exception, *, after: bool = False) -> None:
    """Have a method fail the next time, before it does its work or after it."""
    real = getattr(owner, name)

    def fails(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(owner, name, real)
        if after:
            real(*arguments, **named)
        raise error

    monkeypatch.setattr(owner, name, fails)


def _two(bus: EventBus, first: Any, second: Any) -> None:
    for name, handler, how in (
        ("first", first, {}),
        ("second", second, {"breaker": Breaker(failures=1, seconds=10.0)}),
    ):
        bus.subscribe(name, Counted, handler=handler, retry=AGAIN, order_by=None, **how)


def test_what_was_due_is_tried_though_the_log_was_busy_when_another_was_to_be_chosen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, first, second = FakeClock(), Notes(only(1)), Notes(only(1))
    with standing_still(tmp_path / "log.db", clock) as bus:
        _two(bus, first, second)
        bus.publish(Counted(1))
        bus.drain()
        first.fail = second.fail = lambda event, ctx: None
        clock.advance(10)
        once(monkeypatch, Circuits, "take_probe", LogBusy("log.db", "somebody writes."))
        with pytest.raises(LogBusy):
            bus.drain()
        clock.advance(2)
        bus.drain()
        assert (first.attempts, second.attempts) == ([1, 2], [1, 2])
        assert accounted(bus, "first") == bus.subscriptions["first"].row.handled == 1


def test_what_was_due_is_tried_after_ctrl_c_has_ended_another(tmp_path: Path) -> None:
    clock, first, second = FakeClock(), Notes(only(1)), Notes(only(1))
    with standing_still(tmp_path / "log.db", clock) as bus:
        bus.subscribe("first", Counted, handler=first, retry=AGAIN)
        bus.subscribe("second", Counted, handler=second, retry=AGAIN)
        bus.publish(Counted(1))
        bus.drain()
        first.fail, second.fail = lambda event, ctx: KeyboardInterrupt(), lambda event, ctx: None
        clock.advance(10)
        with pytest.raises(KeyboardInterrupt):
            bus.drain()
        first.fail = lambda event, ctx: None
        bus.drain()
        assert bus.subscriptions["second"].row.handled == 1
        assert len(second.events) == 2


def test_a_dead_letter_that_is_retried_is_due_though_the_clock_is_set_back_meanwhile(tmp_path: Path) -> None:
    clock, notes = FakeClock(), Notes(only(1))
    with standing_still(tmp_path / "log.db", clock) as bus:
        bus.subscribe("stock", Counted, handler=notes, retry=Retry(attempts=1))
        bus.publish(Counted(1))
        bus.drain()
        notes.fail = lambda event, ctx: None
        clock.advance(7200)
        bus.dead_letters.retry()
        clock.jump(-3600)
        clock.advance(2)
        bus.drain()
        assert bus.subscriptions["stock"].row.handled == 1


def test_what_is_released_is_due_though_the_clock_is_set_back_meanwhile(tmp_path: Path) -> None:
    clock, notes = FakeClock(), Notes(only(1))
    with standing_still(tmp_path / "log.db", clock) as bus:
        bus.subscribe("stock", Counted, handler=notes, retry=Retry(attempts=1))
        bus.publish_many([Counted(1), Counted(2)], stream="shelf")
        bus.drain()
        assert bus.subscriptions["stock"].counts == {"dead": 1, "held": 1}
        clock.advance(7200)
        bus.dead_letters.discard(type="*", reason="void")
        clock.jump(-3600)
        clock.advance(2)
        bus.drain()
        assert notes.numbers == [1, 2]


def test_a_subscription_whose_rows_could_not_be_read_again_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, notes = FakeClock(), Notes()
    with standing_still(tmp_path / "log.db", clock) as bus:
        bus.subscribe("stock", Counted, handler=notes)
        bus.publish(Counted(1))
        bus.drain()
        clock.jump(-3600)  # due times in the rows are later by that
        once(monkeypatch, Storage, "_commit", LogIOError("log.db", "the disk failed.", stored="in doubt"))
        with pytest.raises(LogIOError):
            bus.drain()
        bus.publish(Counted(2))
        clock.advance(2)
        bus.drain()
        assert notes.numbers == [1, 2]


class Waiting:
    """In the place of the threads that run handlers: what they are to run waits until it is told to."""

    def __init__(self, bus: EventBus) -> None:
        self.tasks: list[Callable[[], None]] = []
        bus._attachment.engine().pump._runners._pool = self  # type: ignore[assignment]

    def allow(self, most: int) -> None:
        """There are always enough."""

    def look(self, now: float) -> None:
        """None hangs."""

    def run(self, task: Callable[[], None]) -> None:
        self.tasks.append(task)

    def go(self) -> None:
        """Run what waits."""
        tasks, self.tasks = self.tasks, []
        for task in tasks:
            task()


def test_a_retry_that_did_not_begin_before_the_clock_was_set_back_is_due_all_the_same(tmp_path: Path) -> None:
    clock, notes = FakeClock(), Notes(only(1))
    with standing_still(tmp_path / "log.db", clock) as bus:
        bus.subscribe("stock", Counted, handler=notes, retry=AGAIN, concurrency=2)
        pump, threads = bus._attachment.engine().pump, Waiting(bus)

        def step_on() -> None:
            while pump.step(here=True):
                pass

        bus.publish(Counted(1))
        step_on()
        threads.go()
        step_on()
        notes.fail = lambda event, ctx: None
        clock.advance(10)
        step_on()  # it is counted, and handed to a thread
        clock.jump(-3600)
        clock.advance(2)
        pump.step(here=True)  # this is noticed: nothing begins before the rows are read again
        threads.go()
        step_on()
        clock.advance(2)
        step_on()
        threads.go()
        step_on()
        assert notes.numbers == [1, 1]
        assert bus.subscriptions["stock"].row.handled == 1


@pytest.mark.parametrize("attempts", [1, 2])
def test_a_dead_letter_that_is_discarded_while_its_commit_is_in_doubt_stays_discarded(
    attempts: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, notes = FakeClock(), Notes(only(1))
    with standing_still(tmp_path / "log.db", clock) as bus:
        bus.subscribe("stock", Counted, handler=notes, retry=Retry(attempts=attempts, backoff=fixed(10)))
        bus.publish_many([Counted(1), Counted(2)], stream="shelf")
        pump = bus._attachment.engine().pump
        if attempts > 1:
            bus.drain()
            clock.advance(10)
        while len(notes.events) < attempts:
            pump.step(here=True)
        doubt = LogIOError("log.db", "the disk failed.", stored="in doubt")
        once(monkeypatch, Storage, "_commit", doubt, after=True)
        with pytest.raises(LogIOError):
            pump.step(here=True)
        bus.dead_letters.discard(1, subscription="stock", reason="void")
        bus.drain()
        assert bus.dead_letters.list() == []
        assert notes.numbers == [1] * attempts + [2]
        assert bus.subscriptions["stock"].row.handled == 1


def test_a_subscription_in_log_order_goes_on_where_another_process_settled_what_was_due_here(
    tmp_path: Path,
) -> None:
    clock, notes, path = FakeClock(), Notes(only(1)), tmp_path / "log.db"
    with standing_still(path, clock) as bus:
        bus.subscribe("stock", Counted, handler=notes, retry=AGAIN, order_by="log")
        bus.publish_many([Counted(1), Counted(2)])
        bus.drain()
        with closing(sqlite3.connect(path)) as elsewhere, elsewhere:
            elsewhere.execute("DELETE FROM eventbus_deliveries")
            elsewhere.execute("UPDATE eventbus_subscriptions SET cursor = 1, handled = 1, epoch = epoch + 1")
        clock.advance(10)
        bus.drain()
        clock.advance(2)
        bus.drain()
        assert notes.numbers == [1, 2]
        assert bus.subscriptions["stock"].row.handled == 2
