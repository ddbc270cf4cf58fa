"""A commit of which nobody knows whether it is stored: its rows tell, once they can be read again.

An error while committing, or a file that is no longer at its path right after it, leaves the outcomes of a round in
doubt. To record them again would count them twice, to forget them would run their handlers again. After an error of the
disk the log is opened anew first (store/outage.py), so that what is read is what is there.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from eventbus.delivery import Left
from eventbus.errors import EventBusError
from eventbus.store import deliveries, subscriptions
from eventbus.store.subscriptions import SubscriptionRow
from eventbus.worker.lane import Lane
from eventbus.worker.recording import Effect


def is_in_doubt(error: BaseException) -> bool:
    """True if a transaction that ended with this may be stored; Ctrl-C comes at any moment."""
    return not isinstance(error, Exception) or (isinstance(error, EventBusError) and error.stored == "in doubt")


def was_stored(connection: sqlite3.Connection, lane: Lane, effects: Sequence[Effect]) -> bool:
    """True if the commit with these effects on a lane is in the file: one of them decides, for it is all or nothing."""
    row = subscriptions.with_id(connection, lane.row.id)
    if row is None:
        return False
    mine = [effect for effect in effects if not effect.already_recorded]
    done = next((effect for effect in mine if effect.moves and effect.row is None), None)
    if done is not None:
        return _is_passed(row, done) and deliveries.one(connection, row.id, done.item.position) is None
    new = next((effect for effect in mine if effect.row is not None and effect.new), None)
    if new is not None:  # its row may be gone again: a person has discarded it
        return _is_passed(row, new) or deliveries.one(connection, row.id, new.item.position) is not None
    return any(_is_as_written(connection, row.id, effect) for effect in mine)


def _is_passed(row: SubscriptionRow, effect: Effect) -> bool:
    return effect.item.position <= row.cursor or effect.item.position in row.ahead


def _is_as_written(connection: sqlite3.Connection, row_id: int, effect: Effect) -> bool:
    """True if the row of what had one before says what was to be written, or somebody has settled it since."""
    found = deliveries.one(connection, row_id, effect.item.position)
    if found is None:
        return True
    if effect.row is None:
        return isinstance(effect.outcome, Left) and effect.item.parked and found.attempts < effect.item.attempt
    wrote = effect.row
    return (found.state, found.attempts, found.due, found.since) == (
        wrote.state,
        wrote.attempts,
        wrote.due,
        wrote.since,
    )
