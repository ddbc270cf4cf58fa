"""Buses that acknowledge too early, which the proofs must find out.

Each is patched in before a log is opened, and is given what notes what was told.
"""

from __future__ import annotations

import sqlite3
from importlib import import_module
from typing import TYPE_CHECKING, Any

from eventbus.errors import EventBusError
from eventbus.store import connection
from eventbus.store.append import Appender
from eventbus.store.storage import Storage

if TYPE_CHECKING:
    from telling import Told


def sync_off(told: Told) -> None:
    """No commit waits for the disk."""

    def set_sync(storage: Storage, synced: bool) -> None:
        storage._writer.execute("PRAGMA synchronous = OFF")

    settings = [setting.replace("synchronous = FULL", "synchronous = OFF") for setting in connection._SETTINGS]
    connection._SETTINGS = tuple(settings)  # type: ignore[assignment]
    Storage._set_sync = set_sync  # type: ignore[method-assign]


def acknowledge_before_commit(told: Told) -> None:
    """Who publishes hears of it as soon as the row is written."""
    append = Appender.append

    def append_and_tell(appender: Appender, database: sqlite3.Connection, *rest: Any) -> Any:
        appended = append(appender, database, *rest)
        for each in appended:
            told.tell(each.receipt)
        return appended

    Appender.append = append_and_tell  # type: ignore[method-assign]


def sync_like_a_cursor(told: Told) -> None:
    """Events are committed as cursors are: without waiting for the disk."""
    set_sync = Storage._set_sync
    Storage._set_sync = lambda storage, synced: set_sync(storage, False)  # type: ignore[method-assign]


def acknowledge_on_error(told: Told) -> None:
    """A commit that fails is taken for one that has not."""
    commit = Storage._commit

    def commit_anyhow(storage: Storage) -> None:
        try:
            commit(storage)
        except EventBusError:
            storage._roll_back()

    Storage._commit = commit_anyhow  # type: ignore[method-assign]


def patch_in(name: str, told: Told) -> None:
    """Apply "module:function"; nothing for an empty name."""
    if name:
        module, _, function = name.partition(":")
        getattr(import_module(module), function)(told)
