"""What a publish returns."""

from __future__ import annotations

import attrs


@attrs.frozen
class Receipt:
    """Where an event stands in the log. `duplicate`: it stood there already, and nothing was stored now."""

    id: str
    position: int
    stream: str | None
    sequence: int | None
    duplicate: bool = False
