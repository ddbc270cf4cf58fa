"""The kinds of subscriptions that the model of delivery is compared with, as a table, and their events.

A new kind of delivery is one more line in KINDS, and its outcomes one more case in `Delivery.tried`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

import attrs

from eventbus import event


@event(name="model.Happened")
class Happened:
    """Something whose first `fails` attempts fail, and which ends as it says."""

    number: int
    fails: int = 0
    ends: str = "well"


@event(name="model.Rare")
class Rare:
    """Its class is loaded at some times and not at others: a plugin's, say."""

    number: int
    fails: int = 0
    ends: str = "well"


@event(name="echo.Echoed")
class Echoed:
    """What handlers publish."""

    by: str
    number: int


class Drop(Exception):
    """Not to be tried again."""


class Stop(Exception):
    """The subscription pauses."""


@attrs.frozen
class Kind:
    """A subscription as it is declared, and what its order key is."""

    key_of: Callable[[int, str | None], Hashable]
    how: dict[str, Any] = attrs.field(factory=dict)
    target: Any = Happened
    echoes: bool = False

    @property
    def transactional(self) -> bool:
        return bool(self.how.get("transactional"))

    @property
    def rare(self) -> bool:
        return self.target != Happened


def by_stream(number: int, stream: str | None) -> Hashable:
    return stream or number


TX = {"transactional": True}
KINDS = {
    "stream": Kind(by_stream, echoes=True),
    "alone": Kind(lambda number, stream: number, {"order_by": None}),
    "log": Kind(lambda number, stream: "the log", {"order_by": "log"}),
    "parity": Kind(lambda number, stream: number % 2, {"order_by": lambda e: str(e.event.number % 2)}),
    "ledger": Kind(by_stream, TX, echoes=True),
    "log ledger": Kind(lambda number, stream: "the log", {**TX, "order_by": "log"}),
    "lists": Kind(by_stream, {"batch": 3}),
    "lists ledger": Kind(by_stream, {**TX, "batch": 2}),
    "pattern": Kind(by_stream, target="model.*"),
}
