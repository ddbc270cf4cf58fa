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

_stat = os.stat

_HINT = "Open the bus again; what it wrote last is in the file that was moved away, if there still is one."


class Anchor:
    """What stands at a log's path and beside it when this is made, which is once the log is open."""

    def __init__(self, location: Location) -> None:
        self._path, self._where = location.name, location.path
        self.wal_bytes = 0  # of the -wal, at the last check
        names = (location.path, location.path + "-wal") if location.path is not None and _CAN_BE_MOVED else ()
        self._seen = [(name, *_identity(os.stat(name))) for name in names if os.path.exists(name)]
        self._has_wal = len(self._seen) > 1
        self._is_lost = False

    def check(self, stored: Stored = "in doubt") -> None:
        """Raise LogReplaced, with what is known of the transaction, if something else is there now, or nothing."""
        change: str | None = None
        name, size = "", 0
        try:
            for name, inode, device in self._seen:
                found = _stat(name)
                if found.st_ino != inode or found.st_dev != device:
                    change = f"{os.path.basename(name)} was replaced by another file"
                    break
                size = found.st_size  # of the last one, which is the -wal
        except OSError as error:
            change = f"{os.path.basename(name)} was moved or deleted ({error.strerror})"
        self.wal_bytes = size if self._has_wal else wal_bytes(self._where)
        self._is_lost = change is not None
        if change is not None:
            raise LogReplaced(self._path, f"{change} while it was open.", stored=stored, hint=_HINT)

    def check_again(self) -> None:
        """Before a transaction: raise LogReplaced if the last check did and nobody has put the file back since."""
        if self._is_lost:
            self.check("not stored")


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_ino, status.st_dev
