"""What the tests of `bus.optimistic` share: an order, what may follow from it, and a window that shows it."""

from __future__ import annotations

import threading
from typing import Any

from eventbus import Context, EventBus, Projection, Table, Transaction, event, handles
from eventbus.bus import Undone


@event(name="shop.Ordered", stream="order-{order_id}")
class Ordered:
    order_id: str = "o-1"


@event(name="shop.Reserved")
class Reserved:
    order_id: str


@event(name="shop.Rejected")
class Rejected:
    order_id: str


class Orders(Projection):
    orders = Table("order_id TEXT")

    @handles(Ordered)
    def ordered(self, ordered: Ordered, tx: Transaction) -> None:
        tx.execute(f"INSERT INTO {self.orders} VALUES (?)", (ordered.order_id,))


class Window:
    """What a person sees, and what it was told."""

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.why: list[Undone] = []
        self.threads: list[threading.Thread] = []

    def apply(self) -> None:
        self.shown.append("applied")

    def rollback(self, why: Undone) -> None:
        self.threads.append(threading.current_thread())
        self.shown.append("rolled back")
        self.why.append(why)

    def confirm(self) -> None:
        self.shown.append("confirmed")

    def order(self, bus: EventBus, ordered: Any = None, **how: Any) -> Any:
        how = {"rollback": self.rollback, "confirm": self.confirm, "apply": self.apply, **how}
        return bus.optimistic(Ordered() if ordered is None else ordered, **how)


def reject(event: Any, ctx: Context) -> None:
    ctx.publish(Rejected(event.order_id))


def reserve(ordered: Ordered, ctx: Context) -> None:
    ctx.publish(Reserved(ordered.order_id))
