"""Group commit: a publish that has to wait shares the commit of all the others that wait.

An uncontended publish commits on its caller's thread. Otherwise it is queued, and one writer thread
commits everything that is queued in one transaction.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from threading import Lock

import msgspec

from eventbus.clock import iso
from eventbus.errors import EventBusError, LogError, LogReplaced, PublishInDoubt
from eventbus.store import reading
from eventbus.store.drafts import Appended, Draft
from eventbus.store.storage import Storage
from eventbus.store.turnstile import Turn
from eventbus.threads import Batches

_log = logging.getLogger("eventbus.store")


class Request(msgspec.Struct, eq=False):
    """Drafts to be stored together, and what became of them; `done` is called once that is known."""

    drafts: Sequence[Draft]
    done: Callable[[], object]
    appended: list[Appended] = []
    error: BaseException | None = None

    def result(self) -> list[Appended]:
        """What was appended; raises what went wrong instead."""
        if self.error is not None:
            raise self.error
        return self.appended


class Writer:
    """Stores drafts; `committed` hears the requests of each commit, before their callers do."""

    def __init__(
        self, storage: Storage, committed: Callable[[list[Request]], None], *, prepare: Callable[[], None]
    ) -> None:
        self._storage = storage
        self._committed, self._prepare = committed, prepare
        self._queue: Batches[Request] = Batches("eventbus-writer", self._work)

    def store(self, drafts: Sequence[Draft]) -> list[Appended]:
        """Store all of `drafts` or none, and return once they are; blocks this thread."""
        self._prepare()
        if not len(self._queue):
            request = Request(drafts, _nothing)
            if self._store_here(request):
                self._committed([request])
                return request.result()
        self._storage.turnstile.check()
        finished = Lock()
        finished.acquire()
        request = Request(drafts, finished.release)
        self._queue.put(request)
        finished.acquire()
        return request.result()

    def _store_here(self, request: Request) -> bool:
        """Commit on this thread, unless somebody else is at it."""
        turnstile, turn = self._storage.turnstile, Turn()
        try:
            if not turnstile.try_enter(turn):
                return False
            self._commit([request])
            return True
        finally:
            try:
                turnstile.leave(turn)
            except BaseException:  # Ctrl-C
                turnstile.leave(turn)
                raise

    def queue(self, request: Request) -> None:
        """Have a request stored by the writer thread; never waits."""
        self._queue.put(request)

    def join(self, timeout: float | None) -> bool:
        """Wait until nothing is queued; False after `timeout` seconds."""
        return self._queue.join(timeout)

    def flush(self, timeout: float | None) -> bool:
        """Wait for what is queued by now; False after `timeout` seconds."""
        return self._queue.flush(timeout)

    def _work(self, batch: list[Request]) -> None:
        try:
            self._prepare()
            with self._storage.turnstile.turn():
                self._commit(batch)
        except BaseException as error:  # e.g. a definition that cannot be recorded: nothing may overtake it
            for request in batch:
                if not request.appended:
                    request.error = request.error or error
        try:
            self._committed(batch)
        finally:
            for request in batch:
                try:
                    request.done()
                except Exception:  # e.g. the loop that waited was closed; what is stored is stored
                    _log.warning("nobody was left to hear of a publish", exc_info=True)

    def _commit(self, batch: list[Request]) -> None:
        """Store a batch in one commit; each request ends with a result or an error of its own."""
        try:
            self._storage.custody.room.check()
            self._storage.commit(self._append, batch)
        except BaseException as error:
            if _can_be_repeated(error) and self._again(batch):
                return
            for request in batch:
                request.appended = []
                request.error = request.error or _told(error, request)
            if not isinstance(error, Exception):
                raise

    def _again(self, batch: list[Request]) -> bool:
        """After a commit whose outcome is open: open the log anew, and look or do it again; True if it is stored.

        Each event has its id already, so that it is stored once, whichever of the two commits it was.
        """
        if self._storage.location.memory:
            return False
        try:
            self._storage.custody.recover()
            if not self._is_there(batch):
                self._storage.commit(self._append, batch)
        except EventBusError as error:
            _log.warning("a commit failed, and once more after the log was opened anew: %s", error)
            return False
        return True

    def _is_there(self, batch: list[Request]) -> bool:
        """True if what this process has appended last is in the log: then all of it is, it was one commit."""
        written = [each for request in batch for each in request.appended if each.row is not None]
        if not written:
            return False
        with self._storage.reading() as connection:
            row = reading.one(connection, written[0].draft.id)
        return row is not None and row[0] == written[0].receipt.position

    def _append(self, connection: sqlite3.Connection, batch: list[Request]) -> None:
        now = iso(self._storage.clock.time())
        for request in batch:
            request.appended, request.error = [], None  # of the first try, if this is the second
            try:
                request.appended = self._storage.appender.append(connection, request.drafts, now)
            except EventBusError as error:  # raised before its first row was written
                request.error = error


def _told(error: BaseException, request: Request) -> BaseException:
    """The error for one of the requests that shared a failed commit."""
    if isinstance(error, LogError) and _can_be_repeated(error) and request.drafts:
        draft = request.drafts[0]
        doubt = PublishInDoubt(draft.key or draft.id, error.what)
        doubt.__cause__ = error
        return doubt
    return error


def _can_be_repeated(error: BaseException) -> bool:
    """True for a commit in doubt: each event is stored once, however often it is tried.

    Not in a file that is another one now: it would be stored in this one, too.
    """
    return isinstance(error, LogError) and error.stored == "in doubt" and not isinstance(error, LogReplaced)


def _nothing() -> None:
    """The caller is looking at the request itself."""
