"""Which log a command is about, and how it is looked at without being touched."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from eventbus.errors import EventDefinitionError
from eventbus.store import viewing
from eventbus.store.location import Location
from eventbus.store.looking import Shape
from eventbus.store.opening import look
from eventbus.store.trouble import translate, translate_os

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])
NUMBER = click.IntRange(0, 2**63 - 1)
"""A position or a count: what SQLite's largest integer can hold."""

_TRIES = 5  # a file that a starting bus is changing settles within a moment

app_option = click.option("--app", metavar="NAME", help="The log of this app, in the platform's folder for user data.")
json_option = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")


def on_a_log(function: F) -> F:
    """Give a command [FILE], --app and --json."""
    for decorate in (json_option, app_option, click.argument("file", required=False)):
        function = decorate(function)
    return function


def given(file: str | None, app: str | None) -> str | None:
    """The path of the log that the call itself names: FILE or --app NAME."""
    if file is not None and app is not None:
        raise click.UsageError("Give either FILE or --app, not both.")
    if app is None:
        return file
    from eventbus.bus.settings import app_folder

    try:
        return str(app_folder(app) / "events.db")
    except EventDefinitionError as error:
        raise click.UsageError(f"--app: {error}") from error


def from_environment() -> str:
    """The path of the log when the call names none."""
    path = os.environ.get("EVENTBUS_LOG")
    if not path:
        raise click.UsageError("Which log? Give FILE or --app NAME, or set EVENTBUS_LOG.")
    return path


def locate(file: str | None, app: str | None) -> str:
    """The path of the log that is meant: FILE, --app NAME, or else EVENTBUS_LOG."""
    return given(file, app) or from_environment()


def file_and(words: Sequence[str], what: str, question: str) -> tuple[str | None, str]:
    """Tell [FILE] WHAT apart; `question` asks for WHAT where there is but a file."""
    if len(words) == 1:
        if os.path.isfile(words[0]):
            raise click.UsageError(f"{question} {words[0]!r} is a file.")
        return None, words[0]
    if len(words) != 2:
        raise click.UsageError(f"Give [FILE] {what}.")
    file, word = words
    return (word, file) if os.path.exists(word) and not os.path.exists(file) else (file, word)


class Look:
    """A log that is only looked at: opened read-only, and again when it turns out to have changed underneath.

    While no other process has the file open it is read without locks, so that looking leaves nothing behind.
    A bus that starts meanwhile may change it under us: then the question is asked again.
    """

    def __init__(self, path: str) -> None:
        self.path = Location.of(path).path or path
        self._connection: sqlite3.Connection | None = None
        self._stamp: object = None
        self._version = -1
        if (context := click.get_current_context(silent=True)) is not None:
            context.call_on_close(self.close)  # when the command ends, however it ends

    def ask(self, question: Callable[[sqlite3.Connection], T], *, tries: int = _TRIES) -> T:
        """The answer to `question`, all of it from one moment of the log. Raises LogError."""
        connection = self._open()
        try:
            with viewing.snapshot(connection):
                answer = question(connection)
        except sqlite3.Error as error:
            if tries and self._changed():
                return self.ask(question, tries=tries - 1)
            raise translate(self.path, error, during="read") from error
        return self.ask(question, tries=tries - 1) if tries and self._changed() else answer

    def has_news(self) -> bool:
        """Whether anybody has committed since this was last asked; True the first time."""
        reopened = self._connection is None or self._changed()
        version = viewing.data_version(self._open())
        news = reopened or version != self._version
        self._version = version
        return news

    def close(self) -> None:
        """Give the file back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> sqlite3.Connection:
        if self._connection is None or self._changed():
            self.close()
            self._stamp = self._stamped()
            self._connection = look(self.path)
        return self._connection

    def _changed(self) -> bool:
        return self._stamped() != self._stamp

    def _stamped(self) -> object:
        """What tells one state of the file from another; where there is a -shm, SQLite itself sees to that."""
        try:
            shape = Shape.of(self.path)
        except OSError as error:
            raise translate_os(self.path, error, during="look at the file") from error
        return shape.file[0] if shape.shm else shape
