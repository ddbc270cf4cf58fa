"""A payment provider that knows nothing of the bus: a file of its own, in which it notes every request."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, Literal

import attrs

Answer = Literal["timed out", "charged", "charged before", "declined"]

DECLINED_CARD = "0002"
"""How the number of a card ends that is always declined."""


class CardDeclined(Exception):
    """The provider does not charge this card."""


@attrs.frozen
class Request:
    """One request as the provider noted it."""

    key: str
    order: str
    amount: float
    answer: Answer


class Provider:
    """Charges a key once, however often it is asked. Its very first answer comes too late."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def charge(self, key: str, order: str, card: str, amount: float) -> None:
        """Charge `amount`, unless `key` has been charged before. Raises TimeoutError or CardDeclined."""
        answer = self._answer(key, card)
        self._note(Request(key, order, amount, answer))
        if answer == "timed out":
            raise TimeoutError("the provider did not answer in time")
        if answer == "declined":
            raise CardDeclined(f"card ending in {card[-4:]} was declined")

    def requests(self) -> list[Request]:
        """All that it was ever asked, in order."""
        if not self.path.exists():
            return []
        lines: list[dict[str, Any]] = [json.loads(line) for line in self.path.read_text("utf-8").splitlines()]
        return [Request(**line) for line in lines]

    def _answer(self, key: str, card: str) -> Answer:
        earlier = self.requests()
        if not earlier:
            return "timed out"
        if any(request.key == key and request.answer == "charged" for request in earlier):
            return "charged before"
        return "declined" if card.endswith(DECLINED_CARD) else "charged"

    def _note(self, request: Request) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(attrs.asdict(request)) + "\n")
            file.flush()
            os.fsync(file.fileno())
