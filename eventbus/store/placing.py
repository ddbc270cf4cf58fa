"""A new file of ours: made under another name, private from its first byte on, and put into place when it is whole."""

from __future__ import annotations

import logging
import os
import uuid
from collections.abc import Generator
from contextlib import contextmanager

from eventbus.errors import LogBusy, LogCorrupt, LogError, LogIOError, NotAnEventLog
from eventbus.store.disk import SIDECARS
from eventbus.store.holders import is_live
from eventbus.store.location import Location
from eventbus.store.looking import Shape
from eventbus.store.trouble import translate_os

_NOTHING_CHANGED = "Nothing was changed."

_log = logging.getLogger("eventbus.store")


@contextmanager
def in_place_of(location: Location, *, replace: bool = False) -> Generator[Location, None, None]:
    """Yields where to make the file, empty and 0600; when the block ends well, it stands at `location`, synced.

    A file that is there is refused unless it may be replaced, and always while a bus has it open. Raises LogError.
    """
    path = location.path
    if path is None:
        raise NotAnEventLog(location.name, "this is not the path of a file.")
    refuse(path, replace=replace)
    temporary = f"{path}.{uuid.uuid4().hex[:8]}.part"
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o600))
    except OSError as error:
        raise translate_os(path, error, during="make the file") from error
    try:
        yield Location.of(temporary)
        refuse(path, replace=replace)
        _move(temporary, path, replace=replace)
    except BaseException:
        left = _remove(temporary)
        if left is not None:  # the error that brought us here matters more
            _log.warning("%s could not be removed: %s", left.filename, left.strerror)
        raise
    left = _remove(temporary)
    if left is not None:
        raise LogIOError(
            path,
            f"it is whole and in its place, but {left.filename} could not be removed: {left.strerror}.",
            hint="Remove that.",
        ) from left


def _remove(temporary: str) -> OSError | None:
    """Take away what is left beside the new file; the first error that met, if any."""
    met: OSError | None = None
    for name in (temporary, *(temporary + end for end in SIDECARS)):
        try:
            os.unlink(name)
        except FileNotFoundError:
            continue
        except OSError as error:
            met = met or error
    return met


def refuse(path: str, *, replace: bool) -> None:
    """Raise LogError if no file may be put at `path`."""
    if os.path.isdir(path):
        raise NotAnEventLog(path, "this is a folder.", hint="Give the name of a file.")
    if not os.path.isdir(os.path.dirname(path)):
        raise NotAnEventLog(path, "there is no such folder.", hint="Make it first.")
    if is_live(path):
        raise LogBusy(path, "a bus has this file open.", hint=f"Choose another name. {_NOTHING_CHANGED}")
    shape = Shape.of(path)
    if shape.has_frames or shape.journal:
        # SQLite would take what is in them for part of the new file.
        raise LogCorrupt(
            path, "a -wal or -journal lies there, of a log that was not closed.", hint="Choose another name."
        )
    if os.path.lexists(path) and not replace:
        raise _taken(path)


def _move(temporary: str, path: str, *, replace: bool) -> None:
    try:
        if replace:
            os.replace(temporary, path)
        else:
            _move_anew(temporary, path)
        _sync_folder(os.path.dirname(path))
    except FileExistsError as error:
        raise _taken(path) from error
    except OSError as error:
        raise translate_os(path, error, during="put the file into place") from error


def _move_anew(temporary: str, path: str) -> None:
    """Rename, but never over a file that somebody has made meanwhile, where the system can promise that."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links
        if os.path.lexists(path):
            raise FileExistsError(path) from None
        os.rename(temporary, path)


def _sync_folder(folder: str) -> None:
    if os.name == "nt":  # a folder cannot be opened there
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _taken(path: str) -> LogError:
    return LogError(path, "there is a file of this name already.", hint=f"Choose another name. {_NOTHING_CHANGED}")
