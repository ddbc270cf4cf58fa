"""While a handler is replayed, what it publishes is caught here instead of being stored."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

caught: ContextVar[list[Any] | None] = ContextVar("caught", default=None)
"""What the handler that is replayed here has published; None where none is."""
