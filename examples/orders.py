"""The story of an order: placed, paid through a provider that fails at times, shipped from a stock, counted.

    python examples/orders.py [FILE]

With a FILE the log stays, and each run adds an order; without one it is in memory.
"""

from __future__ import annotations

import argparse
import sys

from eventbus import Context, EventBus, EventBusError, Handlers, Projection, Retry, Table, Transaction, event, handles
from eventbus.retry import fixed


@event(name="shop.OrderPlaced", stream="order-{order_id}")
class OrderPlaced:
    order_id: str
    customer: str
    item: str
    total: float


@event(name="shop.OrderPaid", stream="order-{order_id}")
class OrderPaid:
    order_id: str
    item: str
    receipt: str


@event(name="shop.OrderShipped", stream="order-{order_id}")
class OrderShipped:
    order_id: str
    left: int


shop = Handlers()


# A live handler runs in this process, before publish returns or once the transaction is committed.
@shop.on(OrderPlaced)
def thank(placed: OrderPlaced) -> None:
    print(f"Thank you, {placed.customer}: {placed.item} for {placed.total:.2f}.")


# A durable handler runs until it succeeds, now or after a restart. It may run twice, so it hands on the event's id.
@shop.subscribe("payments", OrderPlaced, retry=Retry(attempts=5, backoff=fixed(0.05)))
def pay(placed: OrderPlaced, ctx: Context) -> None:
    receipt = charge(placed.total, once=ctx.envelope.id, attempt=ctx.attempt)
    ctx.publish(OrderPaid(placed.order_id, placed.item, receipt))


def charge(total: float, once: str, attempt: int) -> str:
    """The provider: out of reach at first. It charges a key only `once`."""
    if attempt == 1:
        print("  The provider does not answer; the order stays due.")
        raise ConnectionError("the provider does not answer")
    return f"receipt {once[:8]} over {total:.2f}"


# What a transactional handler writes into the same file happens exactly once, together with what it publishes.
@shop.subscribe("shipping", OrderPaid, transactional=True)
def ship(paid: OrderPaid, ctx: Context) -> None:
    ctx.tx.execute("UPDATE stock SET pieces = pieces - 1 WHERE item = ?", (paid.item,))
    (left,) = ctx.tx.execute("SELECT pieces FROM stock WHERE item = ?", (paid.item,)).fetchone()
    ctx.publish(OrderShipped(paid.order_id, left))


@shop.on(OrderShipped)
def announce(shipped: OrderShipped) -> None:
    print(f"  Order {shipped.order_id} is on its way; {shipped.left} left.")


@shop.project
class Sales(Projection):
    """A read model: made of events only, so it can be thrown away and built again."""

    sales = Table("customer TEXT PRIMARY KEY, orders INTEGER NOT NULL, total REAL NOT NULL")

    @handles(OrderPlaced)
    def placed(self, e: OrderPlaced, tx: Transaction) -> None:
        tx.execute(
            f"INSERT INTO {self.sales} VALUES (?, 1, ?) ON CONFLICT (customer) DO UPDATE"
            " SET orders = orders + 1, total = total + excluded.total",
            (e.customer, e.total),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="The story of an order, told by its events.")
    parser.add_argument("file", nargs="?", metavar="FILE", help="the log; each run adds an order (default: in memory)")
    with EventBus(parser.parse_args().file, source="shop") as bus:
        bus.include(shop)
        with bus.transaction() as tx:  # the shop's own rows and its events: both or neither
            tx.execute("CREATE TABLE IF NOT EXISTS orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL)")
            tx.execute("CREATE TABLE IF NOT EXISTS stock (item TEXT PRIMARY KEY, pieces INTEGER NOT NULL)")
            tx.execute("INSERT OR IGNORE INTO stock VALUES ('bicycle', 10)")
            order_id = str(tx.execute("INSERT INTO orders (item) VALUES ('bicycle') RETURNING id").fetchone()[0])
            placed = tx.publish(OrderPlaced(order_id, "Ada", "bicycle", 499.0))
        bus.wait_for(placed, "payments", timeout=30)  # the provider takes its time
        bus.drain()  # and all that follows from the payment

        print(f"The story of order {order_id}:")
        for envelope in bus.log.read(stream=f"order-{order_id}"):
            print(f"  {envelope.sequence}  {envelope.type}")
        for row in bus.query("SELECT * FROM sales"):
            print(f"{row['customer']} has placed {row['orders']} for {row['total']:.2f}.")


if __name__ == "__main__":
    try:
        main()
    except EventBusError as error:
        sys.exit(str(error))
