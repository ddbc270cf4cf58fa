"""One file as one process has it open: who may write when, on which connection, and how it is synced.

At rest there are two connections: W, the bus's own writes, and one reader. G, on which user SQL runs,
and further readers come and go with the work. Every write of the process passes the turnstile, so
SQLITE_BUSY only ever comes from somebody else. In memory there is no WAL: a reader beside a writer
would get "locked", so there reads pass the turnstile too.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, Concatenate, Literal, ParamSpec, TypeVar

from eventbus.clock import Clock, Deadline
from eventbus.errors import BusClosed, ForkedBus, LogBusy, LogError, WouldDeadlock
from eventbus.events import Vocabulary
from eventbus.store.append import Appender
from eventbus.store.breather import Breather
from eventbus.store.connection import connect
from eventbus.store.custody import Custody
from eventbus.store.deadline import Watch
from eventbus.store.guest import Guest
from eventbus.store.lending import Loans
from eventbus.store.location import Location
from eventbus.store.names import NameBook
from eventbus.store.querying import Asker
from eventbus.store.soundness import BLUNDERS, blame
from eventbus.store.transaction import inside
from eventbus.store.trouble import begin_immediate, is_sqlites, translate
from eventbus.store.turnstile import Turn, Turnstile

P = ParamSpec("P")
T = TypeVar("T")

Durability = Literal["power", "process"]

_BEGIN_BUSY_SECONDS = 5.0
LAST_SECONDS = 0.1  # for what has to be written at the end, where handlers took all the time there was
_COMMIT = "COMMIT /* eventbus */"
_ROLLBACK = "ROLLBACK /* eventbus */"

_log = logging.getLogger("eventbus.store")


class Storage:
    """The open log; `writing` and `reading` lend its connections."""

    def __init__(
        self,
        location: Location,
        *,
        durability: Durability,
        adopt: bool,
        clock: Clock,
        vocabulary: Vocabulary,
        accept_loss: bool = False,
    ) -> None:
        self.location, self.clock, self.durability = location, clock, durability
        self.path = location.path or ":memory:"
        self.turnstile = Turnstile()
        self.names = NameBook(vocabulary, self.path)
        self.appender = Appender(self.names)
        self._guest: Guest | None = None
        self._watch = Watch(clock, self._revoke)
        self._asker = Asker(location)
        self._breather = Breather(location.path, clock)
        self._loans = Loans(location)
        self._synced: bool | None = None
        self._pid = os.getpid()
        self._hurry: Deadline | None = None  # after this nobody waits for another process any more
        self.closed = False
        self.custody = Custody(self, self._reopen, adopt=adopt, accept_loss=accept_loss)
        self._writer = self.custody.writer
        self.names.forget()  # what was recorded while it was opened is read like everything else
        try:
            self.names.refresh(self._writer)
        except BaseException as error:
            self._writer.close()
            self.custody.close()
            if is_sqlites(error):
                raise translate(self.path, error, during="open") from error
            raise
        self.names.refill = self._refill_names

    def _refill_names(self) -> None:
        with self.reading() as connection:
            self.names.refresh(connection)

    def has_open_here(self) -> bool:
        """True inside a transaction of this file's: whoever waits for the file waits for that one."""
        transaction = inside()
        return transaction is not None and transaction.runs_on(self._guest) and os.getpid() == self._pid

    def check(self) -> None:
        """Raise ForkedBus or BusClosed; SQLite's locks and connections do not survive a fork."""
        if os.getpid() != self._pid:
            raise ForkedBus(self._pid)
        if self.closed:
            raise BusClosed

    def hurry(self, deadline: Deadline) -> None:
        """From now on wait for another process's lock up to this moment at most."""
        self._hurry = deadline

    def _rush(self) -> float | None:
        """Seconds to wait for this process's own transactions; None is for ever."""
        return None if self._hurry is None else max(LAST_SECONDS, self._hurry.left())

    def _patience(self) -> float:
        """Seconds to wait for another process's lock."""
        if self._hurry is None:
            return _BEGIN_BUSY_SECONDS
        return max(LAST_SECONDS, self._hurry.left(_BEGIN_BUSY_SECONDS))

    def refuse_waiting(self) -> None:
        """Raise what `writing` would raise before it waits: ForkedBus, BusClosed, WouldDeadlock."""
        self._refuse_inside()
        self.turnstile.check()

    def _refuse_inside(self) -> None:
        self.check()
        if self.has_open_here():
            raise WouldDeadlock("This waits for the transaction that is open here.", hint="Do it after the with block.")

    # -- writing -----------------------------------------------------------------------------------
    @contextmanager
    def writing(self, *, synced: bool = True) -> Generator[sqlite3.Connection, None, None]:
        """One write transaction of the bus's own; waits for its turn, commits at the end.

        `synced=False` is for commits of nothing but cursors, deliveries and projection rows: a power
        cut rolls them back together, and they are done again.
        """
        self._refuse_inside()
        with self.turnstile.turn(timeout=self._rush()) as entered:
            if not entered:
                raise LogBusy(self.path, "a transaction of this process is still open.", hint="It should end sooner.")
            try:
                yield self._begin(synced=synced)
                self._commit()
            except BaseException as error:
                self._undo(error)
                raise
            self._count_commit()

    def commit(self, work: Callable[Concatenate[sqlite3.Connection, P], T], *given: P.args, **named: P.kwargs) -> T:
        """`work` in one synced write transaction, for a caller that is inside the turnstile already.

        No `with` block, whose end Ctrl-C could skip.
        """
        try:
            result = work(self._begin(synced=True), *given, **named)
            self._commit()
        except BaseException as error:
            self._undo(error)
            raise
        self._count_commit()
        return result

    def _begin(self, *, synced: bool) -> sqlite3.Connection:
        self._start_clean()
        self._set_sync(synced and self.durability == "power")
        begin_immediate(self._writer, self.path, self.clock, self._patience())
        if self.custody.begun(self._writer):  # only what begins after it can begin the -wal anew
            self._writer.execute(_ROLLBACK)
            begin_immediate(self._writer, self.path, self.clock, self._patience())
        return self._writer

    def _start_clean(self) -> None:
        """Check that a transaction may begin, and end what Ctrl-C left open: it may cut a roll-back short, too."""
        self.check()
        if self._hurry is None:
            self._breather.begin(lent=self._loans)
        self.custody.before()
        self._roll_back()
        if self._guest is not None and self._guest.is_begun:
            self.roll_back_guest(self._guest)

    def _commit(self) -> None:
        try:
            self._writer.execute(_COMMIT)
        except sqlite3.Error as error:
            raise self.custody.doubted(translate(self.path, error, during="commit")) from error
        self.custody.committed(self.appender.last)
        self.names.keep()

    def _reopen(self) -> None:
        """Write through a connection that knows nothing of a commit that failed. Raises LogError."""
        self._roll_back()
        self._close_guest()
        self.custody.anchor.check("not stored")
        # Before the old one is closed: the last connection to go would take the -wal with it.
        writer = connect(self.location, writable=True)
        old, self._writer, self._synced = self._writer, writer, None
        old.close()
        self.custody.settle(writer)

    def _undo(self, error: BaseException) -> None:
        """Roll back, and raise our error for one of SQLite's."""
        self._roll_back()
        self._breather.end()
        if is_sqlites(error):
            raise translate(self.path, error, during="write") from error
        blame(self._writer, self.path, error)

    def _count_commit(self) -> None:
        if self.custody.is_due():
            self.custody.checkpoint(self._writer)
        self._breather.end()

    def _roll_back(self) -> None:
        self.names.forget()
        if not self.closed and self._writer.in_transaction:
            try:
                self._writer.execute(_ROLLBACK)
            except sqlite3.Error:  # the error that brought us here matters more; the transaction is gone either way
                _log.warning("rolling back failed", exc_info=True)

    def _set_sync(self, synced: bool) -> None:
        if self._synced is not synced:
            self._synced = None  # until it is done: Ctrl-C may come in between
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
            self._synced = synced

    # -- user SQL ----------------------------------------------------------------------------------
    def guest(self) -> Guest:
        """The connection user SQL runs on; only inside the turnstile."""
        self.check()
        if self._guest is None or self._guest.is_closed:
            self.custody.anchor.check("not stored")
            self._guest = Guest(self.location, self.clock)
        return self._guest

    def _close_guest(self) -> None:
        guest, self._guest = self._guest, None
        if guest is not None:
            guest.close()

    def begin_guest(
        self, tables: frozenset[str] | None, *, synced: bool, watched: bool = True, delivering: bool = False
    ) -> Guest:
        """Begin a transaction of user SQL; only inside the turnstile. `delivering`: for a durable handler.

        After TRANSACTION_SECONDS it is revoked, and its turn is over, unless it is not `watched`.
        """
        self._start_clean()
        guest = self.guest()
        guest.is_delivering = delivering
        full = synced and self.durability == "power"
        try:
            with guest.ours():
                guest.connection.execute(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
            guest.begin(tables, self._patience())
            if watched:
                self._watch.arm(guest, self.turnstile.inside)
        except BaseException:
            self.roll_back_guest(guest)
            raise
        return guest

    def _revoke(self, guest: Guest, turn: Turn | None) -> None:
        """From any thread: end a transaction that takes too long, and let the next one in."""
        _log.error("a transaction was open for too long and is revoked; nothing of it is stored")
        self._guest = None
        try:
            self._guest = guest.revoke()
        finally:
            if turn is not None and self.turnstile.inside is turn:
                self.names.forget()
                self.turnstile.leave(turn)

    def end_delivery(self) -> None:
        """Take the transaction of a durable handler away, if one is open: the bus closes, and there is no time left."""
        self._watch.expire()

    def commit_guest(self, guest: Guest) -> None:
        """Commit user SQL; once that is done, in the file that is at our path, nothing raises.

        TransactionTimeout if it was revoked.
        """
        if not self._watch.disarm(guest):
            guest.check()
        try:
            last = self.custody.appended_by(guest)
            guest.commit()
            self.custody.committed(last)
        except BaseException as error:
            self.names.forget()
            if isinstance(error, LogError):
                self.custody.doubted(error)
            raise
        if self.names.staged:  # a savepoint of the user's may have taken some of them back
            self.names.forget()
            try:
                self.names.refresh(self._writer)
            except Exception:  # whoever needs a name reads them again
                _log.warning("reading the names of types and sources failed", exc_info=True)
        self._count_commit()

    def roll_back_guest(self, guest: Guest) -> None:
        """Undo user SQL, if that is still to be done; what goes wrong is logged.

        Raises nothing: the error that brought us here matters more.
        """
        if not self._watch.disarm(guest):
            return  # whoever revoked it did that, and somebody else is inside
        self.names.forget()
        try:
            guest.rollback()
        except sqlite3.Error:
            _log.warning("rolling back a transaction failed", exc_info=True)
        self._breather.end()

    # -- reading -----------------------------------------------------------------------------------
    @contextmanager
    def reading(self) -> Generator[sqlite3.Connection, None, None]:
        """A read-only connection that nobody else uses meanwhile; in memory, inside a transaction, its own."""
        self.check()
        if self.location.memory and self.has_open_here():
            with (guest := self.guest()).ours():
                yield guest.connection
            return
        with self._turn_in_memory():
            connection = self.custody.readers.take()
            try:
                yield connection
            except (sqlite3.Error, UnicodeDecodeError) as error:
                raise translate(self.path, error, during="read") from error
            except BLUNDERS as error:
                blame(connection, self.path, error)
                raise
            finally:
                self.custody.readers.give_back(connection)

    def _turn_in_memory(self) -> AbstractContextManager[bool | None]:
        return self.turnstile.turn() if self.location.memory else nullcontext()

    def query(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any]) -> list[dict[str, Any]]:
        """Rows of a user's read-only query."""
        self.check()
        if self.location.memory and self.has_open_here():
            raise WouldDeadlock("query waits for the transaction that is open here.", hint="Use tx.execute(...).")
        with self._turn_in_memory():
            try:
                self.check()
                return self._asker.ask(sql, parameters)
            finally:
                if self.closed:  # while it was asked: nobody else closes its connection any more
                    self._asker.close()

    def connect(self) -> sqlite3.Connection:
        """A connection with our settings that is nobody else's; it waits 5 s for a lock, as sqlite3 does."""
        self.custody.anchor.check("")
        return self._loans.lend()

    # -- housekeeping ------------------------------------------------------------------------------
    def rest(self) -> None:
        """Nothing is going on: bring everything into the main file and close what can be opened again."""
        with self.turnstile.turn(timeout=0) as entered:
            if self.closed or not entered:
                return
            self.custody.checkpoint_at_rest(self._writer)
            self._close_guest()
        self._asker.close()
        self.custody.readers.rest()

    def close(self) -> None:
        """Bring the WAL into the main file and close every connection, whatever becomes of the others.

        Where somebody's transaction is still open when there is no time left, that is done when it ends.
        """
        with self.turnstile.turn(timeout=self._rush()) as entered:
            if entered:
                self._close_in_turn()
                return
        _log.warning("%s: a transaction is still open; the file is closed when it ends", self.path)
        threading.Thread(target=self._close_later, name="eventbus-close", daemon=True).start()

    def _close_later(self) -> None:
        with self.turnstile.turn():
            self._close_in_turn()

    def _close_in_turn(self) -> None:
        if self.closed:
            return
        self.custody.checkpoint(self._writer)
        self.closed = True
        readers = self.custody.readers.close()
        self._watch.close()
        with ExitStack() as closing:  # the last one here is closed first
            closing.callback(self.custody.close)
            closing.callback(self._writer.close)
            closing.callback(self._close_guest)
            for connection in readers:
                closing.callback(connection.close)
            closing.callback(self._asker.close)
