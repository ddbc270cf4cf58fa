"""One dead letter, and how those that are meant are named."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, TypeAlias, TypedDict

import attrs

from eventbus.events import Envelope, Receipt
from eventbus.store.viewing import StoredAttempt

_Type: TypeAlias = "type[Any] | str"
_Named: TypeAlias = "_Type | Sequence[_Type]"
_Error: TypeAlias = "type[BaseException] | str"


class Filters(TypedDict, total=False):
    """Which dead letters are meant.

    `subscription`: its name. `type`: an event class (subclasses are included), a name or pattern, or several.
    `error`: the exception's class or its name, exactly, or a pattern. `since`, `until`: aware datetimes, of when
    the delivery first went wrong. `text`: something its exceptions said.
    """

    subscription: str
    type: _Named
    error: _Error
    since: datetime
    until: datetime
    text: str


@attrs.frozen
class DeadLetter:
    """A delivery that is out of attempts. `envelope` is the event as the log has it, None if it is gone from there."""

    subscription: str
    position: int
    envelope: Envelope | None
    order_key: str | None
    attempts: int
    tries: int
    error: str | None
    since: datetime
    held: int  # deliveries that wait behind it
    edited: str | None = None  # the payload that is delivered instead of the log's
    failures: tuple[StoredAttempt, ...] = ()  # the last of its failed attempts; `get` has them, `list` does not

    @property
    def payload(self) -> str | bytes | None:
        """What its handler is given the next time: the edit, or else what the log has."""
        return self.edited if self.edited is not None or self.envelope is None else self.envelope.payload


Which: TypeAlias = "DeadLetter | Receipt | str | int"
Found: TypeAlias = "list[DeadLetter]"
