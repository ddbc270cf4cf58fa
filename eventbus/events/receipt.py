"""What a publish returns."""

from __future__ import annotations

import msgspec


class Receipt(msgspec.Struct, frozen=True, gc=False):
    """Where an event stands in the log. `duplicate`: it stood there already, and nothing was stored now."""

    # A Struct is made eight times as fast as an attrs class that is frozen, and publish_many makes thousands.
    id: str
    position: int
    stream: str | None
    sequence: int | None
    duplicate: bool = False
