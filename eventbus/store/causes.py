"""Chains of causes: an event that was published because of another, that because of a third, and so on.

A handler that publishes what it handles would go on for ever. What tells that from a long life is how fast it
grows: a process that takes a step a minute for years has as many causes behind it as a loop makes in a second.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from eventbus.clock import from_iso, iso
from eventbus.errors import CausationLoop, Link

MOST_CAUSES = 1000  # a loop of one durable handler makes as many in about a second, and they are 300 kB of log
WITHIN_SECONDS = 3600.0  # so that a process which lives from its own events may take a step every 4 s, for ever
KNOWN = 4096  # events whose place in their chain is kept in memory, so that publishing rarely has to look

_COUNT = (
    "WITH RECURSIVE chain(n, causation_id) AS (SELECT 1, causation_id FROM eventbus_events WHERE id = ? AND time >= ?"
    " UNION ALL SELECT n + 1, e.causation_id FROM chain JOIN eventbus_events e ON e.id = chain.causation_id"
    " WHERE n < ? AND e.time >= ?) SELECT count(*) FROM chain"
)
_CHAIN = (
    "WITH RECURSIVE chain(n, type_id, id, position, causation_id) AS (SELECT 1, type_id, id, position, causation_id"
    " FROM eventbus_events WHERE id = ? UNION ALL SELECT n + 1, e.type_id, e.id, e.position, e.causation_id FROM chain"
    " JOIN eventbus_events e ON e.id = chain.causation_id WHERE n < ?)"
    " SELECT t.name, chain.id, chain.position FROM chain JOIN eventbus_types t ON t.id = type_id ORDER BY n DESC"
)
_FOLLOWING = (
    "WITH RECURSIVE tree(id) AS (SELECT ? UNION SELECT e.id FROM tree"
    " JOIN eventbus_events e ON e.causation_id = tree.id LIMIT ?)"
    " SELECT position FROM tree JOIN eventbus_events USING (id) ORDER BY position"
)


class Causes:
    """How long the chains are that were appended to last; used inside write transactions, by one thread at a time."""

    def __init__(self) -> None:
        self._lengths: dict[str, int] = {}

    def length(
        self, connection: sqlite3.Connection, type_name: str, cause: str, now: str, planned: Mapping[str, int]
    ) -> int:
        """How many events there are in the chain once one of `type_name` is appended for `cause`, all that count.

        `planned`: the same of what comes before it in the transaction. CausationLoop if it is too long.
        """
        length = planned.get(cause) or self._lengths.get(cause)
        if length is None or length >= MOST_CAUSES:  # some of it may be old enough by now not to count any more
            length = _recent(connection, cause, now)
        if length >= MOST_CAUSES:
            links = chain(connection, cause, MOST_CAUSES)
            raise CausationLoop(type_name, length, last_turn(links, type_name), "all of them within an hour")
        return length + 1

    def keep(self, event: str, length: int) -> None:
        """It was appended."""
        self._lengths[event] = length
        if len(self._lengths) > KNOWN:
            del self._lengths[next(iter(self._lengths))]


def _recent(connection: sqlite3.Connection, event: str, now: str) -> int:
    since = iso(from_iso(now).timestamp() - WITHIN_SECONDS)
    (length,) = connection.execute(_COUNT, (event, since, MOST_CAUSES, since)).fetchone()
    return int(length)


def chain(connection: sqlite3.Connection, event: str, most: int) -> list[Link]:
    """An event and its causes, the event last; at most so many."""
    return connection.execute(_CHAIN, (event, most)).fetchall()


def following(connection: sqlite3.Connection, event: str, most: int) -> list[int]:
    """The positions of an event and of all that was published because of it, in order; at most so many."""
    return [position for (position,) in connection.execute(_FOLLOWING, (event, most)).fetchall()]


def last_turn(links: Sequence[Link], type_name: str) -> tuple[Link, ...]:
    """The end of a chain, from the last event of a type on: what comes round when another one of it follows."""
    for number in range(len(links) - 1, -1, -1):
        if links[number][0] == type_name:
            return tuple(links[number:])
    return tuple(links)
