"""The app's own migrations, run when the log is opened: all that are due in one transaction of user SQL."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from eventbus.errors import EventBusError
from eventbus.store.storage import Storage
from eventbus.store.transaction import Transaction, open_transaction
from eventbus.store.trouble import translate

if TYPE_CHECKING:
    import sqlite_utils


def migrate(storage: Storage, migrations: sqlite_utils.Migrations) -> None:
    """Apply what is due, or nothing of it. Raises LogError, and what the migrations raise."""
    with storage.turnstile.turn():
        guest = storage.begin_guest(None, synced=True, watched=False)
        transaction = Transaction(guest, _not_in_a_migration)
        token = open_transaction.set(transaction)  # whoever waits for the file now is told that it is no use
        try:
            migrations.apply(transaction.db)
            storage.commit_guest(guest)
        except BaseException as error:
            storage.roll_back_guest(guest)
            if isinstance(error, sqlite3.Error) and not isinstance(error, EventBusError):
                raise translate(storage.path, error, during="apply the migrations") from error
            raise
        finally:
            transaction.is_open = False
            open_transaction.reset(token)


def _not_in_a_migration(event: object, **_: object) -> str:
    raise EventBusError(
        "A migration cannot publish.", stored="not stored", hint="Publish when the bus is open; a migration runs once."
    )
