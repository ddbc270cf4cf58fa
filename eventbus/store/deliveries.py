"""Rows of eventbus_deliveries and eventbus_attempts: only what is not normal has one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Literal

import attrs

from eventbus.asking import can_be_there

DeliveryState = Literal["retrying", "held", "dead", "waiting"]

_COLUMNS = "position, order_key, state, attempts, tries, due, error, since, payload"
_PARK = (
    "INSERT INTO eventbus_deliveries (subscription_id, position, order_key, state, attempts, tries, due, error, since)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (subscription_id, position) DO UPDATE SET state = excluded.state,"
    " attempts = excluded.attempts, tries = excluded.tries, due = excluded.due, error = excluded.error,"
    " since = CASE WHEN state = excluded.state AND state <> 'retrying' THEN since ELSE excluded.since END"
)
_COUNT_ATTEMPT = (
    "UPDATE eventbus_deliveries SET attempts = attempts + 1, tries = tries + 1 WHERE subscription_id = ?"
    " AND position = ? AND EXISTS (SELECT 1 FROM eventbus_subscriptions WHERE epoch = ? AND id = ?)"
    " RETURNING attempts, tries"
)
_UNCOUNT_ATTEMPT = (
    "UPDATE eventbus_deliveries SET attempts = max(attempts - 1, 0), tries = max(tries - ?, 0)"
    " WHERE subscription_id = ? AND position = ?"
)
_REORDER = (
    "UPDATE eventbus_deliveries SET order_key = ?, state = ?, due = ?, since = ?"
    " WHERE subscription_id = ? AND position = ?"
)
_SETTLE = "DELETE FROM eventbus_deliveries WHERE subscription_id = ? AND position = ?"
# Beyond the cursor nothing but this tells that it is done: its row is gone, and it would be taken for still to come.
_AHEAD = (
    "UPDATE eventbus_subscriptions SET ahead = (SELECT json_group_array(value) FROM"
    " (SELECT value FROM json_each(ahead) UNION SELECT ? ORDER BY value)) WHERE id = ? AND cursor < ?"
)
_SETTLE_ATTEMPTS = "DELETE FROM eventbus_attempts WHERE subscription_id = ? AND position = ?"
_RELEASE = (
    "UPDATE eventbus_deliveries SET state = 'retrying', due = ? WHERE subscription_id = ? AND position ="
    " (SELECT min(position) FROM eventbus_deliveries WHERE subscription_id = ? AND order_key = ?)"
    " AND state = 'held' RETURNING position, attempts"
)
_ONE = f"SELECT {_COLUMNS} FROM eventbus_deliveries WHERE subscription_id = ? AND position = ?"
_PARKED = f"SELECT {_COLUMNS} FROM eventbus_deliveries WHERE subscription_id = ? ORDER BY position"
_RUNNABLE = (
    f"SELECT {_COLUMNS} FROM eventbus_deliveries WHERE subscription_id = ? AND state IN ('retrying', 'waiting')"
    " ORDER BY position"
)
_WAITING = (
    "SELECT d.position, e.type_id FROM eventbus_deliveries d LEFT JOIN eventbus_events e USING (position)"
    " WHERE d.subscription_id = ? AND d.state = 'waiting'"
)
_BLOCKED_KEYS = (
    "SELECT order_key, count(*) FROM eventbus_deliveries WHERE subscription_id = ? AND order_key IS NOT NULL"
    " GROUP BY order_key"
)
_COUNTS = "SELECT state, count(*) FROM eventbus_deliveries WHERE subscription_id = ? GROUP BY state"
_BEYOND = "SELECT position FROM eventbus_deliveries WHERE subscription_id = ? AND position > ?"
_LAST_ERROR = (
    "SELECT error FROM eventbus_deliveries WHERE subscription_id = ? AND error IS NOT NULL"
    " ORDER BY since DESC, position DESC LIMIT 1"
)
_FIRST = f"{_PARKED} LIMIT 1"
_IS_BEHIND = "SELECT 1 FROM eventbus_deliveries WHERE subscription_id = ? AND order_key = ? AND position < ? LIMIT 1"
_HEAD_OF_KEY = (
    f"SELECT {_COLUMNS} FROM eventbus_deliveries WHERE subscription_id = ? AND order_key = ? ORDER BY position LIMIT 1"
)
_ADD_ATTEMPT = (
    "INSERT OR REPLACE INTO eventbus_attempts (subscription_id, run, position, attempt, started_at, seconds,"
    " error_type, message, traceback) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


_BEGIN_ATTEMPT = (
    "INSERT OR IGNORE INTO eventbus_attempts (subscription_id, run, position, attempt, started_at)"
    " SELECT id, run, ?, ?, ? FROM eventbus_subscriptions WHERE id = ?"
)
_UNBEGIN_ATTEMPT = (
    "DELETE FROM eventbus_attempts WHERE subscription_id = ? AND position = ? AND error_type IS NULL AND attempt ="
    " (SELECT tries FROM eventbus_deliveries WHERE subscription_id = ? AND position = ?)"
)
_BEGAN = (
    "SELECT started_at FROM eventbus_attempts WHERE subscription_id = ? AND run = ? AND position = ? AND attempt = ?"
    " AND error_type IS NULL"
)


@attrs.frozen
class DeliveryRow:
    """A delivery that is not simply done or still to come."""

    position: int
    order_key: str | None
    state: DeliveryState
    attempts: int
    tries: int
    due: str | None
    error: str | None
    since: str
    payload: str | None = None  # what a person put in the place of the log's


@attrs.frozen
class AttemptRow:
    """One failed try: when it started, how many seconds it took (None if the process ended in it), what was raised."""

    run: int
    position: int
    attempt: int
    started_at: str
    seconds: float | None
    error_type: str
    message: str
    traceback: str


def park(connection: sqlite3.Connection, subscription_id: int, row: DeliveryRow) -> None:
    """Write a delivery's row, or what has become of it."""
    values = (row.position, row.order_key, row.state, row.attempts, row.tries, row.due, row.error, row.since)
    connection.execute(_PARK, (subscription_id, *values))


