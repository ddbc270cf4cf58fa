"""Is the open log still the file at its path? Asked after each commit, before anybody is told that it is stored.

A file that was moved, deleted or replaced takes our commits all the same, and the next process sees
nothing of them. So does a -wal that was deleted because somebody dropped SQLite's locks on it. While we
hold the log open, SQLite itself neither removes nor recreates either of them.
"""

from __future__ import annotations

import os

from eventbus.errors import LogReplaced, Stored
from eventbus.store.checkpoint import wal_bytes
from eventbus.store.location import Location

# Windows does not let go the names of files that are open.
_CAN_BE_MOVED = os.name != "nt"

_HINT = "Open the bus again; what it wrote last is in the file that was moved away, if there still is one."


class Anchor:
    """What stands at a log's path and beside it when this is made, which is once the log is open."""

    def __init__(self, location: Location) -> None:
        self._path, self._where = location.name, location.path
        self.wal_bytes = 0  # of the -wal, at the last check
        names = (location.path, location.path + "-wal") if location.path is not None and _CAN_BE_MOVED else ()
        self._seen = [(name, _identity(os.stat(name))) for name in names if os.path.exists(name)]
        self._is_lost = False

    def check(self, stored: Stored = "in doubt") -> None:
        """Raise LogReplaced, with what is known of the transaction, if something else is there now, or nothing."""
        change = self._change()
        self._is_lost = change is not None
        if change is not None:
            raise LogReplaced(self._path, f"{change} while it was open.", stored=stored, hint=_HINT)

    def check_again(self) -> None:
        """Before a transaction: raise LogReplaced if the last check did and nobody has put the file back since."""
        if self._is_lost:
            self.check("not stored")

    def _change(self) -> str | None:
        for name, seen in self._seen:
            try:
                found = os.stat(name)
            except OSError as error:
                return f"{os.path.basename(name)} was moved or deleted ({error.strerror})"
            if (found.st_ino, found.st_dev) != seen:
                return f"{os.path.basename(name)} was replaced by another file"
            self.wal_bytes = found.st_size  # of the last one, which is the -wal
        if len(self._seen) < 2:
            self.wal_bytes = wal_bytes(self._where)
        return None


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_ino, status.st_dev
