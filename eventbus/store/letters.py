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
    "UPDATE eventbus_deliveries SET attempts = 0, due = ?, since = ?, state = CASE WHEN EXISTS (SELECT 1 FROM"
    " eventbus_deliveries e WHERE e.subscription_id = ? AND e.order_key = eventbus_deliveries.order_key AND"
    " e.position < eventbus_deliveries.position) THEN 'held' ELSE 'retrying' END"
    " WHERE subscription_id = ? AND position = ?"
)
_SET_PAYLOAD = "UPDATE eventbus_deliveries SET payload = ? WHERE subscription_id = ? AND position = ?"
_BEHIND = "FROM eventbus_deliveries WHERE subscription_id = ? AND order_key = ? AND position > ? AND state = 'held'"
_HELD_BEHIND = f"SELECT position {_BEHIND} ORDER BY position"
_COUNT_HELD = f"SELECT count(*) {_BEHIND}"
# Not AND: SQLite would read the payloads of others too, which need not be JSON.
_ABOUT = "CASE t.name WHEN ? THEN json_extract(e.payload, '$.subscription') = ?{} END"
_DISCARDED = (
    "SELECT e.position, json_extract(e.payload, '$.position'), json_extract(e.payload, '$.run') FROM eventbus_events e"
    " JOIN eventbus_types t ON t.id = e.type_id"
    f" WHERE e.causation_id = ? AND {_ABOUT.format('')} ORDER BY e.position DESC LIMIT 1"
)
_ALL_DISCARDED = (
    "SELECT DISTINCT e.causation_id FROM eventbus_events e JOIN eventbus_types t ON t.id = e.type_id"
    " WHERE e.position > ? AND " + _ABOUT.format(" AND json_extract(e.payload, '$.position') <= ?")
)
_REWOUND = (
    "SELECT 1 FROM eventbus_events e JOIN eventbus_types t ON t.id = e.type_id"
    " WHERE e.position > ? AND " + _ABOUT.format(" AND json_extract(e.payload, '$.after') < ?") + " LIMIT 1"
)
_DISCARDED_TYPE, _REWOUND_TYPE = "eventbus.DeadLetterDiscarded", "eventbus.SubscriptionRewound"
_HAS_DISCARDED = "SELECT discarded FROM eventbus_subscriptions WHERE id = ?"


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
    connection.execute(_REVIVE, (now, now, subscription_id, subscription_id, position))


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
    """Whether a person has given this delivery up, and no rewind has had it delivered again since."""
    counted = connection.execute(_HAS_DISCARDED, (row.id,)).fetchone()
    if counted is None or not counted[0]:
        return False
    found = connection.execute(_DISCARDED, (event_id, _DISCARDED_TYPE, row.name)).fetchone()
    if found is None:
        return False
    done_at, position, run = found
    if run == row.run:
        return True
    return connection.execute(_REWOUND, (done_at, _REWOUND_TYPE, row.name, position)).fetchone() is None


def count_discarded(connection: sqlite3.Connection, row: SubscriptionRow, *, up_to: int) -> int:
    """How many deliveries up to a position a person has given up."""
    counted = connection.execute(_HAS_DISCARDED, (row.id,)).fetchone()
    if counted is None or not counted[0]:
        return 0
    found = connection.execute(_ALL_DISCARDED, (row.start, _DISCARDED_TYPE, row.name, up_to)).fetchall()
    return sum(was_discarded(connection, event_id, row) for (event_id,) in found if event_id is not None)
