"""Durable handlers that catch up with a log, and the same done by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Literal

from benchmarks import floor, logs
from benchmarks.goals import CHECKED, LOOP, OURS, SCAN
from benchmarks.measuring import Measured
from benchmarks.payload import OrderPlaced, other_classes
from benchmarks.subjects.subject import Run, Subject
from eventbus import Context, EventBus

Durability = Literal["power", "process"]
Subscribe = Callable[[EventBus, str], None]

_TOTALS = "CREATE TABLE IF NOT EXISTS totals (customer_id TEXT PRIMARY KEY, orders INTEGER NOT NULL, total REAL)"
_FIRST = "INSERT OR IGNORE INTO totals VALUES ('cust-789', 0, 0)"
_UPDATE = floor.UPDATE.format("totals")

_numbers = itertools.count(1)


def drained(path: Path, durability: Durability, events: int, subscribe: Subscribe) -> float:
    """Seconds until new subscriptions have handled so many events of a log; the bus is opened before."""
    with EventBus(path, durability=durability, delivery="manual") as bus:
        subscribe(bus, f"reader-{next(_numbers)}")
        names = [view.name for view in bus.subscriptions.values()]
        began = perf_counter()
        handled = bus.drain()
        spent = perf_counter() - began
        assert handled == events, f"{handled} of {events} were handled"
        for name in names:
            bus.subscriptions[name].forget()
    return spent


def plain(bus: EventBus, name: str) -> None:
    """One subscription whose handler does nothing."""
    bus.subscribe(name, OrderPlaced, after=0, handler=lambda placed: None)


def transactional(bus: EventBus, name: str) -> None:
    """One whose handler runs one UPDATE; the log must be one `with_totals`."""

    @bus.subscribe(name, OrderPlaced, after=0, transactional=True)
    def count(placed: OrderPlaced, ctx: Context) -> None:
        ctx.tx.execute(_UPDATE, (placed.total, placed.customer_id))


def with_totals(path: Path) -> Path:
    """Make the table that is updated."""
    connection = floor.connect(path, synced=False)
    connection.execute(_TOTALS)
    connection.execute(_FIRST)
    connection.close()
    return path


def _among(others: list[type]) -> Subscribe:
    def subscribe(bus: EventBus, name: str) -> None:
        for nth, cls in enumerate(others):
            bus.subscribe(f"{name}-{nth}", cls, after=0, handler=lambda other: None)
        plain(bus, name)

    return subscribe


def _measure_transactional(run: Run, durability: Durability) -> Measured:
    events = run.sizes.backlog
    path = with_totals(logs.published(run.new_path(), events))
    with run.contest(f"{events:,} events, one UPDATE each", run.sizes.long_rounds) as contest:
        contest.add(OURS, durability, lambda: drained(path, durability, events, transactional) / events)
        synced = durability == "power"
        by_hand = lambda: floor.loop(path, floor.UPDATE, floor.update_arguments, synced=synced) / events  # noqa: E731
        contest.add(LOOP, durability, by_hand)
        checked = lambda: (  # noqa: E731
            floor.loop(path, floor.UPDATE, floor.update_arguments, synced=synced, checked=True) / events
        )
        contest.add(LOOP + CHECKED, durability, checked)
        return contest.run()


def _measure_plain(run: Run) -> Measured:
    events = run.sizes.backlog
    path = logs.published(run.new_path(), events)
    with run.contest(f"{events:,} events", run.sizes.long_rounds) as contest:
        contest.add(OURS, "power", lambda: drained(path, "power", events, plain) / events)
        contest.add(SCAN, "reads only", lambda: floor.scan(path) / events)
        contest.add(SCAN + CHECKED, "reads only", lambda: floor.checked_scan(path) / events)
        return contest.run()


def _measure_fifty(run: Run) -> Measured:
    events, others = run.sizes.backlog, other_classes(49)
    path = logs.published(run.new_path(), events)
    with run.contest(f"{events:,} events", run.sizes.long_rounds) as contest:
        fifty = _among(others)
        contest.add("50, of which 1 matches", "power", lambda: drained(path, "power", events, fifty) / events)
        contest.add("1 subscription", "power", lambda: drained(path, "power", events, plain) / events)
        return contest.run()


SUBJECTS = (
    Subject(
        "backlog-transactional",
        "a backlog through a transactional handler, synced",
        "us",
        lambda run: _measure_transactional(run, "power"),
    ),
    Subject(
        "backlog-transactional-process",
        "a backlog through a transactional handler, without sync",
        "us",
        lambda run: _measure_transactional(run, "process"),
    ),
    Subject("backlog-plain", "a backlog through a plain handler that does nothing", "us", _measure_plain),
    Subject("backlog-50", "the same backlog with 50 subscriptions of which one matches", "us", _measure_fifty),
)
