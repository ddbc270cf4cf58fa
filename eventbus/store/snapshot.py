"""One moment of a log that is only looked at."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def snapshot(connection: sqlite3.Connection) -> Generator[None]:
    """All questions within see one moment of the log; text that is not UTF-8 is shown, not refused."""
    connection.text_factory = _decoded
    connection.execute("BEGIN")
    try:
        yield
    finally:
        connection.rollback()


def _decoded(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def data_version(connection: sqlite3.Connection) -> int:
    """A number that changes when another connection has committed."""
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    return int(version)
