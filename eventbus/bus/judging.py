"""What becomes of a change that was applied before anybody agreed to it: the rules, without clock or thread."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import attrs

from eventbus.bus.following import DeliveryStatus
from eventbus.events import Envelope

State = Literal["applied", "confirmed", "rolled back"]
Reason = Literal["not stored", "dead", "discarded", "undone"]


@attrs.frozen
class Undone:
    """Why a change is rolled back; as a str, one sentence.

    "not stored": publishing failed with `error`. "dead" and "discarded": `subscription` has given it up, after
    `error`. "undone": `by`, an event that was to undo it.
    """

    reason: Reason
    error: str | None = None
    subscription: str | None = None
    by: Envelope | None = None

    def __str__(self) -> str:
        match self.reason:
            case "not stored":
                return f"It was not stored: {self.error}"
            case "undone":
                return f"It was undone by {self.by.type if self.by is not None else 'an event'}."
            case _:
                return f"{self.subscription} has given it up" + (f": {self.error}" if self.error else ".")


Verdict = Undone | Literal["confirmed"]


def judge(
    own: Mapping[str, DeliveryStatus], following: Iterable[Mapping[str, DeliveryStatus]], undo: Envelope | None
) -> Verdict | None:
    """What the statuses of an event say, and of those that followed from it; None while that is open.

    An undoing event counts first: the handler that published it has handled the event all the same. What follows
    can only keep it open, for something in there may still undo it; that it fails is no reason to roll back.
    """
    if undo is not None:
        return Undone("undone", by=undo)
    for name, status in own.items():
        if status == "dead":
            return Undone("dead", error=status.error, subscription=name)
        if status == "discarded":
            return Undone("discarded", error=status.error, subscription=name)
    if all(_is_done(statuses) for statuses in (own, *following)):
        return "confirmed"
    return None


def _is_done(statuses: Mapping[str, DeliveryStatus]) -> bool:
    return all(status in ("handled", "not_applicable", "discarded") for status in statuses.values())
