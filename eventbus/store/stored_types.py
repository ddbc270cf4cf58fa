"""The types that a log has met, as they stand in it: none of this needs the app's classes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, cast

import attrs

_TYPES = "SELECT id, name, version, kind, bases FROM eventbus_types"


@attrs.frozen
class StoredType:
    """A type's row: its name, and the names of the event classes it derives from."""

    id: int
    name: str
    version: int
    kind: str
    bases: tuple[str, ...]


def types(connection: sqlite3.Connection) -> dict[int, StoredType]:
    """Every type the log has met, by the id that its events carry."""
    rows = connection.execute(_TYPES).fetchall()
    return {
        row_id: StoredType(row_id, name, version, kind, tuple(listed(bases)))
        for row_id, name, version, kind, bases in rows
    }


def type_ids(connection: sqlite3.Connection, patterns: Sequence[str]) -> tuple[int, ...] | None:
    """The types that the names or patterns mean, with those derived from them; None (all) without any."""
    if not patterns:
        return None
    return tuple(
        known.id
        for known in types(connection).values()
        if any(fnmatchcase(name, pattern) for name in (known.name, *known.bases) for pattern in patterns)
    )


def listed(text: str) -> list[Any]:
    """A JSON list; an odd value is as good as none here, where nothing is decided."""
    try:
        found: object = json.loads(text)
    except (ValueError, RecursionError):
        return []
    return list(cast("Sequence[Any]", found)) if isinstance(found, list) else []
