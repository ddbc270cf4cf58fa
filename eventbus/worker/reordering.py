"""Another `order_by` than before: deliveries that are retrying, held or dead are put in the new order.

It takes effect where a process takes the subscription over, since until then somebody may deliver in the old one.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable

import attrs

from eventbus.events import Envelope
from eventbus.store import deliveries, reading, subscriptions
from eventbus.store.deliveries import DeliveryRow
from eventbus.store.names import NameBook
from eventbus.store.subscriptions import SubscriptionRow
from eventbus.worker.work import Work, order_key

IN_LINE = "log"  # the key of all that is parked, where the whole log is one order and more than one delivery waits

_log = logging.getLogger("eventbus.worker")


def in_order(rows: Iterable[DeliveryRow], now: str) -> list[DeliveryRow]:
    """Rows in order of position, whose keys are new already, each in the state that its place in its key asks for.

    The first of a key is tried, and all behind it wait for it; what is dead stays so until a person deals with it.
    """
    seen: set[str] = set()
    placed: list[DeliveryRow] = []
    for row in rows:
        is_first = row.order_key is None or row.order_key not in seen
        if row.order_key is not None:
            seen.add(row.order_key)
        if is_first and row.state == "held":
            row = attrs.evolve(row, state="retrying", due=now, since=now)
        elif not is_first and row.state in ("retrying", "waiting"):
            row = attrs.evolve(row, state="held", due=None, since=now)
        placed.append(row)
    return placed


def reorder(
    connection: sqlite3.Connection, row: SubscriptionRow, work: Work, names: NameBook, now: str
) -> SubscriptionRow:
    """Bring a subscription's deliveries into the order its handler is declared with, in the open transaction."""
    order_by: str = getattr(work, "order_by", row.order_by)  # what no app declares keeps its order for ever
    if order_by == row.order_by:
        return row
    parked = deliveries.parked(connection, row.id)
    keys = _keys(connection, parked, work, names)
    rows = [attrs.evolve(each, order_key=key) for each, key in zip(parked, keys, strict=True)]
    for each in in_order(rows, now):
        deliveries.reorder(connection, row.id, each)
    _log.warning(
        "%s: order_by was %r and is %r; %d deliveries that wait are in the new order",
        row.name,
        row.order_by,
        order_by,
        len(rows),
    )
    reordered = attrs.evolve(row, order_by=order_by)
    subscriptions.redefine(connection, reordered, now)
    return reordered


def _keys(connection: sqlite3.Connection, parked: list[DeliveryRow], work: Work, names: NameBook) -> list[str | None]:
    if work.key_of is None:  # one alone needs no key to stop the cursor
        return [IN_LINE if len(parked) > 1 else None] * len(parked)
    names.refresh(connection)
    keys: list[str | None] = []
    for each in parked:
        row = reading.one(connection, each.position)
        keys.append(None if row is None else order_key(work, Envelope(row, names))[0])
    return keys
