"""What is being handled here: calls that would wait for the handler that makes them look here first."""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import Protocol


class Awaited(Protocol):
    """Something of the app's that delivery waits for: an event with its handler, or a schedule's factory."""

    running: bool
    subscription: str


delivering: ContextVar[Awaited | None] = ContextVar("delivering", default=None)
"""What is handled while a durable handler runs; a task that it leaves behind keeps it."""

if hasattr(os, "register_at_fork"):  # the child of a handler handles nothing: its parent does
    os.register_at_fork(after_in_child=lambda: delivering.set(None))


def handled_here() -> Awaited | None:
    """What the durable handler that runs here handles; None elsewhere, and in a task that has outlived it."""
    item = delivering.get()
    return item if item is not None and item.running else None
