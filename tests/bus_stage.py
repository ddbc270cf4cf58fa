"""What tests of the whole bus share: a few events, a patient way to wait, and connections that fail on request."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from eventbus import event

PATIENCE = 20.0  # seconds after which a test that hangs is a test that fails

T = TypeVar("T")


@event(name="stage.Placed")
class Placed:
    number: int = 0


@event(name="stage.Paid")
class Paid:
    number: int = 0


@event(name="stage.Opened", stream="account-{account}")
class Opened:
    account: str
    owner: str = ""


@event(name="stage.Tick", kind="technical")
class Tick:
    number: int = 0


def elsewhere(function: Callable[[], T]) -> T:
    """What `function` returns or raises on a thread of its own; a test fails instead of hanging."""
    done: list[Callable[[], T]] = []

    def run() -> None:
        try:
            result = function()
        except BaseException as error:
            failure = error
            done.append(lambda: _raise(failure))
        else:
            done.append(lambda: result)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert done, "it hangs"
    return done[0]()


def _raise(error: BaseException) -> Any:
    raise error


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` that fails instead of hanging, also when the loop itself is blocked."""

    async def patiently() -> T:
        async with asyncio.timeout(PATIENCE):
            return await coroutine

    return elsewhere(lambda: asyncio.run(patiently()))


def at_once(*functions: Callable[[], object]) -> None:
    """Run functions on threads that begin together; the first error is raised."""
    start = threading.Barrier(len(functions))
    errors: list[BaseException] = []

    def work(function: Callable[[], object]) -> None:
        try:
            start.wait(PATIENCE)
            function()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(function,), daemon=True) for function in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        assert not thread.is_alive(), "it hangs"
    if errors:
        raise errors[0]


class Recorder:
    """A handler that remembers what it heard and on which thread; `heard(n)` waits until it was n times."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.threads: list[threading.Thread] = []
        self._changed = threading.Condition()

    def __call__(self, event: object) -> None:
        with self._changed:
            self.events.append(event)
            self.threads.append(threading.current_thread())
            self._changed.notify_all()

    def heard(self, count: int) -> list[Any]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.events) >= count, PATIENCE), self.events
            return list(self.events)


class Faulty(sqlite3.Connection):
    """Fails as SQLite does, where `fails` says so."""

    fails: Callable[[str], str | None] = staticmethod(lambda sql: None)

    def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
        name = type(self).fails(sql)
        if name is None:
            return super().execute(sql, *arguments)
        error = sqlite3.OperationalError("disk I/O error" if "IOERR" in name else "database or disk is full")
        error.sqlite_errorcode = getattr(sqlite3, name)
        error.sqlite_errorname = name
        raise error
