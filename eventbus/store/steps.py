"""Rows of eventbus_steps: what the handler of a delivery that is not settled yet has done already."""

from __future__ import annotations

import sqlite3

import attrs

# A new owner raises the epoch, and a rewind epoch and run. Of what it leaves as it is there is a row, by the time a
# step is looked for: its handler runs on, until whoever delivers it has read the rows again.
_OWNED = (
    "s.id = ? AND s.epoch - s.run = ? AND (s.run = ? OR EXISTS (SELECT 1 FROM eventbus_deliveries d"
    " WHERE d.subscription_id = s.id AND d.position = ?))"
)
_FIND = (
    "SELECT e.name, e.result, e.finished_at FROM eventbus_subscriptions s LEFT JOIN eventbus_steps e"
    f" ON e.subscription_id = s.id AND e.run = s.run AND e.position = ? AND e.name = ? WHERE {_OWNED}"
)
_LOOK = (
    "SELECT e.name, e.result, e.finished_at FROM eventbus_subscriptions s JOIN eventbus_steps e"
    " ON e.subscription_id = s.id AND e.run = s.run WHERE s.id = ? AND e.position = ? AND e.name = ?"
)
_KEEP = (
    "INSERT INTO eventbus_steps (subscription_id, run, position, name, result, finished_at)"
    f" SELECT s.id, s.run, ?, ?, ?, ? FROM eventbus_subscriptions s WHERE {_OWNED}"
)
_FORGET = "DELETE FROM eventbus_steps WHERE subscription_id = ? AND position = ?"


@attrs.frozen
class Owner:
    """Whose steps: the subscription, its run, and the epoch of the process that delivers it."""

    subscription_id: int
    run: int
    epoch: int


@attrs.frozen
class StepRow:
    """A step that has run. `result` is JSON; None means that it could not be written."""

    name: str
    result: str | None
    finished_at: str


def find(connection: sqlite3.Connection, owner: Owner, position: int, name: str) -> tuple[bool, StepRow | None]:
    """Whether the delivery is still the owner's, and the step, None if it has not run."""
    found = connection.execute(_FIND, (position, name, *_owned(owner, position))).fetchone()
    return found is not None, None if found is None or found[0] is None else StepRow(*found)


def look(connection: sqlite3.Connection, subscription_id: int, position: int, name: str) -> StepRow | None:
    """The step, whoever delivers it; None if it has not run."""
    found = connection.execute(_LOOK, (subscription_id, position, name)).fetchone()
    return None if found is None else StepRow(*found)


def keep(connection: sqlite3.Connection, owner: Owner, position: int, row: StepRow) -> bool:
    """Write a step; False if the delivery is another process's by now, or comes again in another run."""
    values = (position, row.name, row.result, row.finished_at, *_owned(owner, position))
    return connection.execute(_KEEP, values).rowcount == 1


def _owned(owner: Owner, position: int) -> tuple[int, int, int, int]:
    return owner.subscription_id, owner.epoch - owner.run, owner.run, position


def forget(connection: sqlite3.Connection, subscription_id: int, position: int) -> None:
    """The delivery is settled: nobody will ask again."""
    connection.execute(_FORGET, (subscription_id, position))
