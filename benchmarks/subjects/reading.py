"""Reading the whole log: by a loop, and by the rebuild of a projection."""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

from benchmarks import floor, logs
from benchmarks.goals import CHECKED, LOOP, OURS, SCAN
from benchmarks.measuring import Measured
from benchmarks.payload import OrderPlaced
from benchmarks.subjects.subject import Run, Subject
from eventbus import EventBus, Projection, Table, Transaction, handles


class Sales(Projection):
    """What each customer has ordered."""

    sales = Table("customer_id TEXT PRIMARY KEY, orders INTEGER NOT NULL, total REAL NOT NULL")

    @handles(OrderPlaced)
    def placed(self, placed: OrderPlaced, tx: Transaction) -> None:
        tx.execute(floor.UPSERT.format(self.sales), (placed.customer_id, placed.total))


def _read(path: Path, events: int) -> float:
    with EventBus(path, delivery="manual") as bus:
        assert bus.log.head == events
        read = 0
        began = perf_counter()
        for envelope in bus.log.read():
            if envelope.event.total:
                read += 1
        spent = perf_counter() - began
    assert read == events
    return spent / events


def _rebuild(path: Path, events: int) -> float:
    with EventBus(path, delivery="manual") as bus:
        bus.project(Sales)
        bus.drain()
        began = perf_counter()
        bus.projections[Sales].rebuild()
        spent = perf_counter() - began
        (row,) = bus.query("SELECT orders FROM sales")
        assert row["orders"] == events
    return spent / events


def _loop(path: Path, *, checked: bool) -> float:
    return floor.loop(path, floor.UPSERT, floor.upsert_arguments, synced=False, checked=checked)


def _measure_read(run: Run) -> Measured:
    events = run.sizes.backlog
    path = logs.published(run.new_path(), events)
    with run.contest(f"{events:,} events", run.sizes.long_rounds) as contest:
        contest.add(OURS, "reads only", lambda: _read(path, events))
        contest.add(SCAN, "reads only", lambda: floor.scan(path) / events)
        contest.add(SCAN + CHECKED, "reads only", lambda: floor.checked_scan(path) / events)
        return contest.run()


def _measure_rebuild(run: Run) -> Measured:
    events = run.sizes.backlog
    path = logs.published(run.new_path(), events)
    with run.contest(f"{events:,} events", run.sizes.long_rounds) as contest:
        contest.add(OURS, "a rebuild needs no sync", lambda: _rebuild(path, events))
        contest.add(LOOP, "no sync", lambda: _loop(path, checked=False) / events)
        contest.add(LOOP + CHECKED, "no sync", lambda: _loop(path, checked=True) / events)
        return contest.run()


SUBJECTS = (
    Subject("read", "a loop over log.read", "us", _measure_read),
    Subject("rebuild", "rebuild of a table projection", "us", _measure_rebuild),
)
