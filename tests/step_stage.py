"""What the tests of steps share: a provider outside the log, and a subscription that is tried on request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import attrs
from delivery_stage import Placed, standing_still

from eventbus import EventBus, Retry
from eventbus.retry import fixed
from eventbus.testing import FakeClock

SOON = Retry(attempts=5, backoff=fixed(1.0))


@attrs.frozen
class Charge:
    id: str
    amount: Decimal
    at: datetime


THE_CHARGE = Charge("ch-1", Decimal("9.90"), datetime(2026, 1, 1, tzinfo=UTC))


class Provider:
    """Something outside the log, which notes how often it was asked."""

    def __init__(self) -> None:
        self.calls = 0

    def charge(self, answer: Charge = THE_CHARGE) -> Charge:
        self.calls += 1
        return answer

    async def charge_async(self, answer: Charge = THE_CHARGE) -> Charge:
        await asyncio.sleep(0)
        self.calls += 1
        return answer

    def untyped(self, answer: Any = None):  # type: ignore[no-untyped-def]
        self.calls += 1
        return answer


def stored_steps(bus: EventBus) -> list[tuple[Any, ...]]:
    rows = bus.query("SELECT name, result FROM eventbus_steps ORDER BY name", ())
    return [tuple(row.values()) for row in rows]


class Stage:
    """A bus with one subscription, and its event tried as often as the test says."""

    def __init__(self, clock: FakeClock, path: Path | None = None) -> None:
        self.clock, self.bus = clock, standing_still(path, clock)

    def subscribe(self, handler: Callable[..., Any], **how: Any) -> None:
        self.bus.subscribe("charges", Placed, handler=handler, retry=SOON, **how)
        self.bus.publish(Placed("1"))

    def attempt(self) -> None:
        """Try what is due, and let the time pass until the next try."""
        self.bus.drain()
        self.clock.advance(1)

    @property
    def steps(self) -> list[tuple[Any, ...]]:
        return stored_steps(self.bus)

    @property
    def error(self) -> str:
        (found,) = self.bus.query("SELECT error FROM eventbus_deliveries", ())
        return str(found["error"])
