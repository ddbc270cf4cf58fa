"""Delivery while the log itself fails: what was not begun is not lost, and nothing is recorded twice."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest
from delivery_stage import Notes, Oops, Placed, accounted, standing_still

from eventbus import Context, Retry
from eventbus.errors import LogIOError
from eventbus.retry import fixed
from eventbus.store import deliveries, reading
from eventbus.testing import FakeClock

RETRY = Retry(attempts=3, backoff=fixed(10))


def failing_at(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, nth: int) -> list[int]:
    """Have the nth call of a function of the store meet an error of the disk; returns the calls so far."""
    calls, function = list[int](), getattr(module, name)

    def call(*args: Any) -> Any:
        calls.append(len(calls) + 1)
        if len(calls) == nth:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        return function(*args)

    monkeypatch.setattr(module, name, call)
    return calls


@pytest.mark.parametrize("nth", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("module", "name"), [(reading, "one"), (deliveries, "one"), (deliveries, "count_attempt")])
def test_a_retry_that_could_not_be_started_is_tried_again_and_uses_up_no_attempt(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, nth: int
) -> None:
    clock = FakeClock()

    def fail(placed: Placed, ctx: Context) -> BaseException | None:
        return Oops("first") if ctx.attempt == 1 else None

    notes = Notes(fail)
    with standing_still(clock=clock) as bus:
        bus.subscribe("orders", Placed, handler=notes, retry=RETRY, concurrency=3)
        bus.publish_many([Placed("a", 1), Placed("b", 2), Placed("a", 3)])
        bus.drain()
        clock.advance(10)
        with monkeypatch.context() as patch:
            calls = failing_at(patch, module, name, nth)
            try:
                bus.drain()
            except LogIOError:
                assert len(calls) == nth
        for _ in range(3):
            clock.advance(10)
            bus.drain()
        assert accounted(bus, "orders") == bus.subscriptions["orders"].row.handled == 3
        assert sorted(zip(notes.numbers, notes.attempts, strict=True)) == [(n, a) for n in (1, 2, 3) for a in (1, 2)]
