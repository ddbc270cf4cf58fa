"""Rows of eventbus_subscriptions: who reads the log, how far it is, and what it has claimed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, Protocol

import attrs

from eventbus.asking import can_be_there
from eventbus.errors import LeaseLost, LogCorrupt

Role = Literal["subscription", "projection", "relay", "saga"]
State = Literal["active", "paused", "building", "failed"]
How = Literal["base", "pattern"]

STANDING: tuple[State, ...] = ("paused", "failed")  # nothing is delivered

_COLUMNS = (
    "id, name, generation, role, run, state, state_reason, start, cursor, claim, handled, epoch, types, order_by, "
    "definition, changes, ahead, breaker"
)
_ALL = f"SELECT {_COLUMNS} FROM eventbus_subscriptions ORDER BY name, generation"
_NAMED = f"SELECT {_COLUMNS} FROM eventbus_subscriptions WHERE name = ? ORDER BY generation"
_BY_ID = f"SELECT {_COLUMNS} FROM eventbus_subscriptions WHERE id = ?"
_OWNER = "SELECT owner FROM eventbus_subscriptions WHERE id = ?"
_ADD = (
    "INSERT INTO eventbus_subscriptions (name, generation, role, state, start, cursor, claim, types, order_by,"
    " definition, created_at, updated_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id"
)
_REDEFINE = (
    "UPDATE eventbus_subscriptions SET types = ?, order_by = ?, definition = ?, cursor = ?, updated_at = ? WHERE id = ?"
)
_ADVANCE = (
    "UPDATE eventbus_subscriptions SET cursor = max(cursor, ?), claim = max(claim, ?), handled = handled + ?,"
    " discarded = discarded + ?, updated_at = ? WHERE id = ? AND epoch = ?"
)
# Added to what is there: a person may have given up a delivery that the owner has not heard of yet.
_AHEAD = (
    "UPDATE eventbus_subscriptions SET ahead = (SELECT json_group_array(value) FROM (SELECT value FROM json_each(ahead)"
    " UNION SELECT value FROM json_each(?) ORDER BY value) WHERE value > cursor) WHERE id = ?"
)
_GUARD = "UPDATE eventbus_subscriptions SET breaker = ? WHERE id = ?"
_TAKE = "UPDATE eventbus_subscriptions SET epoch = epoch + ?, owner = ? WHERE id = ? RETURNING epoch, cursor, claim"
_RELEASE = "UPDATE eventbus_subscriptions SET claim = cursor, owner = NULL, updated_at = ? WHERE id = ? AND epoch = ?"
_SET_STATE = (
    "UPDATE eventbus_subscriptions SET state = ?, state_reason = ?, changes = changes + 1, updated_at = ? WHERE id = ?"
)
_CHANGES = "SELECT id, changes FROM eventbus_subscriptions"
_CHANGED = (
    "UPDATE eventbus_subscriptions SET changes = changes + 1, discarded = discarded + ?, updated_at = ? WHERE id = ?"
)
_FORGET = (
    "DELETE FROM eventbus_subscriptions WHERE id = ?",
    "DELETE FROM eventbus_deliveries WHERE subscription_id = ?",
    "DELETE FROM eventbus_attempts WHERE subscription_id = ?",
    "DELETE FROM eventbus_steps WHERE subscription_id = ?",
)


class RecordedType(Protocol):
    """A type as the log has it."""

    @property
    def name(self) -> str: ...
    @property
    def version(self) -> int: ...
    @property
    def kind(self) -> str: ...
    @property
    def bases(self) -> Collection[str]: ...


@attrs.frozen
class Match:
    """One thing a subscription listens to, counted from the position `since`.

    What was added with backfill=True has the cursor moved back; the others then have `seen` where it was.
    """

    match: str  # a type's name or a pattern
    how: How
    since: int
    seen: int = 0  # delivered up to here, wherever the cursor is
    is_to_come: bool = False  # the cursor is still to be moved back for it
    version: int | None = None  # of the class that was named; None means all, as a pattern does

    def __str__(self) -> str:
        return self.match if self.version in (None, 1) else f"{self.match} version {self.version}"

    def covers(self, name: str, kind: str, bases: Collection[str]) -> bool:
        """True if events of this recorded type are read, whatever their version: nothing is skipped unseen.

        Technical ones are meant by name, by base or by a pattern that says so: `"*"` leaves them out.
        """
        if self.how == "base":
            return self.match == name or self.match in bases
        return fnmatchcase(name, self.match) and not (self.match == "*" and kind == "technical")

    def takes(self, type_: RecordedType) -> bool:
        """True if they are also of the version that was named. A base means all versions of what derives from it."""
        if not self.covers(type_.name, type_.kind, type_.bases):
            return False
        return self.version in (None, type_.version) or self.match != type_.name or self.match in type_.bases


def concerning(matches: Iterable[Match], type_: RecordedType) -> list[Match]:
    """The matches that say since when events of a type count: those of its version, else those of its name."""
    covering = [match for match in matches if match.covers(type_.name, type_.kind, type_.bases)]
    return [match for match in covering if match.takes(type_)] or covering


def is_other_version(matches: Sequence[Match], type_: RecordedType) -> bool:
    """True if classes of its name are meant, and all of them are of other versions."""
    found = concerning(matches, type_)
    return bool(found) and not found[0].takes(type_)


@attrs.frozen
class SubscriptionRow:
    """A subscription as recorded."""

    id: int
    name: str
    generation: int
    role: Role
    run: int
    state: State
    state_reason: str | None
    start: int
    cursor: int
    claim: int
    handled: int
    epoch: int
    types: tuple[Match, ...]
    order_by: str
    definition: str | None
    changes: int = 0
    ahead: frozenset[int] = frozenset()
    breaker: str | None = None  # the name of its circuit breaker


@attrs.frozen
class NewSubscription:
    """A subscription about to be recorded; it starts after the position `start`."""

    name: str
    role: Role
    start: int
    types: tuple[Match, ...]
    order_by: str
    generation: int = 1
    state: State = "active"
    definition: str | None = None


def everyone(connection: sqlite3.Connection) -> list[SubscriptionRow]:
    """All rows, by name and generation."""
    return [_row(values) for values in connection.execute(_ALL).fetchall()]


def named(connection: sqlite3.Connection, name: str) -> list[SubscriptionRow]:
    """The generations of one name, oldest first; a plain subscription has one."""
    found = connection.execute(_NAMED, (name,)).fetchall() if can_be_there(name) else ()
    return [_row(values) for values in found]


def with_id(connection: sqlite3.Connection, subscription_id: int) -> SubscriptionRow | None:
    """The row as it is now, None once it is forgotten."""
    values = connection.execute(_BY_ID, (subscription_id,)).fetchone()
    return _row(values) if values else None


def owner(connection: sqlite3.Connection, row_id: int) -> str | None:
    """The process that took it over last and has not given it back."""
    found = connection.execute(_OWNER, (row_id,)).fetchone()
    return found[0] if found else None


def add(connection: sqlite3.Connection, new: NewSubscription, now: str) -> int:
    """Record a new subscription; returns its id."""
    (added,) = connection.execute(
        _ADD,
        (
            new.name,
            new.generation,
            new.role,
            new.state,
            new.start,
            new.start,
            new.start,
            _dump(new.types),
            new.order_by,
            new.definition,
            now,
            now,
        ),
    ).fetchone()
    return int(added)


def redefine(connection: sqlite3.Connection, row: SubscriptionRow, now: str) -> None:
    """Write the types, order and definition of `row`."""
    connection.execute(_REDEFINE, (_dump(row.types), row.order_by, row.definition, row.cursor, now, row.id))


def with_backfill(row: SubscriptionRow) -> SubscriptionRow:
    """The row with its cursor moved back for what was added with backfill=True, as its next owner begins.

    In order of position, so that what was there before comes before what is still to be delivered.
    """
    added = [match for match in row.types if match.is_to_come]
    if not added:
        return row
    types = tuple(
        attrs.evolve(match, is_to_come=False)
        if match.is_to_come
        else attrs.evolve(match, seen=max(match.seen, row.cursor))
        for match in row.types
    )
    return attrs.evolve(row, types=types, cursor=min(row.cursor, *(match.since for match in added)))


def take_over(
    connection: sqlite3.Connection, subscription_id: int, owner: str, *, again: bool = False
) -> tuple[int, int, int] | None:
    """Make this process the one that delivers it: the epoch, the cursor and the claim, None if it is gone.

    Whoever had it before finds its epoch outdated in its next commit, and stops (LeaseLost); `again` where that was
    this process.
    """
    values = (0 if again else 1, owner, subscription_id)
    found: tuple[int, int, int] | None = connection.execute(_TAKE, values).fetchone()
    return found


def advance(
    connection: sqlite3.Connection,
    row_id: int,
    name: str,
    epoch: int,
    *,
    cursor: int,
    claim: int,
    handled: int,
    discarded: int = 0,
    ahead: Collection[int] | None = None,
    now: str,
) -> None:
    """Move the cursor and the claim, and count what was done; LeaseLost if another process has taken over.

    `ahead`: the positions beyond the cursor that are done, if there are others than before.
    """
    changed = connection.execute(_ADVANCE, (cursor, claim, handled, discarded, now, row_id, epoch)).rowcount
    if changed != 1:
        raise LeaseLost(name)
    if ahead is not None:
        connection.execute(_AHEAD, (json.dumps(sorted(ahead)), row_id))


def guard(connection: sqlite3.Connection, row_id: int, breaker: str | None) -> None:
    """Note by which circuit breaker a subscription is kept from its downstream."""
    connection.execute(_GUARD, (breaker, row_id))


def release(connection: sqlite3.Connection, row_id: int, epoch: int, now: str) -> None:
    """Give the claim back: nothing beyond the cursor is running here any more."""
    connection.execute(_RELEASE, (now, row_id, epoch))


def set_state(connection: sqlite3.Connection, row_id: int, state: State, reason: str | None, now: str) -> None:
    """Pause, resume, or mark as failed."""
    connection.execute(_SET_STATE, (state, reason, now, row_id))


def changes(connection: sqlite3.Connection) -> dict[int, int]:
    """How often people have changed the deliveries of each subscription."""
    return dict(connection.execute(_CHANGES).fetchall())


def changed(connection: sqlite3.Connection, row_id: int, now: str, *, discarded: int = 0) -> None:
    """A person has changed its deliveries: whoever delivers it is to read them again."""
    connection.execute(_CHANGED, (discarded, now, row_id))


def forget(connection: sqlite3.Connection, row_id: int) -> None:
    """Remove a subscription and all its deliveries."""
    for statement in _FORGET:
        connection.execute(statement, (row_id,))


def _dump(types: Sequence[Match]) -> str:
    return json.dumps([attrs.asdict(match) for match in types])


def _row(values: tuple[Any, ...]) -> SubscriptionRow:
    columns: dict[str, Any] = dict(zip(_COLUMNS.split(", "), values, strict=True))
    try:
        columns["types"] = tuple(Match(**found) for found in json.loads(columns["types"]))
        ahead: list[Any] = json.loads(columns["ahead"])
        columns["ahead"] = frozenset(position for position in ahead if isinstance(position, int))
    except (TypeError, ValueError, RecursionError) as error:
        name = columns["name"]
        raise LogCorrupt("the log", f"the row of the subscription {name!r} cannot be read: {error}.") from error
    return SubscriptionRow(**columns)
