"""What a lane leaves to the next one of its subscription in this process: handlers that still run, and what came back.

A lane is made anew where its handler is replaced, where it was rewound, and where an outcome could not be recorded.
What has its row all the same is not tried a second time while it runs, and its outcome counts.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from eventbus.delivery import Item, among, each
from eventbus.store import deliveries
from eventbus.store.subscriptions import SubscriptionRow
from eventbus.worker.lane import Lane


def is_heir(row: SubscriptionRow, before: Lane) -> bool:
    """True if no other process had it since: a rewind raises the run and the epoch, a new owner the epoch alone."""
    return row.epoch - row.run == before.epoch - before.row.run


def inherit(connection: sqlite3.Connection, lane: Lane, before: Lane) -> None:
    """Take on what still runs, or is not recorded yet, of the deliveries that have their rows."""
    for job in before.strays:
        job.items = _with_rows(connection, lane, job.items)
        if job.items:
            job.lane = lane
            lane.strays.append(job)
    for unit, outcome in before.pending:
        kept = among(unit, _with_rows(connection, lane, each(unit)))
        if kept is not None:
            lane.pending.append((kept, outcome))


def _with_rows(connection: sqlite3.Connection, lane: Lane, items: Iterable[Item]) -> list[Item]:
    kept: list[Item] = []
    for item in items:
        row = deliveries.one(connection, lane.row.id, item.position) if item.parked else None
        if row is not None:
            item.key = row.order_key
            kept.append(item)
    return kept
