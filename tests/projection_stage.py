"""What the tests of projections share: sales of a shop, one table of totals."""

from __future__ import annotations

from typing import Any

from eventbus import EventBus, Projection, Table, Transaction, event, handles


@event(name="shop.Sold")
class Sold:
    customer: str
    amount: int


@event(name="shop.Gift")
class Gift(Sold):
    pass


@event(name="shop.Refunded")
class Refunded:
    customer: str
    amount: int


class Sales(Projection):
    version = 1
    sales = Table("customer TEXT PRIMARY KEY, orders INTEGER NOT NULL, total INTEGER NOT NULL")

    @handles(Sold)
    def sold(self, sold: Sold, tx: Transaction) -> None:
        self.add(sold.customer, 1, sold.amount, tx)

    @handles(Refunded)
    def refunded(self, refunded: Refunded, tx: Transaction) -> None:
        self.add(refunded.customer, 0, -refunded.amount, tx)

    def add(self, customer: str, orders: int, amount: int, tx: Transaction) -> None:
        tx.execute(
            f"INSERT INTO {self.sales} VALUES (?, ?, ?) ON CONFLICT (customer) DO UPDATE "
            "SET orders = orders + excluded.orders, total = total + excluded.total",
            (customer, orders, amount),
        )


def sales(bus: EventBus) -> dict[str, tuple[int, int]]:
    """What readers see."""
    return {row["customer"]: (row["orders"], row["total"]) for row in bus.query("SELECT * FROM sales ORDER BY 1")}


def tables(bus: EventBus) -> list[str]:
    """Tables and views of projections, as they are in the file."""
    rows = bus.query("SELECT name FROM sqlite_master WHERE type IN ('table', 'view') ORDER BY name")
    return [row["name"] for row in rows if not row["name"].startswith(("eventbus_", "sqlite_"))]


def some(number: int) -> list[Any]:
    """Events of a few customers, always the same."""
    return [
        Refunded(f"c{n % 5}", n) if n % 7 == 0 else (Gift if n % 3 else Sold)(f"c{n % 5}", 2 * n) for n in range(number)
    ]


def filled(bus: EventBus, number: int = 700) -> dict[str, tuple[int, int]]:
    """Let the projection handle some events; returns what readers see then."""
    bus.project(Sales)
    bus.publish_many(some(number))
    bus.drain()
    return sales(bus)
