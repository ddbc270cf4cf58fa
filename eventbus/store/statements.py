"""Scripts taken apart, so that each statement runs in the transaction that is open."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator


def split(script: str) -> Iterator[str]:
    """The statements of a script, one by one; `executescript` would commit what is open before running it."""
    pending = ""
    for piece in script.split(";"):
        pending += piece + ";"
        if sqlite3.complete_statement(pending):
            yield pending.strip()
            pending = ""
    rest = pending.removesuffix(";").strip()
    if rest:
        yield rest
