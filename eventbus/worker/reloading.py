"""Reading a lane's rows again, since somebody has changed them, while what runs goes on."""

from __future__ import annotations

import sqlite3
from collections import deque

import attrs

from eventbus.store import subscriptions
from eventbus.worker.adopting import load
from eventbus.worker.lane import Lane


def reload(connection: sqlite3.Connection, lane: Lane, now: float) -> bool:
    """Bring a lane without outcomes to record in line with its rows, in the open write transaction.

    False where it has to be made anew: its row is gone, or another process, a rewind or another declaration has
    changed what it reads.
    """
    row = subscriptions.with_id(connection, lane.row.id)
    if row is None:
        return False
    lane.lost = lane.lost or row.epoch != lane.epoch
    if lane.lost or (row.types, row.order_by) != (lane.row.types, lane.row.order_by):
        return False
    lane.row = row
    lane.cursor, lane.claim = max(lane.cursor, row.cursor), max(lane.claim, row.claim)
    lane.scanned = max(lane.scanned, lane.cursor)
    used = {position: due.attempts for position, due in lane.due.items()}
    lane.forget_rows()
    passed = lane.apart  # what had a row when this was read is not read again, whatever has become of that
    load(connection, lane, now)
    lane.apart |= passed
    for position in used.keys() & lane.due.keys():  # one that was counted, and was not tried, is none that ended here
        due = lane.due[position]
        lane.due[position] = attrs.evolve(due, attempts=min(due.attempts, used[position]))
    for position, due in lane.trying.items():  # taken when it was due: so it is if it comes back untried, by any clock
        lane.trying[position] = attrs.evolve(due, when=min(due.when, now))
    lane.rows.keep(lambda row: row[0] > lane.cursor and row[0] not in lane.apart)
    lane.ready = deque(item for item in lane.ready if item.position > lane.cursor and item.position not in lane.apart)
    return True
