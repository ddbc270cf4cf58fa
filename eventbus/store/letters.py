"""Dead letters as a person deals with them: found by what they are, tried again, edited, discarded."""

from __future__ import annotations

import sqlite3
from typing import Any

import attrs

from eventbus.store import deliveries
from eventbus.store.deliveries import DeliveryRow
from eventbus.store.subscriptions import SubscriptionRow

_DEAD = (
    "SELECT d.position FROM eventbus_deliveries d WHERE d.state = 'dead' AND d.subscription_id = ? AND d.position > ?"
)
_OF_TYPES = "EXISTS (SELECT 1 FROM eventbus_events e WHERE e.position = d.position AND e.type_id IN ({}))"
_OF_ERROR = "substr(d.error, 1, instr(d.error || ':', ':') - 1) GLOB ?"
_SAYING = (
    "(instr(lower(d.error), lower(?)) OR EXISTS (SELECT 1 FROM eventbus_attempts a WHERE"
    " a.subscription_id = d.subscription_id AND a.position = d.position AND instr(lower(a.message), lower(?))))"
)
_PILE = "SELECT count(*), min(since) FROM eventbus_deliveries WHERE subscription_id = ? AND state = 'dead'"
_IN_ORDER = " ORDER BY d.position LIMIT ?"
_REVIVE = (
    "UPDATE eventbus_deliveries SET attempts = 0, due = ?, state = CASE WHEN EXISTS (SELECT 1 FROM eventbus_deliveries"
    " e WHERE e.subscription_id = ? AND e.order_key = eventbus_deliveries.order_key AND"
    " e.position < eventbus_deliveries.position) THEN 'held' ELSE 'retrying' END"
    " WHERE subscription_id = ? AND position = ?"
)
_SET_PAYLOAD = "UPDATE eventbus_deliveries SET payload = ? WHERE subscription_id = ? AND position = ?"
_BEHIND = "FROM eventbus_deliveries WHERE subscription_id = ? AND order_key = ? AND position > ? AND state = 'held'"
_HELD_BEHIND = f"SELECT position {_BEHIND} ORDER BY position"
_COUNT_HELD = f"SELECT count(*) {_BEHIND}"
_DISCARDED = (
    "SELECT 1 FROM eventbus_events e JOIN eventbus_types t ON t.id = e.type_id WHERE e.causation_id = ?"
    " AND EXISTS (SELECT 1 FROM eventbus_subscriptions WHERE id = ? AND discarded > 0)"
    # Not AND: SQLite would read the payloads of others too, which need not be JSON.
    " AND CASE t.name WHEN 'eventbus.DeadLetterDiscarded' THEN json_extract(e.payload, '$.subscription') = ?"
    " AND json_extract(e.payload, '$.run') = ? END"
)


@attrs.frozen
class Wanted:
    """Which dead letters are meant; what is None does not matter."""

    type_ids: tuple[int, ...] | None = None
    error: str | None = None  # the exception's name, or a pattern of it
    since: str | None = None  # ISO 8601, as stored; both ends are included
    until: str | None = None
    text: str | None = None  # in what the exception said, in any of the attempts

    def clauses(self) -> tuple[list[str], list[Any]]:
        """It as conditions and their parameters."""
        where: list[str] = []
        values: list[Any] = []
        if self.type_ids is not None:
            where.append(_OF_TYPES.format(", ".join("?" * len(self.type_ids))))
            values.extend(self.type_ids)
        if self.text is not None:
            where.append(_SAYING)
            values.extend((self.text, self.text))
        for clause, value in ((_OF_ERROR, self.error), ("d.since >= ?", self.since), ("d.since <= ?", self.until)):
            if value is not None:
                where.append(clause)
                values.append(value)
        return where, values


ALL = Wanted()


def dead(
    connection: sqlite3.Connection, subscription_id: int, wanted: Wanted = ALL, *, after: int = 0, limit: int
) -> list[DeliveryRow]:
    """The dead letters of a subscription above a position, in order, at most `limit`."""
    where, values = wanted.clauses()
    query = " AND ".join([_DEAD, *where]) + _IN_ORDER
    found = connection.execute(query, (subscription_id, after, *values, limit)).fetchall()
    rows = [deliveries.one(connection, subscription_id, position) for (position,) in found]
    return [row for row in rows if row is not None]


def pile(connection: sqlite3.Connection, subscription_id: int) -> tuple[int, str | None]:
    """How many dead letters a subscription has, and since when the oldest went wrong."""
    count, since = connection.execute(_PILE, (subscription_id,)).fetchone()
    return count, since


def revive(connection: sqlite3.Connection, subscription_id: int, position: int, now: str) -> None:
    """Make a dead letter due with all its attempts before it; behind an earlier one of its key it is held."""
    connection.execute(_REVIVE, (now, subscription_id, subscription_id, position))


def set_payload(connection: sqlite3.Connection, subscription_id: int, position: int, payload: str) -> None:
    """Deliver this JSON from now on instead of what the log has."""
    connection.execute(_SET_PAYLOAD, (payload, subscription_id, position))


def held_behind(connection: sqlite3.Connection, subscription_id: int, row: DeliveryRow) -> list[int]:
    """The positions held behind a dead letter, in order."""
    found = connection.execute(_HELD_BEHIND, (subscription_id, row.order_key, row.position))
    return [position for (position,) in found.fetchall()]


def count_held(connection: sqlite3.Connection, subscription_id: int, row: DeliveryRow) -> int:
    """How many are held behind a dead letter."""
    (count,) = connection.execute(_COUNT_HELD, (subscription_id, row.order_key, row.position)).fetchone()
    return int(count)


def was_discarded(connection: sqlite3.Connection, event_id: str, row: SubscriptionRow) -> bool:
    """Whether a person has given this delivery up in the subscription's present run."""
    return connection.execute(_DISCARDED, (event_id, row.id, row.name, row.run)).fetchone() is not None
