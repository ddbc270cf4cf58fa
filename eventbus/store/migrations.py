"""Making our tables, and bringing older ones up to date, in one transaction that reads the version again."""

from __future__ import annotations

import sqlite3

from eventbus.clock import Clock, iso
from eventbus.store.recognise import Contents, recognise
from eventbus.store.schema import APPLICATION_ID, DDL, ROOMS, SCHEMA_VERSION
from eventbus.store.statements import split

# From each version to the next: a script. New logs are made from the whole DDL instead.
STEPS: dict[int, str] = {
    1: """
    ALTER TABLE eventbus_subscriptions ADD COLUMN changes INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE eventbus_subscriptions ADD COLUMN breaker TEXT;
    ALTER TABLE eventbus_deliveries ADD COLUMN payload ANY;
    """
    + ROOMS
}


def bring_up(connection: sqlite3.Connection, path: str, *, adopt: bool, clock: Clock) -> None:
    """Make or migrate our tables, unless somebody else has by now. Raises LogError, and sqlite3.Error, busy too."""
    # EXCLUSIVE: before the switch to WAL a commit could still meet a reader and be refused.
    connection.execute("BEGIN EXCLUSIVE")
    try:
        identity = recognise(connection, path, adopt=adopt, blank_is_new=True)
        if identity is None:
            _make(connection, clock)
        else:
            _migrate(connection, identity.schema_version)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def _make(connection: sqlite3.Connection, clock: Clock) -> None:
    if Contents.of(connection).is_blank:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for statement in split(DDL):
        connection.execute(statement)
    connection.execute(
        "INSERT INTO eventbus_log (id, log_id, incarnation, schema_version, created_at) VALUES (1, ?, 1, ?, ?)",
        (clock.new_id(), SCHEMA_VERSION, iso(clock.time())),
    )


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    for step in range(version, SCHEMA_VERSION):
        for statement in split(STEPS[step]):
            connection.execute(statement)
    connection.execute("UPDATE eventbus_log SET schema_version = ?", (SCHEMA_VERSION,))
