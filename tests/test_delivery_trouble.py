"""Delivery while the log itself fails: what was not begun is not lost, and nothing is recorded twice."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bus_stage import Faulty
from delivery_stage import Notes, Oops, Paid, Placed, accounted, standing_still

from eventbus import Context, EventBus, Retry
from eventbus.errors import LogError, LogIOError
from eventbus.retry import fixed
from eventbus.store import connection as connections
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


# --- commits of which nobody knows whether they are stored ------------------------------------------------


def step_on(bus: EventBus) -> None:
    """Have the pump make some steps, up to the first that meets trouble."""
    pump = bus._attachment.engine().pump
    for _ in range(12):
        try:
            if not pump.step(here=True):
                pump.bell.wait(0.005)
        except LogError:
            return


class Troubling:
    """A handler: one call of it makes trouble. Number 1 fails in its first attempts, and all publish."""

    def __init__(self, call: tuple[int, int], make_trouble: Callable[[], None], failures: int) -> None:
        self.call, self.make_trouble, self.failures = call, make_trouble, failures
        self.calls: list[tuple[int, int]] = []

    def __call__(self, placed: Placed, ctx: Context) -> None:
        call = placed.number, ctx.attempt
        self.calls.append(call)
        if call == self.call and self.calls.count(call) == 1:
            self.make_trouble()
        ctx.publish(Paid(str(placed.number)))
        if placed.number == 1 and ctx.attempt <= self.failures:
            raise Oops


class Trouble:
    """Has commits fail with an error of the disk, or succeed in a file that is no longer at its path."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path, *, stored: bool) -> None:
        class Disk(Faulty):
            pass

        plain = connections.connect_as

        def connect_as(kind: Any, location: Any, **options: Any) -> Any:
            return plain(Disk if kind is sqlite3.Connection else kind, location, **options)

        monkeypatch.setattr(connections, "connect_as", connect_as)
        self.path, self._away, self._disk, self._stored = path, path.with_name("away.db"), Disk, stored

    def make(self) -> None:
        if self._stored:
            os.rename(self.path, self._away)
        else:
            self._fails(lambda sql: "SQLITE_IOERR_FSYNC" if sql.startswith("COMMIT") else None)

    def mend(self) -> None:
        self._fails(lambda sql: None)
        if self._away.exists():
            os.rename(self._away, self.path)

    def _fails(self, fails: Callable[[str], str | None]) -> None:
        self._disk.fails = staticmethod(fails)


HOWS: list[dict[str, Any]] = [{}, {"concurrency": 3}, {"order_by": "log"}, {"transactional": True}]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(
    ("call", "failures"), [((1, 1), 0), ((1, 1), 2), ((1, 2), 2), ((1, 3), 3), ((2, 1), 3), ((3, 1), 0)]
)
@pytest.mark.parametrize("stored", [True, False])
def test_an_outcome_whose_commit_was_in_doubt_is_recorded_once_and_nothing_runs_again(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    how: dict[str, Any],
    call: tuple[int, int],
    failures: int,
    stored: bool,
) -> None:
    trouble, clock = Trouble(monkeypatch, tmp_path / "log.db", stored=stored), FakeClock()

    def deliver() -> None:
        for _ in range(4):
            step_on(bus)
            trouble.mend()
            clock.advance(10)
        bus.drain()

    handler = Troubling(call, trouble.make, failures)
    with standing_still(trouble.path, clock, durability="process") as bus:
        bus.subscribe("orders", Placed, handler=handler, retry=RETRY, **how)
        bus.publish_many([Placed(key, number) for number, key in enumerate("aab", 1)])
        deliver()
        dead = failures == 3
        letters = bus.dead_letters.list()
        assert [(letter.position, letter.attempts, letter.error) for letter in letters] == [(1, 3, "Oops:")] * dead
        for letter in letters:
            bus.dead_letters.discard(letter, reason="test")
        deliver()
        found = bus.query("SELECT handled, discarded FROM eventbus_subscriptions")
        assert found == [{"handled": 3 - dead, "discarded": int(dead)}]
        assert accounted(bus, "orders") == 3 - dead
        assert sorted(e.event.order_id for e in bus.log.read(types=Paid)) == ["1", "2", "3"][dead:]
        if not how.get("transactional"):  # its batch is rolled back, and runs again
            assert len(handler.calls) == len(set(handler.calls)) == 3 + failures - dead