def count_attempt(
    connection: sqlite3.Connection, subscription_id: int, epoch: int, position: int, now: str
) -> tuple[int, int] | None:
    """Count a try before it runs, and note when it began, so that one that kills the process is known too.

    Returns the attempts and the tries so far, None if the row is gone or another process delivers it by now.
    """
    asked = (subscription_id, position, epoch, subscription_id)
    found: tuple[int, int] | None = connection.execute(_COUNT_ATTEMPT, asked).fetchone()
    if found is not None:
        connection.execute(_BEGIN_ATTEMPT, (position, found[1], now, subscription_id))
    return found


def uncount_attempt(
    connection: sqlite3.Connection, subscription_id: int, position: int, *, noted: bool = False
) -> None:
    """A try that was counted did not run after all, or not to its end; `noted` where something is kept of it."""
    if not noted:
        unbegin_attempt(connection, subscription_id, position)
    connection.execute(_UNCOUNT_ATTEMPT, (0 if noted else 1, subscription_id, position))


def unbegin_attempt(connection: sqlite3.Connection, subscription_id: int, position: int) -> None:
    """The last try did not begin."""
    connection.execute(_UNBEGIN_ATTEMPT, (subscription_id, position) * 2)


def began(connection: sqlite3.Connection, subscription_id: int, run: int, position: int, attempt: int) -> str | None:
    """When a try began of which no end is known; None for others."""
    found = connection.execute(_BEGAN, (subscription_id, run, position, attempt)).fetchone()
    return found[0] if found else None


def settle(connection: sqlite3.Connection, subscription_id: int, position: int) -> None:
    """The delivery is done: it needs no row any more, and no reader takes it up again."""
    connection.execute(_SETTLE, (subscription_id, position))
    connection.execute(_SETTLE_ATTEMPTS, (subscription_id, position))
    connection.execute(_AHEAD, (position, subscription_id, position))


