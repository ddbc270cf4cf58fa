"""What the tests of schedules share: events, a bus that stands still, and factories that keep notes."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from delivery_stage import standing_still

from eventbus import EventBus, event
from eventbus.testing import START, FakeClock

HOUR = 3600.0
DAY = 24 * HOUR


@event(name="time.Ticked")
class Ticked:
    at: float = 0.0


@event(name="time.Due", stream="order-{order_id}")
class Due:
    order_id: str
    amount: int = 0


def seconds_of(bus: EventBus) -> list[float]:
    """When the ticks of the log were planned, in seconds after the start."""
    return [envelope.event.at for envelope in bus.log.read(types=Ticked)]


def ticking(run: datetime) -> Ticked:
    """Says which run it is made for."""
    return Ticked(run.timestamp() - START)


class Ticks:
    """A factory that counts its calls, and fails as long as `fail` says so."""

    def __init__(self, fail: Callable[[int], BaseException | None] = lambda calls: None) -> None:
        self.fail, self.calls = fail, 0

    def __call__(self, run: datetime) -> Any:
        self.calls += 1
        if (error := self.fail(self.calls)) is not None:
            raise error
        return ticking(run)


def a_bus(path: str | os.PathLike[str] | None = None, clock: FakeClock | None = None, **how: Any) -> EventBus:
    """A bus that delivers in drain() only."""
    return standing_still(path, clock or FakeClock(), **how)


def at(*when: int) -> datetime:
    """A time in UTC."""
    return datetime(*when, tzinfo=UTC)  # type: ignore[misc,arg-type]
