"""Asking a log that is only looked at, and asking again when it turns out to have changed underneath.

While no other process has the file open it is read without locks, so that looking leaves nothing behind.
A bus that starts meanwhile may change it under us: then the question is asked again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from eventbus.errors import LogCorrupt, LogError
from eventbus.store.location import Location
from eventbus.store.looking import Look, Shape
from eventbus.store.opening import look
from eventbus.store.snapshot import data_version, snapshot
from eventbus.store.soundness import BLUNDERS, blame
from eventbus.store.trouble import translate, translate_os

T = TypeVar("T")

_TRIES = 5  # a file that a starting bus is changing settles within a moment


class Asking:
    """A log, opened read-only by the first question; `opened` is what opens it."""

    def __init__(self, path: str, opened: Callable[[str], Look] = look) -> None:
        self.path = Location.of(path).path or path
        self._opened = opened
        self._connection: Look | None = None
        self._stamp: object = None
        self._version = -1

    def ask(self, question: Callable[[sqlite3.Connection], T], *, tries: int = _TRIES) -> T:
        """The answer to `question`, all of it from one moment of the log. Raises LogError."""
        connection = self._open()
        connection.patience.renew(self._size())
        try:
            with snapshot(connection):
                answer = question(connection)
        except (sqlite3.Error, LogError, UnicodeError, OverflowError) as error:
            if tries and self._changed():
                return self.ask(question, tries=tries - 1)
            if isinstance(error, LogError):
                raise
            raise self._told(connection, error) from error
        except BLUNDERS as error:
            blame(connection, self.path, error)
            raise
        return self.ask(question, tries=tries - 1) if tries and self._changed() else answer

    def has_news(self) -> bool:
        """Whether anybody has committed since this was last asked; True the first time."""
        reopened = self._connection is None or self._changed()
        version = data_version(self._open())
        news = reopened or version != self._version
        self._version = version
        return news

    def close(self) -> None:
        """Give the file back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> Look:
        if self._connection is None or self._changed():
            self.close()
            self._stamp = self._stamped()
            self._connection = self._opened(self.path)
        return self._connection

    def _changed(self) -> bool:
        return self._stamped() != self._stamp

    def _stamped(self) -> object:
        """What tells one state of the file from another; where there is a -shm, SQLite itself sees to that."""
        shape = self._shape()
        return shape.file[0] if shape.shm else shape

    def _size(self) -> int:
        shape = self._shape()
        return shape.size + (shape.wal or 0)

    def _shape(self) -> Shape:
        try:
            return Shape.of(self.path)
        except OSError as error:
            raise translate_os(self.path, error, during="look at the file") from error

    def _told(self, connection: Look, error: sqlite3.Error | ValueError | ArithmeticError) -> Exception:
        if not isinstance(error, sqlite3.Error):  # a value of the log's was asked for again
            return LogCorrupt(
                self.path, f"it holds what no log can hold: {error}.", hint="See what eventbus doctor says."
            )
        if connection.patience.is_over:
            return LogCorrupt(
                self.path,
                "reading it takes more work than a log of its size can need.",
                hint="It was not written by a bus alone; eventbus doctor says more.",
            )
        return translate(self.path, error, during="read")
