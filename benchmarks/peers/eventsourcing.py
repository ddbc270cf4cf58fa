"""eventsourcing on SQLite: an aggregate is saved; a process application follows and records how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks.measuring import Block
from benchmarks.payload import ORDER

DURABILITY = "SQLite's default: each commit synced"


@contextmanager
def handling(path: Path, *, synced: bool) -> Iterator[Block]:
    runner, orders, order = _system(path)
    if not synced:
        _turn_sync_off(runner)

    def block(times: int) -> float:
        began = perf_counter()
        for _ in range(times):
            orders.save(order(**ORDER))
        return (perf_counter() - began) / times

    try:
        yield block
    finally:
        runner.stop()


def _system(path: Path) -> tuple[Any, Any, Any]:
    from eventsourcing.application import Application
    from eventsourcing.domain import Aggregate
    from eventsourcing.system import ProcessApplication, SingleThreadedRunner, System

    class Order(Aggregate):
        def __init__(
            self, order_id: str, customer_id: str, items: list[dict[str, Any]], total: float, currency: str
        ) -> None:
            self.order_id, self.customer_id = order_id, customer_id
            self.items, self.total, self.currency = items, total, currency

    class Orders(Application):
        pass

    class Follower(ProcessApplication):
        def policy(self, domain_event: Any, processing_event: Any) -> None:
            pass

    runner = SingleThreadedRunner(
        System(pipes=[[Orders, Follower]]),
        env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)},
    )
    runner.start()
    return runner, runner.get(Orders), Order


def _turn_sync_off(runner: Any) -> None:
    """It has no setting for this."""
    raise NotImplementedError
