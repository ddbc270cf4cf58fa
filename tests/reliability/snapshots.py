"""What must be true at any moment, whatever has just been killed: looked at with plain SQL, in one read transaction."""

from __future__ import annotations

import bisect
import json
import sqlite3
from typing import Any

import attrs
from kinds import KINDS

from eventbus import EventBus

_SUBSCRIPTIONS = "SELECT id, name, handled, discarded, skipped, start, cursor, ahead FROM eventbus_subscriptions"
_BEYOND = "SELECT position FROM eventbus_deliveries WHERE subscription_id = ? AND position > ?"
_ROWS = "SELECT state, count(*) FROM eventbus_deliveries WHERE subscription_id = ? GROUP BY state"
_EFFECTS = "SELECT kind, count(*), count(DISTINCT position) FROM effects GROUP BY kind"
_SINCE = (
    "SELECT e.position, e.id, t.name = 'Deposited' FROM eventbus_events e JOIN eventbus_types t ON t.id = e.type_id"
    " WHERE e.position > ? ORDER BY e.position"
)


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
    """Looks at the log again and again, and remembers what it saw.

    A look takes no longer as the log grows: one that did would keep the -wal from being begun anew meanwhile.
    """

    def __init__(self) -> None:
        self.looks = 0
        self.seen: list[tuple[int, str]] = []
        self._matching: list[int] = []  # positions that every subscription is to handle

    def look(self, bus: EventBus) -> list[Account]:
        """The accounts of this moment; AssertionError if they do not add up or an effect is there twice."""
        self.looks += 1
        connection = bus.connect()
        try:
            connection.execute("BEGIN")
            for position, id_, matches in connection.execute(_SINCE, (self.seen[-1][0] if self.seen else 0,)):
                self.seen.append((position, id_))
                if matches:
                    self._matching.append(position)
            accounts = [self._account(connection, row) for row in connection.execute(_SUBSCRIPTIONS).fetchall()]
            effects = {kind: counts for kind, *counts in connection.execute(_EFFECTS)}
        finally:
            connection.close()
        assert [account for account in accounts if not account.adds_up] == []
        handled = {account.name: account.handled for account in accounts}
        for kind in KINDS:
            if kind.transactional and kind.name in handled:
                assert effects.get(kind.name, [0, 0]) == [handled[kind.name]] * 2, kind.name
        return accounts

    def _account(self, connection: sqlite3.Connection, row: tuple[Any, ...]) -> Account:
        id_, name, handled, discarded, skipped, start, cursor, ahead = row
        elsewhere = {position for (position,) in connection.execute(_BEYOND, (id_, cursor))} | set(json.loads(ahead))
        waiting = sum(position not in elsewhere for position in self._after(max(start, cursor)))
        rows = dict(connection.execute(_ROWS, (id_,)).fetchall())
        return Account(name, handled, discarded, skipped, waiting, rows, len(self._after(start)))

    def _after(self, position: int) -> list[int]:
        return self._matching[bisect.bisect_right(self._matching, position) :]
