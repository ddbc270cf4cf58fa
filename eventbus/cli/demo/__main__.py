"""The two processes of the story: `python -m eventbus.cli.demo begin|resume LOG`."""

from __future__ import annotations

import os
import signal
import sys

from eventbus import Context, EventBus
from eventbus.cli.demo.app import ItemAdded, OrderPaid, OrderPlaced, Sales, provider_of, shop
from eventbus.cli.demo.provider import Provider

SECONDS = 20.0
"""How long the second process waits for a delivery; each takes some milliseconds."""

KILLED_AT = "2"
"""The order whose charge the first process does not live to note."""


class Deadly(Provider):
    """The provider, seen from a process that dies when it has charged one order, and before anybody is told."""

    def charge(self, key: str, order: str, card: str, amount: float) -> None:
        super().charge(key, order, card, amount)
        if order == KILLED_AT:
            os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))  # on Windows both end it at once


def begin(path: str) -> None:
    """Take orders and collect the money, until the charge that this process does not survive."""
    with shop(path, Deadly(provider_of(path))) as bus:
        _hear(bus)
        bus.publish_many(
            [
                OrderPlaced("1", "Ada", "4242 0001", 42.0),
                OrderPlaced("2", "Grace", "4242 0003", 99.9),
                OrderPlaced("3", "Linus", "4000 0002", 15.0),
                ItemAdded("3", "Linus", "4000 0002", 5.0),
                OrderPlaced("4", "Margaret", "4242 0005", 1200.0),
            ]
        )
        bus.drain(SECONDS)


def resume(path: str) -> None:
    """Open the log that the first process left behind, and let its handlers do what is due."""
    with shop(path) as bus:
        _hear(bus)
        for envelope in bus.log.read(types=[OrderPlaced, ItemAdded]):
            bus.wait_for(envelope.id, "payments", SECONDS)
        for envelope in bus.log.read(types=OrderPaid):
            bus.wait_for(envelope.id, Sales, SECONDS)
        bus.drain(SECONDS)


def _hear(bus: EventBus) -> None:
    """A live handler: tell whoever reads this process's output which event was stored."""

    @bus.on("*")
    def heard(event: object, ctx: Context) -> None:
        print(ctx.envelope.id, flush=True)


if __name__ == "__main__":
    {"begin": begin, "resume": resume}[sys.argv[1]](sys.argv[2])
