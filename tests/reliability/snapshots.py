"""What must be true at any moment, whatever has just been killed: looked at with plain SQL, in one read transaction."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import attrs
from kinds import KINDS

from eventbus import EventBus

_SUBSCRIPTIONS = "SELECT id, name, handled, discarded, skipped, start, cursor, ahead FROM eventbus_subscriptions"
_MATCHING = (
    "SELECT count(*) FROM eventbus_events e JOIN eventbus_types t ON t.id = e.type_id"
    " WHERE t.name = 'Deposited' AND e.position > ?"
)
_WITHOUT_ROW = (
    " AND NOT EXISTS (SELECT 1 FROM eventbus_deliveries d WHERE d.subscription_id = ? AND d.position = e.position)"
)
_ROWS = "SELECT state, count(*) FROM eventbus_deliveries WHERE subscription_id = ? GROUP BY state"
_EFFECTS = "SELECT count(*), count(DISTINCT position) FROM effects WHERE kind = ?"
_SINCE = "SELECT position, id FROM eventbus_events WHERE position > ? ORDER BY position"


@attrs.frozen
class Account:
    """Where the matching events of one subscription are, as the log says."""

    name: str
    handled: int
    discarded: int
    skipped: int
    waiting: int  # beyond the cursor, without a row and not done ahead of it
    rows: dict[str, int]  # retrying, held, dead, waiting
    matching: int

    @property
    def adds_up(self) -> bool:
        """Promise 5: nothing is skipped silently."""
        found = self.handled + self.discarded + self.skipped + self.waiting + sum(self.rows.values())
        return found == self.matching


class Reader:
    """Looks at the log again and again, and remembers what it saw."""

    def __init__(self) -> None:
        self.looks = 0
        self.seen: list[tuple[int, str]] = []

    def look(self, bus: EventBus) -> list[Account]:
        """The accounts of this moment; AssertionError if they do not add up or an effect is there twice."""
        self.looks += 1
        connection = bus.connect()
        try:
            connection.execute("BEGIN")
            self.seen += connection.execute(_SINCE, (self.seen[-1][0] if self.seen else 0,)).fetchall()
            accounts = [_account(connection, row) for row in connection.execute(_SUBSCRIPTIONS).fetchall()]
            effects = {kind.name: connection.execute(_EFFECTS, (kind.name,)).fetchone() for kind in KINDS}
        finally:
            connection.close()
        assert [account for account in accounts if not account.adds_up] == []
        handled = {account.name: account.handled for account in accounts}
        for kind in KINDS:
            if kind.transactional and kind.name in handled:
                assert effects[kind.name] == (handled[kind.name], handled[kind.name]), kind.name
        return accounts


def _account(connection: sqlite3.Connection, row: tuple[Any, ...]) -> Account:
    id_, name, handled, discarded, skipped, start, cursor, ahead = row
    (matching,) = connection.execute(_MATCHING, (start,)).fetchone()
    (waiting,) = connection.execute(_MATCHING + _WITHOUT_ROW, (max(start, cursor), id_)).fetchone()
    if done := [position for position in json.loads(ahead) if position > cursor]:
        (settled,) = connection.execute(
            _MATCHING + f" AND e.position IN ({', '.join(map(str, done))})", (0,)
        ).fetchone()
        waiting -= settled
    rows = dict(connection.execute(_ROWS, (id_,)).fetchall())
    return Account(name, handled, discarded, skipped, waiting, rows, matching)
