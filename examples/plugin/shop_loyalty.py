"""Loyalty points for the shop: one for each unit of money spent."""

from typing import Any

from eventbus import Context, Handlers, event


@event(name="loyalty.PointsEarned", stream="customer-{customer_id}")
class PointsEarned:
    customer_id: str
    points: int


def eventbus_subscribe(handlers: Handlers) -> None:
    # By the event's name, so that the plugin does not depend on the shop's code.
    @handlers.subscribe("points", "shop.OrderPlaced")
    def earn(placed: Any, ctx: Context) -> None:
        ctx.publish(PointsEarned(placed.customer_id, int(placed.total)))
