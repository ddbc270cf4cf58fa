"""What the tests of delivery share: a few events, a bus that stands still, and a handler that keeps notes."""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import count
from typing import Any

from eventbus import Context, EventBus, Retry, event
from eventbus.dead_letters import DeadLetter
from eventbus.testing import FakeClock


@event(stream="order-{order_id}")
class Placed:
    order_id: str
    number: int = 0


@event(stream="order-{order_id}")
class Paid:
    order_id: str


@event(name="stock.Counted")
class Counted:
    number: int


_seeds = count(1)  # two clocks on one log must not make the same ids


class Oops(Exception):
    """What a failing handler raises."""


def standing_still(path: str | os.PathLike[str] | None = None, clock: FakeClock | None = None, **how: Any) -> EventBus:
    """A bus on which time passes and deliveries run only when the test says so."""
    return EventBus(path, clock=clock or FakeClock(seed=next(_seeds)), delivery="manual", **how)


class Notes:
    """A handler that notes what it is called with, and fails as long as `fail` says so."""

    def __init__(self, fail: Callable[[Any, Context], BaseException | None] = lambda event, ctx: None) -> None:
        self.fail = fail
        self.events: list[Any] = []
        self.attempts: list[int] = []

    def __call__(self, event: Any, ctx: Context) -> None:
        self.events.append(event)
        self.attempts.append(ctx.attempt)
        if (error := self.fail(event, ctx)) is not None:
            raise error

    @property
    def numbers(self) -> list[int]:
        """The numbers of the events, in the order of the calls."""
        return [event.number for event in self.events]


def failing(error: BaseException | None = None) -> Notes:
    """A handler that always fails."""
    return Notes(lambda event, ctx: error or Oops("no"))


def only(*numbers: int) -> Callable[[Any, Context], BaseException | None]:
    """Fail for the events with these numbers."""
    return lambda event, ctx: Oops(f"number {event.number}") if event.number in numbers else None


def accounted(bus: EventBus, name: str) -> int:
    """Handled, retrying, held, dead and waiting deliveries: together as many as matching events were read."""
    subscription = bus.subscriptions[name]
    return subscription.row.handled + sum(subscription.counts.values())


ONCE = Retry(attempts=1)
ORDERS = (Placed("a", 1), Placed("a", 2), Placed("b", 3), Placed("a", 4))


def stuck(bus: EventBus, handler: Any, *events: object, **how: Any) -> EventBus:
    """A bus whose subscription "stock" has been given these events."""
    bus.subscribe("stock", Placed, Counted, handler=handler, **{"retry": ONCE, **how})
    bus.publish_many(list(events))
    bus.drain()
    return bus


def positions(letters: list[DeadLetter]) -> list[int]:
    return [letter.position for letter in letters]


def audit(bus: EventBus) -> list[Any]:
    """What was recorded of people's actions."""
    return [envelope.event for envelope in bus.log.read(types="eventbus.*")]
