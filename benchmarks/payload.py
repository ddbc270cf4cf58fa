"""The one payload that everything here carries."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from attrs import frozen

from eventbus import event

ORDER: dict[str, Any] = {
    "order_id": "ord-456",
    "customer_id": "cust-789",
    "items": [{"sku": "WIDGET-01", "quantity": 2}],
    "total": 99.99,
    "currency": "USD",
}
PAYLOAD = json.dumps(ORDER, separators=(",", ":"))  # as the log stores it
STREAM = "order-ord-456"


@frozen
class Item:
    """One line of an order."""

    sku: str
    quantity: int


@event(name="benchmark.OrderPlaced")
class OrderPlaced:
    """The event; `ORDER` is its JSON."""

    order_id: str
    customer_id: str
    items: list[Item]
    total: float
    currency: str


PLACED = OrderPlaced("ord-456", "cust-789", [Item("WIDGET-01", 2)], 99.99, "USD")


def other_classes(number: int) -> list[type]:
    """Event classes that are never published."""
    return [_other_class(nth) for nth in range(number)]


def _other_class(nth: int) -> type:
    @event(name=f"benchmark.Other{nth}")
    class Other:
        number: int

    return Other


def handlers(number: int) -> list[Callable[[OrderPlaced], None]]:
    """So many functions that do nothing, each its own."""
    return [_handler() for _ in range(number)]


def _handler() -> Callable[[OrderPlaced], None]:
    def handle(placed: OrderPlaced) -> None:
        pass

    return handle
