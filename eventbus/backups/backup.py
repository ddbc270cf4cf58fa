"""Taking a backup: of a log that a bus has open, or of a file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import attrs

from eventbus.errors import LogError, NotAnEventLog
from eventbus.store.asking import Asking
from eventbus.store.copying import Copied, Progress, copy
from eventbus.store.location import Location
from eventbus.store.opening import peek
from eventbus.store.placing import in_place_of
from eventbus.store.recognise import recognise
from eventbus.store.storage import Storage


@attrs.frozen
class Backup:
    """A copy of a log at `path`, of `bytes` bytes: which log and incarnation, how many events, the last position."""

    path: str
    log_id: str
    incarnation: int
    events: int
    last_position: int
    bytes: int


def back_up(
    storage: Storage, path: str | os.PathLike[str], *, replace: bool = False, progress: Progress | None = None
) -> Backup:
    """Copy a log that is open here. Raises LogError, and leaves what is at `path` as it was then."""
    into = _elsewhere(path, storage.location)
    with in_place_of(into, replace=replace) as temporary, storage.reading() as connection:
        copied = copy(connection, temporary, into.name, progress)
    return _taken(into, copied)


def back_up_file(
    file: str | os.PathLike[str],
    path: str | os.PathLike[str],
    *,
    replace: bool = False,
    progress: Progress | None = None,
) -> Backup:
    """Copy a log without opening it as a bus does: nothing of it is changed, whoever has it open and whatever release
    made it. Raises LogError, and leaves what is at `path` as it was then."""
    into = _elsewhere(path, Location.of(file))
    with closing(Asking(os.fsdecode(file), peek)) as asking, in_place_of(into, replace=replace) as temporary:

        def question(connection: sqlite3.Connection) -> Copied:
            if recognise(connection, asking.path, adopt=False) is None:
                raise NotAnEventLog(asking.path, "there is no log in it.")
            return copy(connection, temporary, into.name, progress)

        copied = asking.ask(question)
    return _taken(into, copied)


def _elsewhere(path: str | os.PathLike[str], log: Location) -> Location:
    into = Location.of(path)
    if _is_same(into.path, log.path):
        raise LogError(into.name, "this is the log itself.", hint="A backup needs another file.")
    return into


def _is_same(one: str | None, other: str | None) -> bool:
    there = one is not None and other is not None and os.path.exists(one) and os.path.exists(other)
    return bool(there and os.path.samefile(str(one), str(other)))


def _taken(into: Location, copied: Copied) -> Backup:
    size = os.stat(into.name).st_size
    return Backup(into.name, copied.log_id, copied.incarnation, copied.events, copied.last_position, size)
