"""Which log a command is about, and how it is looked at without being touched."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from eventbus.errors import EventDefinitionError
from eventbus.store.asking import Asking

F = TypeVar("F", bound=Callable[..., Any])
NUMBER = click.IntRange(0, 2**63 - 1)
"""A position or a count: what SQLite's largest integer can hold."""

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


class Look(Asking):
    """A log that a command only looks at; it is given back when the command ends, however it ends."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        if (context := click.get_current_context(silent=True)) is not None:
            context.call_on_close(self.close)
