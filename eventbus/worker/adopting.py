"""Making a lane out of a subscription's rows: what was left undone, and how carefully to go on."""

from __future__ import annotations

import sqlite3

import attrs

from eventbus.clock import from_iso, iso, waits_until
from eventbus.delivery import each
from eventbus.store import append, deliveries, subscriptions
from eventbus.store.names import NameBook
from eventbus.store.subscriptions import SubscriptionRow
from eventbus.worker.inheriting import inherit, is_heir
from eventbus.worker.lane import CLAIM, Lane
from eventbus.worker.matching import Matching
from eventbus.worker.reordering import reorder
from eventbus.worker.standing import CRASHES
from eventbus.worker.work import Work


def adopt(
    connection: sqlite3.Connection,
    row_id: int,
    work: Work,
    names: NameBook,
    owner: str,
    now: float,
    before: Lane | None = None,
) -> Lane | None:
    """Take a subscription over in the open write transaction, and read what is to be done; None if it is gone.

    A claim that is still open means that its owner crashed: what it claimed of the events there are may
    have been running, and is tried one by one, each attempt counted before it runs. `before` is the lane that ended
    here: what still runs of it goes on, and its epoch lasts if nothing has come in between.
    """
    found = subscriptions.with_id(connection, row_id)
    if found is None:
        return None
    is_own = before is not None and not before.lost and found.epoch == before.epoch
    taken = subscriptions.take_over(connection, row_id, owner, again=is_own)
    row = subscriptions.with_id(connection, row_id)
    if taken is None or row is None:
        return None
    epoch, cursor, claim = taken
    text = iso(now)
    careful = min(claim, append.head(connection)) if claim > cursor else 0
    row = reorder(connection, _with_backfill(connection, row, text), work, names, text)
    cursor, claim = row.cursor, max(claim if careful else 0, row.cursor + CLAIM)
    subscriptions.advance(connection, row_id, row.name, epoch, cursor=cursor, claim=claim, handled=0, now=text)
    lane = Lane(
        row=row,
        work=work,
        epoch=epoch,
        cursor=cursor,
        claim=claim,
        careful=careful,
        matching=Matching(row.types),
        paused=row.state in subscriptions.STANDING,
    )
    if before is not None and is_heir(found, before):
        inherit(connection, lane, before)
    load(connection, lane, now)
    return lane


def _with_backfill(connection: sqlite3.Connection, row: SubscriptionRow, text: str) -> SubscriptionRow:
    """Move the cursor back for what was added with backfill=True; here, where nobody else moves it."""
    moved = subscriptions.with_backfill(row)
    if moved is row:
        return row
    subscriptions.redefine(connection, moved, text)
    return moved


def load(connection: sqlite3.Connection, lane: Lane, now: float) -> None:
    """Read the deliveries that are not normal; what runs here is not to be tried."""
    counts = deliveries.counts(connection, lane.row.id)
    lane.held = counts.get("held", 0)
    lane.ahead = frozenset(position for position in lane.row.ahead if position > lane.cursor)
    lane.apart = lane.ahead.union(deliveries.beyond(connection, lane.row.id, lane.cursor))
    lane.blocked.update(deliveries.blocked_keys(connection, lane.row.id))
    running = {*lane.flight, *lane.trying, *(item.position for job in lane.strays for item in job.items)}
    running.update(item.position for unit, _ in lane.pending for item in each(unit))
    for row in deliveries.runnable(connection, lane.row.id):
        if row.position in running:
            continue
        if row.state == "waiting":
            lane.unloaded[row.position] = row
            continue
        due = now
        if row.due is not None:
            due = waits_until(from_iso(row.due).timestamp(), from_iso(row.since).timestamp(), now)
        lane.make_due(row.position, due, row.attempts, row.order_key, again=row.tries > 0)
    if lane.strict and counts:
        lane.stops = [row.position for row in deliveries.parked(connection, lane.row.id)]
        if lane.work.retry is None:
            _try_stopped(connection, lane, lane.stops[0], now)


def _try_stopped(connection: sqlite3.Connection, lane: Lane, position: int, now: float) -> None:
    """A projection that stopped is tried again by each process, once: its code may have been mended."""
    row = deliveries.one(connection, lane.row.id, position)
    if row is not None and row.state == "dead":
        row = attrs.evolve(row, state="retrying", attempts=CRASHES - 1, due=iso(now))
        deliveries.park(connection, lane.row.id, row)
        lane.make_due(position, now, row.attempts, row.order_key, again=row.tries > 0)
