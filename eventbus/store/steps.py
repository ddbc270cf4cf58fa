"""Rows of eventbus_steps: what the handler of a delivery that is not settled yet has done already."""

from __future__ import annotations

import sqlite3

import attrs

_FIND = (
    "SELECT s.epoch, e.name, e.result, e.finished_at FROM eventbus_subscriptions s LEFT JOIN eventbus_steps e"
    " ON e.subscription_id = s.id AND e.run = s.run AND e.position = ? AND e.name = ? WHERE s.id = ?"
)
_KEEP = (
    "INSERT INTO eventbus_steps (subscription_id, run, position, name, result, finished_at)"
    " SELECT id, run, ?, ?, ?, ? FROM eventbus_subscriptions WHERE id = ? AND run = ? AND epoch = ?"
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


def find(connection: sqlite3.Connection, subscription_id: int, position: int, name: str) -> tuple[int, StepRow | None]:
    """The epoch of the subscription now, 0 if it is gone, and the step, None if it has not run."""
    found = connection.execute(_FIND, (position, name, subscription_id)).fetchone()
    if found is None:
        return 0, None
    epoch, *row = found
    return epoch, None if row[0] is None else StepRow(*row)


def keep(connection: sqlite3.Connection, owner: Owner, position: int, row: StepRow) -> bool:
    """Write a step; False if the subscription is another process's by now, or in another run."""
    values = (position, row.name, row.result, row.finished_at, owner.subscription_id, owner.run, owner.epoch)
    return connection.execute(_KEEP, values).rowcount == 1


def forget(connection: sqlite3.Connection, subscription_id: int, position: int) -> None:
    """The delivery is settled: nobody will ask again."""
    connection.execute(_FORGET, (subscription_id, position))
