"""Every subscription of a log at once: how far each is, and what is stuck, in as few questions as it takes."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import attrs

from eventbus.store import lag, subscriptions
from eventbus.store.lag import Lag, Reader
from eventbus.store.stored_types import listed, types
from eventbus.store.subscriptions import SubscriptionRow

if TYPE_CHECKING:
    from eventbus.breaker import Circuit

_AHEAD = "SELECT id, ahead FROM eventbus_subscriptions"
_AHEAD_OF = "SELECT ahead FROM eventbus_subscriptions WHERE id = ?"
_FIELDS = ("discarded", "skipped", "owner", "created_at", "updated_at")
_REST = f"SELECT id, {', '.join(_FIELDS)} FROM eventbus_subscriptions"
_DELIVERIES = (
    "SELECT subscription_id, state, count(*), min(due) FROM eventbus_deliveries GROUP BY subscription_id, state"
)
_LAST_ERRORS = (
    "SELECT subscription_id, error FROM (SELECT subscription_id, error, row_number() OVER"
    " (PARTITION BY subscription_id ORDER BY since DESC, position DESC) AS n"
    " FROM eventbus_deliveries WHERE error IS NOT NULL) WHERE n = 1"
)


@attrs.frozen
class SubscriptionView:
    """A subscription's row with what follows from it: how many events it is behind, what is stuck and why."""

    row: SubscriptionRow
    discarded: int
    skipped: int
    owner: str | None
    created_at: str
    updated_at: str
    behind: int
    oldest: str | None  # when the oldest event was recorded that it has still to handle by itself
    counts: dict[str, int]  # deliveries by state
    next_due: str | None
    last_error: str | None
    circuit: Circuit | None = None  # of its breaker, unless that is closed


def everyone(connection: sqlite3.Connection, *, role: str | None = None) -> list[SubscriptionView]:
    """Every subscription the log knows (of one role), by name and generation."""
    rows = [row for row in subscriptions.everyone(connection) if role in (None, row.role)]
    ahead = dict(connection.execute(_AHEAD).fetchall())
    readers = [Reader(subscriptions.with_backfill(row), listed(ahead[row.id])) for row in rows]
    rest = {row_id: dict(zip(_FIELDS, each, strict=True)) for row_id, *each in connection.execute(_REST).fetchall()}
    counts, due = _deliveries(connection)
    errors: dict[int, str] = dict(connection.execute(_LAST_ERRORS).fetchall())
    return [
        SubscriptionView(
            row=reader.row,
            behind=found.events,
            oldest=found.oldest,
            counts=counts[reader.row.id],
            next_due=due.get(reader.row.id),
            last_error=errors.get(reader.row.id),
            circuit=circuit_of(connection, reader.row),
            **rest[reader.row.id],
        )
        for reader, found in zip(readers, lag.lags(connection, readers, types(connection).values()), strict=True)
    ]


def _deliveries(connection: sqlite3.Connection) -> tuple[dict[int, dict[str, int]], dict[int, str]]:
    """How many each subscription has in each state, and when the first of them is tried again."""
    counts: dict[int, dict[str, int]] = defaultdict(dict)
    due: dict[int, str] = {}
    for row_id, state, count, first in connection.execute(_DELIVERIES).fetchall():
        counts[row_id][state] = count
        if state == "retrying" and first is not None:
            due[row_id] = first
    return counts, due


def circuit_of(connection: sqlite3.Connection, row: SubscriptionRow) -> Circuit | None:
    """That of its breaker, unless it is closed."""
    if row.breaker is None:
        return None
    from eventbus.store import breakers

    circuit = breakers.one(connection, row.breaker)
    return None if circuit is None or circuit.state == "closed" else circuit


def lag_of(connection: sqlite3.Connection, row: SubscriptionRow) -> Lag:
    """How far one subscription is behind."""
    reader = Reader(subscriptions.with_backfill(row), ahead_of(connection, row))
    (found,) = lag.lags(connection, [reader], types(connection).values())
    return found


def ahead_of(connection: sqlite3.Connection, row: SubscriptionRow) -> list[Any]:
    """The positions beyond its cursor that are settled."""
    (found,) = connection.execute(_AHEAD_OF, (row.id,)).fetchone()
    return listed(found)
