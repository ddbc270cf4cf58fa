"""What `bus.transaction()` and a transactional handler hand out: the app's SQL and its events, one commit."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Unpack

from eventbus.errors import EventBusError
from eventbus.store import reading
from eventbus.store.drafter import PublishOptions, check_options
from eventbus.store.drafts import Appended
from eventbus.store.guest import Guest

if TYPE_CHECKING:
    import sqlite_utils

Parameters = Sequence[Any] | Mapping[str, Any]

open_transaction: ContextVar[Transaction | None] = ContextVar("open_transaction", default=None)


class Transaction:
    """SQL and events that are stored together or not at all.

    It cannot commit or roll back by itself: leaving the `with` block does. Afterwards it refuses to work.
    """

    __slots__ = ("_database", "_guest", "_publish", "is_open", "outer")

    def __init__(self, guest: Guest, publish: Callable[..., str]) -> None:
        self._guest = guest
        self._publish = publish
        self._database: sqlite_utils.Database | None = None
        self.outer = inside()  # of another log: two buses may be in use at once
        self.is_open = True

    def execute(self, sql: str, parameters: Parameters = ()) -> sqlite3.Cursor:
        """Run one statement; `parameters` is a sequence for `?` or a mapping for `:name`."""
        if not self.is_open:
            self._check()
        connection = self._guest.connection
        cursor = connection.execute(sql, parameters)
        if not connection.in_transaction or connection.guard.is_overdue:  # the rest is looked at before a statement
            self._guest.check()
        return cursor

    def executemany(self, sql: str, parameters: Iterable[Parameters]) -> sqlite3.Cursor:
        """Run one statement once for each set of parameters."""
        self._check()
        cursor = self._guest.connection.executemany(sql, parameters)
        self._guest.check()
        return cursor

    def publish(self, event: object, **how: Unpack[PublishOptions]) -> str:
        """Append an event in this transaction and return its id; takes the keywords of `bus.publish`.

        Live handlers hear of it after the commit, or never.
        """
        check_options("tx.publish", how)
        self._check()
        self._guest.check()
        return self._publish(event, **how)

    def runs_on(self, guest: Guest | None) -> bool:
        """True if this one, or one around it, is that guest's: whoever waits for its file waits for this one."""
        if self._guest is guest:
            return True
        return self.outer is not None and self.outer.is_open and self.outer.runs_on(guest)

    @property
    def connection(self) -> sqlite3.Connection:
        """The guarded connection, for libraries that want one."""
        self._check()
        return self._guest.connection

    @property
    def db(self) -> sqlite_utils.Database:
        """The same connection as a `sqlite_utils.Database`."""
        self._check()
        if self._database is None:
            import sqlite_utils

            self._database = sqlite_utils.Database(self._guest.connection, execute_plugins=False)
        return self._database

    def _check(self) -> None:
        if not self.is_open:
            raise EventBusError(
                "This transaction is over.",
                stored="not stored",
                hint="Use a transaction only inside its own with block or handler.",
            )


def inside() -> Transaction | None:
    """The transaction that is open where this is called, if any; a copied context may carry one that is over."""
    transaction = open_transaction.get()
    while transaction is not None and not transaction.is_open:
        transaction = transaction.outer
    return transaction


def still_there(guest: Guest, appended: list[Appended]) -> list[Appended]:
    """Without those that a savepoint of the user's took back: nobody may hear of them."""
    with guest.ours():
        return [
            each
            for each in appended
            if each.row is not None and reading.one(guest.connection, each.receipt.id) is not None
        ]
