"""`bus.transaction()`: the app's rows and its events in one commit, from a thread or on a loop."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from contextvars import Token
from types import TracebackType
from typing import Any, Generic, TypeVar

from eventbus.clock import iso
from eventbus.dispatch import nesting
from eventbus.engine import Engine
from eventbus.errors import EventBusError, WouldDeadlock
from eventbus.store.drafter import Drafter
from eventbus.store.drafts import Appended
from eventbus.store.guest import Guest
from eventbus.store.transaction import Transaction, open_transaction, still_there
from eventbus.store.turnstile import Turn
from eventbus.threads import aside, off_the_loop, running_loop

T = TypeVar("T")

_log = logging.getLogger("eventbus.bus")


class OpenTransaction:
    """What `with bus.transaction()` and `async with bus.transaction()` enter; used once."""

    def __init__(self, engine: Callable[[], Engine], drafter: Drafter, tell: Callable[[list[Appended]], None]) -> None:
        self._make_engine, self._drafter, self._tell = engine, drafter, tell
        self._stay: _Stay | None = None
        self._end_of_stay: Generator[None, None, None] | None = None
        self._token: Token[Transaction | None] | None = None

    # -- from a thread -----------------------------------------------------------------------------
    def __enter__(self) -> Transaction:
        self._refuse_again()
        engine = self._make_engine()
        _refuse_inside(engine)
        engine.settle()
        stay, end = self._prepare(engine, Turn(running_loop()))
        try:
            engine.storage.turnstile.enter(stay.turn)
            stay.begin()
            return self._opened()
        except BaseException:
            end.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._refuse_more()
        try:
            appended = self._end(error is None)
        finally:
            self._left()
        self._tell(appended)

    # -- on a loop ---------------------------------------------------------------------------------
    async def __aenter__(self) -> Transaction:
        import asyncio

        self._refuse_again()
        engine = await off_the_loop(self._make_engine, "open")
        _refuse_inside(engine)
        await off_the_loop(engine.settle)
        stay, end = self._prepare(engine, Turn())
        try:
            await engine.storage.turnstile.enter_async(stay.turn)
        except BaseException:
            end.close()
            raise
        opening = _Handover(self._begin_or_leave, dropped=lambda _: self._end(False))
        try:
            await opening.result()
        except asyncio.CancelledError:
            opening.drop()
            raise
        return self._opened()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        import asyncio

        self._refuse_more()
        # A commit that nobody waits for any more goes on in its thread, and those who listen hear of it.
        ending = _Handover(lambda: self._end(error is None), dropped=self._tell_later)
        try:
            appended = await ending.result()
        except asyncio.CancelledError:
            ending.drop()
            raise
        finally:
            self._left()
        self._tell(appended)

    def _begin_or_leave(self) -> None:
        assert self._stay is not None
        assert self._end_of_stay is not None
        try:
            self._stay.begin()
        except BaseException:
            self._end_of_stay.close()
            raise

    def _tell_later(self, appended: list[Appended]) -> None:
        assert self._stay is not None
        self._stay.engine.tell_later(appended)

    # -- both --------------------------------------------------------------------------------------
    def _refuse_again(self) -> None:
        if self._stay is not None:
            raise EventBusError(
                "This transaction was entered before.", stored="not stored", hint="Call bus.transaction() for each one."
            )

    def _prepare(self, engine: Engine, turn: Turn) -> tuple[_Stay, Generator[None, None, None]]:
        self._stay = stay = _Stay(engine, self._drafter, turn)
        self._end_of_stay = end = _ended(stay)
        next(end)
        return stay, end

    def _opened(self) -> Transaction:
        assert self._stay is not None
        assert self._stay.transaction is not None
        self._token = open_transaction.set(self._stay.transaction)
        return self._stay.transaction

    def _refuse_more(self) -> None:
        if self._stay is None or self._stay.transaction is None:
            raise EventBusError("This transaction is left before it began.", stored="not stored")
        self._stay.transaction.is_open = False

    def _left(self) -> None:
        # Whoever leaves in another context than they entered has nothing to set back here.
        with suppress(ValueError):
            if self._token is not None:
                open_transaction.reset(self._token)

    def _end(self, commit: bool) -> list[Appended]:
        """Commit or roll back, and leave the turnstile; returns what is stored."""
        assert self._stay is not None
        assert self._end_of_stay is not None
        try:
            stored = self._stay.commit() if commit else []
        finally:
            self._end_of_stay.close()
        if commit:
            self._stay.engine.note(stored)
            self._stay.engine.stored()
        return stored


class _Stay:
    """A turn in the file: asked for, with a transaction open, or over."""

    def __init__(self, engine: Engine, drafter: Drafter, turn: Turn) -> None:
        self.engine, self.turn, self._drafter = engine, turn, drafter
        self.transaction: Transaction | None = None
        self._guest: Guest | None = None
        self._appended: list[Appended] = []

    def begin(self) -> None:
        """Begin, inside the turnstile."""
        self.engine.check()
        self._guest = self.engine.storage.begin_guest(None, synced=True)
        self.transaction = Transaction(self._guest, self._publish)

    def commit(self) -> list[Appended]:
        """Commit; returns what is stored."""
        assert self._guest is not None
        self._guest.check()
        stored = still_there(self._guest, self._appended)
        self.engine.storage.commit_guest(self._guest)
        return stored

    def abandon(self) -> None:
        """Undo what is not committed, and leave the turnstile; does nothing the second time, nor in a fork."""
        if self.engine.pid != os.getpid():
            return
        if self.transaction is not None:
            self.transaction.is_open = False
        if self._guest is not None:
            self.engine.storage.roll_back_guest(self._guest)
            self._guest = None
        self.engine.storage.turnstile.leave(self.turn)

    def _publish(self, event: object, **how: Any) -> str:
        assert self._guest is not None
        draft = self._drafter.draft(event, **how)
        nesting.refuse_deeper(draft.type.name)
        storage = self.engine.storage
        storage.custody.room.check()
        with self._guest.ours():
            found = storage.appender.append(self._guest.connection, [draft], iso(storage.clock.time()))
        self._appended.extend(found)
        return found[0].receipt.id


def _ended(stay: _Stay) -> Generator[None, None, None]:
    """Ends a stay when it is closed, or when nothing refers to it any more.

    Ctrl-C may come as a `with` block ends, before its `__exit__` can catch it: then nobody closes this, and it
    goes away with the block. A generator, as a `__del__` would be called after each transaction, and would
    swallow a Ctrl-C that comes there.
    """
    try:
        yield
    finally:
        try:
            stay.abandon()
        except BaseException:  # Ctrl-C
            stay.abandon()
            raise


def _refuse_inside(engine: Engine) -> None:
    if engine.storage.has_open_here():
        raise WouldDeadlock(
            "A transaction is open here already; another one would wait for it for ever.",
            hint="Use the open one: pass tx along.",
        )


def refuse_in_transaction(engine: Engine | None, verb: str, instead: str) -> None:
    """Raise WouldDeadlock where `verb` was called inside an open transaction of the same log."""
    if engine is not None and engine.storage.has_open_here():
        raise WouldDeadlock(f"{verb} was called inside an open transaction, and would wait for it.", hint=instead)


def refuse_on_a_loop(verb: str, instead: str) -> None:
    """Raise WouldDeadlock where `verb` would block a running event loop."""
    if running_loop() is not None:
        raise WouldDeadlock(f"{verb} would block the event loop that runs here.", hint=f"Use {instead}.")


class _Handover(Generic[T]):
    """Something done on a thread of ours; what came of it goes to whoever waits, or to `dropped` if nobody does."""

    def __init__(self, work: Callable[[], T], *, dropped: Callable[[T], object]) -> None:
        self._work, self._dropped = work, dropped
        self._lock = threading.Lock()
        self._is_dropped = False
        self._done: list[T] = []

    async def result(self) -> T:
        """Do it; it is done to the end even if the waiting is cancelled."""
        return await off_the_loop(self._run, "turn")

    def drop(self) -> None:
        """Nobody waits any more."""
        with self._lock:
            self._is_dropped, done = True, list(self._done)
        for value in done:
            aside(lambda value=value: self._let_go(value), "turn")  # type: ignore[misc]

    def _run(self) -> T:
        try:
            value = self._work()
        except BaseException:
            if self._is_dropped:
                _log.exception("a transaction whose task was cancelled failed")
            raise
        with self._lock:
            self._done.append(value)
            dropped = self._is_dropped
        if dropped:
            self._let_go(value)
        return value

    def _let_go(self, value: T) -> None:
        self._dropped(value)
