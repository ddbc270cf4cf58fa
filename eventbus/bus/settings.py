"""What the settings of a bus may be."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from eventbus.errors import EventDefinitionError
from eventbus.store.drafter import trouble_with_name

if TYPE_CHECKING:
    from pathlib import Path


def check_settings(
    path: object, durability: object, delivery: object, migrations: object, errors: object, source: object, size: object
) -> None:
    """Raise EventDefinitionError for the first that is none; `size` is `max_payload`."""
    if path is not None:
        check_path(path)
    _check("durability", durability, ("power", "process"))
    _check("delivery", delivery, ("thread", "manual"))
    _check("errors", errors, ("log", "raise"))
    trouble = None if source is None else trouble_with_name(source)
    if trouble is not None:
        raise EventDefinitionError(f"source= {trouble}.")
    if type(size) is not int or size < 1:
        raise EventDefinitionError(f"max_payload= is a number of bytes of at least 1, not {size!r}.")
    if migrations is not None and not callable(getattr(migrations, "apply", None)):
        raise EventDefinitionError(f"migrations= is a sqlite_utils.Migrations, not {migrations!r}.")


def check_path(path: object) -> None:
    """Raise EventDefinitionError for what is no path."""
    if not isinstance(path, str | os.PathLike):
        raise EventDefinitionError(f"The path of the log is a str or a pathlib.Path, not {path!r}.")
    try:
        os.fsencode(path)  # pyright: ignore[reportUnknownArgumentType] - of str or bytes, and both will do
    except UnicodeEncodeError as error:
        raise EventDefinitionError(f"{path!a} is not the path of a file: {error.reason}.") from error


def source_of(path: str | None) -> str:
    """Who publishes to the log at `path` unless told: the file's stem, its bytes that are no text replaced."""
    stem = os.path.splitext(os.path.basename(path))[0] if path else "memory"
    return os.fsencode(stem).decode(errors="replace") or "app"


def app_folder(name: object, author: object = None) -> Path:
    """The platform's folder for the data of an app; EventDefinitionError for what would lead out of it."""
    from platformdirs import user_data_path

    app = _folder_name("The name of an app", name)
    return user_data_path(app, False if author is None else _folder_name("The author of an app", author))


def _folder_name(what: str, name: object) -> str:
    if isinstance(name, str) and name.isprintable() and name.strip(". ") and not set(name) & set("/\\"):
        return name
    raise EventDefinitionError(
        f"{what} is the name of a folder in the platform's folder for user data, and {name!r} is none.",
        hint="Give printable characters without a slash.",
    )


def _check(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise EventDefinitionError(f"{name}= is one of {', '.join(map(repr, allowed))}, not {value!r}.")