def release_next(
    connection: sqlite3.Connection, subscription_id: int, order_key: str, now: str
) -> tuple[int, int] | None:
    """Make the first held delivery of a key due: its position and attempts, None if the key is free."""
    found: tuple[int, int] | None = connection.execute(
        _RELEASE, (now, subscription_id, subscription_id, order_key)
    ).fetchone()
    return found


def record_attempt(connection: sqlite3.Connection, subscription_id: int, attempt: AttemptRow) -> None:
    """Keep what went wrong in one try."""
    connection.execute(_ADD_ATTEMPT, (subscription_id, *attrs.astuple(attempt)))


def one(connection: sqlite3.Connection, subscription_id: int, position: int) -> DeliveryRow | None:
    """The row of one delivery, if it has one."""
    if not can_be_there(position):
        return None
    found = connection.execute(_ONE, (subscription_id, position)).fetchone()
    return DeliveryRow(*found) if found else None


def parked(connection: sqlite3.Connection, subscription_id: int) -> list[DeliveryRow]:
    """All rows there are, in order of position."""
    return [DeliveryRow(*found) for found in connection.execute(_PARKED, (subscription_id,)).fetchall()]


def reorder(connection: sqlite3.Connection, subscription_id: int, row: DeliveryRow) -> None:
    """Write a delivery's new order key, and the state that follows from it."""
    values = (row.order_key, row.state, row.due, row.since)
    connection.execute(_REORDER, (*values, subscription_id, row.position))


def runnable(connection: sqlite3.Connection, subscription_id: int) -> Iterator[DeliveryRow]:
    """All that is due at some time, or waits for its class, in order of position."""
    return (DeliveryRow(*found) for found in connection.execute(_RUNNABLE, (subscription_id,)).fetchall())


def waiting(connection: sqlite3.Connection, subscription_id: int) -> list[tuple[int, int | None]]:
    """What waits for its class: positions and types; no type where the event is gone."""
    return connection.execute(_WAITING, (subscription_id,)).fetchall()


def blocked_keys(connection: sqlite3.Connection, subscription_id: int) -> dict[str, int]:
    """Order keys that later events have to wait behind, and how many rows each has."""
    return dict(connection.execute(_BLOCKED_KEYS, (subscription_id,)).fetchall())


def counts(connection: sqlite3.Connection, subscription_id: int) -> dict[DeliveryState, int]:
    """How many rows are in each state."""
    return dict(connection.execute(_COUNTS, (subscription_id,)).fetchall())


def head_of_key(connection: sqlite3.Connection, subscription_id: int, order_key: str) -> DeliveryRow | None:
    """The delivery that a key waits for."""
    found = connection.execute(_HEAD_OF_KEY, (subscription_id, order_key)).fetchone()
    return DeliveryRow(*found) if found else None


def is_behind(connection: sqlite3.Connection, subscription_id: int, order_key: str, position: int) -> bool:
    """Whether an earlier delivery of this key is not done."""
    return connection.execute(_IS_BEHIND, (subscription_id, order_key, position)).fetchone() is not None


def beyond(connection: sqlite3.Connection, subscription_id: int, position: int) -> list[int]:
    """The positions after `position` that have a row."""
    return [found for (found,) in connection.execute(_BEYOND, (subscription_id, position)).fetchall()]


def stop(connection: sqlite3.Connection, subscription_id: int) -> DeliveryRow | None:
    """The dead delivery behind which all others wait, where the whole log is one order."""
    found = connection.execute(_FIRST, (subscription_id,)).fetchone()
    row = DeliveryRow(*found) if found else None
    return row if row is not None and row.state == "dead" else None


def last_error(connection: sqlite3.Connection, subscription_id: int) -> str | None:
    """What the delivery said, in one line, that came last into its state; of those that are not settled.

    Of several that one round has recorded, the last one of the log.
    """
    found = connection.execute(_LAST_ERROR, (subscription_id,)).fetchone()
    return found[0] if found else None
