"""Filling a new log with what was read of a damaged one: positions, sequences and cursors mean what they meant."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

from eventbus.errors import LogCorrupt
from eventbus.store import subscriptions, verifying
from eventbus.store.verifying import Known
from eventbus.store.wreck import MORE

# What is carried over, in this order, the names before the events.
NAMES = ("eventbus_types", "eventbus_sources")
TABLES = (
    "eventbus_stream_heads",
    "eventbus_keys",
    "eventbus_subscriptions",
    "eventbus_deliveries",
    "eventbus_attempts",
    "eventbus_steps",
    "eventbus_snapshots",
    "eventbus_archives",
    "eventbus_outbox",
    "eventbus_outbox_moved",
    "eventbus_breakers",
    "eventbus_inbox",
    "eventbus_inbox_events",
    "eventbus_inbox_skipped",
    "eventbus_schedules",
)

_COLUMNS = f"{verifying.COLUMNS}, {MORE}"
_ADD_EVENT = f"INSERT INTO eventbus_events ({_COLUMNS}) VALUES ({', '.join('?' * len(_COLUMNS.split(', ')))})"
_ADD_TYPE = "INSERT OR IGNORE INTO eventbus_types (id, name, version, kind, bases) VALUES (?, ?, ?, 'domain', '[]')"
_ADD_SOURCE = "INSERT OR IGNORE INTO eventbus_sources (id, name) VALUES (?, ?)"
_GO_ON = (
    "UPDATE eventbus_log SET log_id = ?, incarnation = ?, created_at = ?, types_revision = types_revision + 1,"
    " copy_of = NULL"
)
_SET_HEAD = "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'eventbus_events'"
_ADD_HEAD = (
    "INSERT INTO sqlite_sequence (name, seq) SELECT 'eventbus_events', ? WHERE NOT EXISTS"
    " (SELECT 1 FROM sqlite_sequence WHERE name = 'eventbus_events')"
)
_PROJECTIONS = "SELECT name FROM eventbus_subscriptions WHERE role = 'projection' ORDER BY name"
_NAMES = "SELECT DISTINCT name FROM eventbus_subscriptions ORDER BY name"
_DROP_PROJECTIONS = "DELETE FROM eventbus_subscriptions WHERE role = 'projection'"
_DROP_NAMED = "DELETE FROM eventbus_subscriptions WHERE name = ?"
_UNOWNED = "UPDATE eventbus_subscriptions SET owner = NULL"
_DROP_KEYS = "DELETE FROM eventbus_keys WHERE position NOT IN (SELECT position FROM eventbus_events)"
_DROP_STRANGERS = (
    "DELETE FROM {} WHERE subscription_id NOT IN (SELECT id FROM eventbus_subscriptions)"
    " OR position NOT IN (SELECT position FROM eventbus_events)"
)
_OF_SUBSCRIPTIONS = ("eventbus_deliveries", "eventbus_attempts", "eventbus_steps")
# What is held behind a delivery that was lost would wait for ever.
_FREE = (
    "UPDATE eventbus_deliveries AS d SET state = 'retrying', due = ?, since = ? WHERE state = 'held' AND NOT EXISTS"
    " (SELECT 1 FROM eventbus_deliveries e WHERE e.subscription_id = d.subscription_id AND e.order_key = d.order_key"
    " AND e.position < d.position)"
)
_EVENTS_A_COMMIT = 1000

_REFUSED = (sqlite3.Error, UnicodeEncodeError, OverflowError)  # what a value makes of itself when it is written


class Refill:
    """Writes into a new log that nobody else has open."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._pending = 0
        # Alone with the file, and nothing is promised before the end.
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA wal_autocheckpoint = 1000")
        connection.execute("BEGIN IMMEDIATE")

    def event(self, row: Sequence[Any]) -> str | None:
        """Add an event with the columns of a wreck's; why it cannot be, or None."""
        try:
            self._connection.execute(_ADD_EVENT, row)
        except _REFUSED as error:
            return str(error)
        self._pending += 1
        if self._pending >= _EVENTS_A_COMMIT:
            self._pending = 0
            self._connection.execute("COMMIT")
            self._connection.execute("BEGIN IMMEDIATE")
        return None

    def rows(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> int:
        """Add rows; returns how many could be."""
        names, marks = ", ".join(columns), ", ".join("?" * len(columns))
        sql, added = f"INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})", 0
        for row in rows:
            try:
                added += self._connection.execute(sql, row).rowcount
            except _REFUSED:
                continue
        return added

    def names(self, known: Known) -> None:
        """Types and sources, unless their whole rows were added before; a bus mends the rest when it meets them."""
        for type_id, (name, version) in known.types.items():
            self._try(_ADD_TYPE, (type_id, name, version))
        for source_id, name in known.sources.items():
            self._try(_ADD_SOURCE, (source_id, name))

    def _try(self, sql: str, values: tuple[Any, ...]) -> None:
        try:
            self._connection.execute(sql, values)
        except _REFUSED:
            return  # no event can carry it either

    def columns(self, table: str) -> list[str]:
        """Those that this release makes."""
        return [name for (name,) in self._connection.execute("SELECT name FROM pragma_table_info(?)", (table,))]

    def settle(self, now: str) -> tuple[list[str], list[str], dict[str, int]]:
        """Take out what has lost what it is about: projections, subscriptions that cannot be read, and how many rows
        of which tables were about events or subscriptions that are not there."""
        run = self._connection.execute
        projections = [name for (name,) in run(_PROJECTIONS).fetchall()]
        run(_DROP_PROJECTIONS)
        unreadable = [name for (name,) in run(_NAMES).fetchall() if not self._is_readable(name)]
        for name in unreadable:
            run(_DROP_NAMED, (name,))
        run(_UNOWNED)
        dropped = {table: run(_DROP_STRANGERS.format(table)).rowcount for table in _OF_SUBSCRIPTIONS}
        dropped["eventbus_keys"] = run(_DROP_KEYS).rowcount
        run(_FREE, (now, now))
        return projections, unreadable, {table: count for table, count in dropped.items() if count}

    def _is_readable(self, name: str) -> bool:
        try:
            subscriptions.named(self._connection, name)
        except LogCorrupt:
            return False
        return True

    def finish(self, *, log_id: str | None, incarnation: int, created_at: str | None, head: int) -> str:
        """Go on as the next incarnation of a log, at positions beyond `head`, and sync it all; returns the log's id."""
        run = self._connection.execute
        own_id, own_time = run("SELECT log_id, created_at FROM eventbus_log").fetchone()
        run(_GO_ON, (log_id or own_id, incarnation, created_at or own_time))
        run(_SET_HEAD, (head,))
        if head:
            run(_ADD_HEAD, (head,))
        run("COMMIT")
        run("PRAGMA synchronous = FULL")
        run("PRAGMA wal_checkpoint(TRUNCATE)")
        return str(log_id or own_id)
