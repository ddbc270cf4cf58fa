"""Beginning a new run of a subscription, after a position that it has passed already."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping

import attrs

from eventbus.store import lag, letters, subscriptions
from eventbus.store.lag import KnownType
from eventbus.store.subscriptions import SubscriptionRow

_COUNT = "SELECT count(*) FROM eventbus_events WHERE type_id = ? AND position > ? AND position <= ?"
_FIRST_SINCE = "SELECT min(position) FROM eventbus_events WHERE time >= ?"
_CLEARED = "SELECT state, count(*) FROM eventbus_deliveries WHERE subscription_id = ? AND position > ? GROUP BY state"
_STEPS = "SELECT count(*) FROM eventbus_steps WHERE subscription_id = ? AND run = ? AND position > ?"
_KEPT = "SELECT count(*) FROM eventbus_deliveries WHERE subscription_id = ? AND position <= ?"
_CLEAR = (
    "DELETE FROM eventbus_deliveries WHERE subscription_id = ? AND position > ?",
    "DELETE FROM eventbus_attempts WHERE subscription_id = ? AND position > ?",
    "DELETE FROM eventbus_steps WHERE subscription_id = ? AND position > ?",
)
_CARRY_OVER = (  # what stays goes on where it was
    "UPDATE eventbus_attempts SET run = run + 1 WHERE subscription_id = ? AND run = ?",
    "UPDATE eventbus_steps SET run = run + 1 WHERE subscription_id = ? AND run = ?",
)
_BEGIN = (
    "UPDATE eventbus_subscriptions SET run = run + 1, epoch = epoch + 1, changes = changes + 1, start = ?, cursor = ?,"
    " claim = ?, ahead = '[]', handled = ?, discarded = ?, skipped = 0, updated_at = ? WHERE id = ?"
)


@attrs.frozen
class Rewind:
    """What a rewind to `after` does, or would do: the events it has delivered (again), and what it clears.

    `cursor` is where the subscription stood, `run` the number of the run that begins. `types`: how many events of each
    type up to the cursor are delivered in it. `cleared`: how many deliveries after `after` were retrying, held, dead or
    waiting. `steps`: how many results of steps are forgotten.
    """

    subscription: str
    after: int
    cursor: int
    run: int
    types: Mapping[str, int]
    cleared: Mapping[str, int]
    steps: int

    @property
    def events(self) -> int:
        """How many events up to the cursor are delivered again."""
        return sum(self.types.values())


def plan(connection: sqlite3.Connection, row: SubscriptionRow, after: int, known: Iterable[KnownType]) -> Rewind:
    """What a rewind would do; `row` is one that is brought in line by `with_backfill`."""
    again: Counter[str] = Counter()
    rewound = _rewound(row, after)
    for type_ in known:
        since = lag.since(rewound, type_)
        if since is not None and not subscriptions.is_other_version(row.types, type_):
            until = max(row.cursor, lag.seen(row, type_))
            again[type_.name] += _count(connection, type_, max(after, since), until)
    (steps,) = connection.execute(_STEPS, (row.id, row.run, after)).fetchone()
    return Rewind(
        subscription=row.name,
        after=after,
        cursor=row.cursor,
        run=row.run + 1,
        types={name: count for name, count in sorted(again.items()) if count},
        cleared=dict(connection.execute(_CLEARED, (row.id, after)).fetchall()),
        steps=steps,
    )


def begin(
    connection: sqlite3.Connection, row: SubscriptionRow, after: int, known: Iterable[KnownType], now: str
) -> None:
    """Rewind, in the open write transaction. Whoever delivers it finds its epoch outdated and reads its rows again."""
    known = list(known)
    rewound = _rewound(row, after)
    discarded = letters.count_discarded(connection, row, up_to=after)
    (kept,) = connection.execute(_KEPT, (row.id, after)).fetchone()
    handled = max(_settled_before(connection, rewound, after, known) - kept - discarded, 0)
    for statement in _CLEAR:
        connection.execute(statement, (row.id, after))
    for statement in _CARRY_OVER:
        connection.execute(statement, (row.id, row.run))
    subscriptions.redefine(connection, rewound, now)
    connection.execute(_BEGIN, (rewound.start, after, after, handled, discarded, now, row.id))


def before(connection: sqlite3.Connection, moment: str) -> int | None:
    """The position before the first event recorded at this time or later, ISO 8601; None if there is none."""
    (first,) = connection.execute(_FIRST_SINCE, (moment,)).fetchone()
    return None if first is None else int(first) - 1


def _rewound(row: SubscriptionRow, after: int) -> SubscriptionRow:
    """All that it listens to counts from `after` on, if it did not from earlier on; nothing after it was seen."""
    types = tuple(attrs.evolve(match, since=min(match.since, after), seen=0, is_to_come=False) for match in row.types)
    return attrs.evolve(row, types=types, start=min(row.start, after))


def _settled_before(
    connection: sqlite3.Connection, row: SubscriptionRow, after: int, known: Iterable[KnownType]
) -> int:
    """How many events up to `after` concern it: what of them is not settled has a delivery."""
    total = 0
    for type_ in known:
        since = lag.since(row, type_)
        if since is not None and since < after and not subscriptions.is_other_version(row.types, type_):
            total += _count(connection, type_, since, after)
    return total


def _count(connection: sqlite3.Connection, type_: KnownType, after: int, until: int) -> int:
    if after >= until:
        return 0
    (count,) = connection.execute(_COUNT, (type_.id, after, until)).fetchone()
    return int(count)
