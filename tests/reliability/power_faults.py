"""Faults that the proof of power loss must find, patched in before the log is opened: each takes a way to tell."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any

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
