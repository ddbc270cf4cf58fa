"""The shop: orders are placed, paid through a provider, and shipped."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from sqlite_utils import Database, Migrations

from eventbus import Context, EventBus, Projection, Retry, RetryLater, Table, Transaction, event, handles
from eventbus.cli.demo.provider import Provider
from eventbus.retry import fixed

FREIGHT = 1000.0
"""From this amount on an order needs the truck, which comes a while after the payment."""

TRUCK_SECONDS = 60.0
_BETWEEN_ATTEMPTS = 0.05  # seconds; a real provider would be given longer


@event(stream="order-{order}")
class OrderPlaced:
    order: str
    customer: str
    card: str
    total: float


@event(stream="order-{order}")
class ItemAdded:
    order: str
    customer: str
    card: str
    total: float


@event(stream="order-{order}")
class OrderPaid:
    order: str
    customer: str
    amount: float


@event(stream="order-{order}")
class OrderShipped:
    order: str
    customer: str


class Sales(Projection):
    """What each customer has paid."""

    sales = Table("customer TEXT PRIMARY KEY, payments INTEGER NOT NULL, total REAL NOT NULL")

    @handles(OrderPaid)
    def paid(self, paid: OrderPaid, tx: Transaction) -> None:
        tx.execute(
            f"INSERT INTO {self.sales} VALUES (?, 1, ?) ON CONFLICT (customer) DO UPDATE"
            " SET payments = payments + 1, total = total + excluded.total",
            (paid.customer, paid.amount),
        )


def provider_of(path: str) -> Path:
    """The provider's file, beside the log at `path`."""
    return Path(path).with_name("provider.jsonl")


def shop(path: str, provider: Provider | None = None) -> EventBus:
    """The shop's bus on the log at `path`."""
    bus = EventBus(path, source="shop", migrations=_tables())
    payments = provider or Provider(provider_of(path))

    @bus.subscribe("payments", OrderPlaced, ItemAdded, retry=Retry(attempts=3, backoff=fixed(_BETWEEN_ATTEMPTS)))
    def collect(due: OrderPlaced | ItemAdded, ctx: Context) -> None:
        # The provider is outside the file: a crash after this line makes it be asked again, with the same key.
        payments.charge(ctx.envelope.id, due.order, due.card, due.total)
        ctx.publish(OrderPaid(due.order, due.customer, due.total))

    @bus.subscribe("shipping", OrderPaid, transactional=True)
    def ship(paid: OrderPaid, ctx: Context) -> None:
        waited = (datetime.now(UTC) - ctx.envelope.time).total_seconds()
        if paid.amount >= FREIGHT and waited < TRUCK_SECONDS:
            raise RetryLater(TRUCK_SECONDS - waited)
        ctx.tx.execute("INSERT INTO parcels VALUES (?, ?)", (paid.order, paid.customer))
        ctx.tx.publish(OrderShipped(paid.order, paid.customer))

    bus.project(Sales)
    return bus


def _tables() -> Migrations:
    """The shop's own tables, in the same file."""
    tables = Migrations("shop")

    @tables()
    def make_parcels(db: Database) -> None:
        db.table("parcels").create({"number": str, "customer": str}, pk="number")

    return tables
