"""Generations: a changed or rebuilt projection fills new tables behind the old ones, and swaps."""

from __future__ import annotations

import json
import logging
import sqlite3

from eventbus.errors import EventDefinitionError
from eventbus.projections.definition import Definition
from eventbus.store import readmodels, subscriptions
from eventbus.store.subscriptions import NewSubscription, State, SubscriptionRow

_log = logging.getLogger("eventbus.projections")


def settle(connection: sqlite3.Connection, definition: Definition, now: str) -> list[SubscriptionRow]:
    """Bring rows and tables in line with a definition, in the open write transaction; returns what is to be filled.

    The generation that fits goes on. A version or table that changed gets a new one, and the old one
    stays for readers until the new one has caught up.
    """
    rows = subscriptions.named(connection, definition.name)
    for row in rows:
        if row.role != "projection":
            raise EventDefinitionError(f"{definition.name!r} is the name of a subscription in this log already.")
    for row in [row for row in rows if row.state == "building" and row.definition != definition.digest]:
        discard(connection, row)
    rows = [row for row in rows if row.state != "building" or row.definition == definition.digest]
    fitting = [row for row in rows if row.definition == definition.digest]
    if not fitting:
        if rows:
            _log.info("%s has changed: its tables are built anew behind the old ones", definition.name)
        fitting = [begin(connection, definition, now)]
    return fitting


def begin(connection: sqlite3.Connection, definition: Definition, now: str) -> SubscriptionRow:
    """Make a new generation; the first one is shown to readers at once."""
    _refuse_shared_tables(connection, definition)
    rows = subscriptions.named(connection, definition.name)
    generation = max((row.generation for row in rows), default=0) + 1
    readmodels.create(connection, definition.shapes, generation)
    if not rows:
        readmodels.show(connection, definition.shapes, generation)
    new = NewSubscription(
        name=definition.name,
        role="projection",
        start=0,
        types=definition.matches,
        order_by="log",
        generation=generation,
        state="building" if rows else "active",
        definition=definition.digest,
    )
    row_id = subscriptions.add(connection, new, now)
    row = subscriptions.with_id(connection, row_id)
    assert row is not None
    return row


def _refuse_shared_tables(connection: sqlite3.Connection, definition: Definition) -> None:
    wanted = {shape.name for shape in definition.shapes}
    for row in subscriptions.everyone(connection):
        other = row.role == "projection" and row.name != definition.name
        if other and (taken := wanted.intersection(table_names(row))):
            raise EventDefinitionError(
                f"Projection {definition.name!r}: {min(taken)!r} is a table of the projection {row.name!r} already.",
                hint="Give the table another name, or forget the other projection.",
            )


def swap(
    connection: sqlite3.Connection, definition: Definition, row: SubscriptionRow, now: str
) -> tuple[list[int], State]:
    """Show a generation that has caught up and remove the ones before it; returns the ids of their rows, and its state.

    What was paused stays so: the tables that readers see are new, and go no further until it is resumed.
    """
    rows = subscriptions.named(connection, row.name)
    shown = next((old for old in reversed(rows) if old.state != "building"), None)
    readmodels.show(connection, definition.shapes, row.generation)
    gone: list[int] = []
    kept = {shape.name for shape in definition.shapes}
    for old in rows:
        if old.generation < row.generation:
            readmodels.hide(connection, [name for name in table_names(old) if name not in kept])
            discard(connection, old)
            gone.append(old.id)
    state: State = "active" if shown is None else shown.state
    subscriptions.set_state(connection, row.id, state, shown.state_reason if shown is not None else None, now)
    _log.info("%s: generation %d is what readers see now", row.name, row.generation)
    return gone, state


def discard(connection: sqlite3.Connection, row: SubscriptionRow) -> None:
    """Remove a generation's tables and everything known of it."""
    readmodels.drop(connection, table_names(row), row.generation)
    subscriptions.forget(connection, row.id)


def forget(connection: sqlite3.Connection, name: str) -> None:
    """Remove a projection: all its tables, views and rows."""
    for row in subscriptions.named(connection, name):
        readmodels.hide(connection, table_names(row))
        discard(connection, row)


def table_names(row: SubscriptionRow) -> list[str]:
    """The tables a recorded generation has, by the definition it was made with."""
    return [name for name, *_ in json.loads(row.definition or '{"tables": []}')["tables"]]
