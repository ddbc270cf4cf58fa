"""eventsourcing on SQLite: an aggregate is saved; a process application follows and records how far it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from benchmarks.payload import ORDER
from benchmarks.peers import Queue

DURABILITY = "SQLite's default: each commit synced"


@contextmanager
def handling(folder: Path, *, synced: bool = True) -> Iterator[Queue]:
    """The follower handles each as it is saved: its runner knows no other way."""
    from eventsourcing.system import SingleThreadedRunner, System  # pyright: ignore[reportMissingImports]

    order, orders, follower = _classes()
    runner = SingleThreadedRunner(
        System(pipes=[[orders, follower]]),
        env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(folder / "events.db")},
    )
    if not synced:
        for app in runner.apps.values():
            _turn_sync_off(app.factory.datastore.pool)
    runner.start()
    application = runner.get(orders)
    try:
        yield Queue(lambda: application.save(order(**ORDER)), lambda: None)
    finally:
        runner.stop()


@cache  # it keeps them by name, and refuses others of the same name
def _classes() -> tuple[Any, Any, Any]:
    from eventsourcing.application import Application  # pyright: ignore[reportMissingImports]
    from eventsourcing.domain import Aggregate  # pyright: ignore[reportMissingImports]
    from eventsourcing.system import ProcessApplication  # pyright: ignore[reportMissingImports]

    class Order(Aggregate):
        def __init__(
            self, order_id: str, customer_id: str, items: list[dict[str, Any]], total: float, currency: str
        ) -> None:
            self.order_id, self.customer_id = order_id, customer_id
            self.items, self.total, self.currency = items, total, currency

    class Orders(Application[Any]):
        pass

    class Follower(ProcessApplication[Any]):
        def policy(self, domain_event: Any, processing_event: Any) -> None:
            pass

    return Order, Orders, Follower


def _turn_sync_off(pool: Any) -> None:
    """It has no setting for this, so each of its connections is told."""
    create = pool._create_connection

    def create_without_sync() -> Any:
        connection = create()
        connection._sqlite_conn.execute("PRAGMA synchronous = NORMAL")
        return connection

    for connection in pool._pool:  # made already
        connection._sqlite_conn.execute("PRAGMA synchronous = NORMAL")
    pool._create_connection = create_without_sync
