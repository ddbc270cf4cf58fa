"""Read models: tables written only from events, that can be thrown away and rebuilt while the app runs."""

from __future__ import annotations

from eventbus.projections.definition import Projection, Table

__all__ = ["Projection", "Table"]
