"""What is looked at around every transaction of one open log, so that what is told as stored is stored.

Before it: is the log still the file at its path, and can that be written? After the commit: is it
still there, and what has been acknowledged? Now and then: how much is in the -wal alone?
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TYPE_CHECKING

from eventbus.errors import LogError, LogIOError, LogReplaced
from eventbus.store import loss
from eventbus.store.anchor import Anchor
from eventbus.store.append import head
from eventbus.store.checkpointing import Checkpoints
from eventbus.store.guest import Guest
from eventbus.store.libraries import warn_of_others
from eventbus.store.opening import open_log
from eventbus.store.outage import Outage
from eventbus.store.readers import Readers
from eventbus.store.room import Room
from eventbus.store.witness import Witness

if TYPE_CHECKING:
    from eventbus.store.storage import Storage

_PAGE_SIZE = "PRAGMA page_size"


class Custody:
    """Opens the log, as `writer`. Only inside the turnstile, but for `anchor`, `room` and `readers`.

    Raises LogError: LogRolledBack where the log has lost events, unless it may have (`accept_loss`).
    """

    def __init__(self, storage: Storage, reopen: Callable[[], None], *, adopt: bool, accept_loss: bool) -> None:
        location, clock = storage.location, storage.clock
        self._path, self._in_memory = storage.path, location.memory
        self._appender, self._durable = storage.appender, storage.durability == "power"
        self.room = Room(location.path, clock)
        self._outage = Outage(self._path, clock, reopen)
        self._witness = Witness(location)
        accept = self._appender if accept_loss else None
        writer: sqlite3.Connection | None = None
        if not location.memory:
            warn_of_others()
        try:
            self.writer = writer = open_log(location, adopt=adopt, clock=clock, examine=self._examine(accept_loss))
            loss.settle(writer, self._path, self._witness, accept=accept, clock=clock)
            (page_size,) = writer.execute(_PAGE_SIZE).fetchone()
        except BaseException:
            self._witness.close()
            if writer is not None:
                writer.close()
            raise
        self._told = self._appender.last
        self.anchor = Anchor(location)
        self.readers = Readers(location, self.anchor, storage.check)
        self._checkpoints = Checkpoints(self._path, self.readers, page_size, self._witness.sync)

    def _examine(self, accept_loss: bool) -> Callable[[sqlite3.Connection], object]:
        return bool if accept_loss else lambda connection: loss.refuse(connection, self._path, self._witness)

    # -- before a transaction ----------------------------------------------------------------------
    def before(self) -> None:
        """Raise LogReplaced, or why nothing is written for now."""
        self.anchor.check_again()
        self._outage.check()
        self._appender.last = 0

    def begun(self, writer: sqlite3.Connection) -> bool:
        """A transaction of the bus's own has begun: a checkpoint that others kept from its turn has it now, if any."""
        return self._checkpoints.insists and self._checkpoints.run(writer)

    def appended_by(self, guest: Guest) -> int:
        """The last position that is about to be committed, 0 if none is; a savepoint may have taken some back."""
        if not self._appender.last:
            return 0
        with guest.ours():
            return head(guest.connection)

    # -- after it ----------------------------------------------------------------------------------
    def committed(self, last: int) -> None:
        """Before anybody is told: raise LogReplaced if the commit is elsewhere, and write down what was stored."""
        self.anchor.check()
        if last > self._told:
            self._told = last
            self._witness.tell(last, synced=self._durable)
            self._outage.succeeded()

    def doubted(self, error: LogError) -> LogError:
        """After a commit with an open outcome nothing more is written before the log was opened anew."""
        if error.stored == "in doubt" and not (self._in_memory or isinstance(error, LogReplaced)):
            self._outage.begin(error)
        return error

    def recover(self) -> None:
        """Have the log opened anew now. Raises LogError."""
        self._outage.end()

    # -- checkpoints -------------------------------------------------------------------------------
    def is_due(self) -> bool:
        """Asked after each commit: True if enough is in the -wal."""
        return self._checkpoints.committed(self.anchor.wal_bytes)

    def checkpoint(self, writer: sqlite3.Connection) -> bool:
        """Move the -wal into the file; True if all of it is there. Raises nothing."""
        return self._in_memory or self._checkpoints.run(writer)

    def settle(self, writer: sqlite3.Connection) -> None:
        """The same; raises LogIOError if anything is left there, for what is synced after it could still be lost."""
        if not self.checkpoint(writer):
            raise LogIOError(
                self._path, "what is in the -wal could not be moved into the file; somebody may be reading."
            )

    def checkpoint_at_rest(self, writer: sqlite3.Connection) -> None:
        """The same if it holds anything of ours, and if the file can be written."""
        if self._checkpoints.owes and not self._outage.is_on:
            self.checkpoint(writer)
        self._witness.mend()

    def close(self) -> None:
        """The file is closed."""
        self._witness.close()
