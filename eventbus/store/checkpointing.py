"""When the -wal is moved into the file: at about ENOUGH_FRAMES, when nothing is going on, and by nobody but us."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable

from eventbus.store import checkpoint
from eventbus.store.readers import Readers

_LARGE = 16 << 20  # bytes of -wal that are worth a word: somebody has been reading for long

_log = logging.getLogger("eventbus.store")


class Checkpoints:
    """Told how large the -wal is after each commit; only inside the turnstile.

    The -wal is begun anew once all of it has been moved and nobody reads it, and what it is longer than
    `checkpoint.kept()` is then cut off. So one that is longer than that holds more than ENOUGH_FRAMES, whoever wrote
    them, and one that is shorter does not.
    """

    def __init__(self, path: str, readers: Readers, page_size: int, done: Callable[[], object]) -> None:
        self._path, self._readers, self._done = path, readers, done
        self._enough = max(checkpoint.kept(), checkpoint.bytes_of(checkpoint.ENOUGH_FRAMES, page_size))
        self._due_beyond = self._enough
        self._size = 0
        self._is_told = False
        self.insists = False  # another process was writing: it is done in our own next transaction
        self.owes = False  # something was committed since the last one

    def committed(self, size: int) -> bool:
        """The -wal has `size` bytes now; True if it is time."""
        self.owes = True
        if size < self._size:  # begun anew
            self._due_beyond, self._is_told = self._enough, False
        self._size = size
        return size > self._due_beyond

    def run(self, writer: sqlite3.Connection) -> bool:
        """Move what can be moved; True if that was all. `writer` is in no transaction, or has written nothing in it.

        Raises nothing: it comes beside commits, and nothing is lost by a -wal that stays longer.
        """
        self.owes = self.insists = False
        try:
            partner = self._readers.take()
            try:
                result = checkpoint.run(writer, partner)
            finally:
                self._readers.give_back(partner)
        except Exception:
            _log.warning("%s: a checkpoint failed; it is tried again later", self._path, exc_info=True)
            self._due_beyond = self._size + self._enough
            return False
        if result.busy:
            self.owes = self.insists = True
            return False
        self._due_beyond = max(self._enough, self._size)
        if result.complete:
            self._done()
        else:
            self._due_beyond += self._enough
            self._tell()
        return result.complete

    def _tell(self) -> None:
        if self._size > _LARGE and not self._is_told:
            self._is_told = True
            _log.warning(
                "%s: the -wal has grown to %d MiB, because something has been reading for long: a query whose rows"
                " were not all fetched, or a transaction that only reads",
                self._path,
                self._size >> 20,
            )
