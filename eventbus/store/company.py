"""Whether another process has a log open as well, asked often.

To read what the system lists of all locks takes milliseconds on a machine with many. One lock can be asked about in
a microsecond, but only through a descriptor of the file, and closing one of ours would drop the locks that SQLite
holds on it. So the question goes through SQLite's own descriptor, where the system tells which one that is.
"""

from __future__ import annotations

import os
import struct
import sys

from eventbus.store.holders import is_shared

_DESCRIPTORS = "/proc/self/fd"
_LOCK = struct.Struct("hhqqi4x")  # struct flock of 64-bit Linux: type, whence, start, length, process
_CAN_ASK = sys.platform == "linux" and sys.maxsize > 1 << 32


class Company:
    """The other processes that have the log at `path` open; asked while this one has it open."""

    def __init__(self, path: str) -> None:
        self._path, self._shm = path, path + "-shm"
        self._descriptor = -1  # SQLite's, of the -shm; never closed here

    def is_there(self) -> bool:
        """True if there are any, and where the system does not tell."""
        try:
            if self._find():
                return _is_locked_elsewhere(self._descriptor)
        except OSError:
            self._descriptor = -1
        return is_shared(self._path)

    def _find(self) -> bool:
        """Have SQLite's descriptor, which is the same for as long as it has the log open; False if it is not told."""
        if not _CAN_ASK:
            return False
        wanted = os.stat(self._shm)
        if self._descriptor >= 0 and os.path.samestat(os.fstat(self._descriptor), wanted):
            return True
        self._descriptor = -1
        for name in os.listdir(_DESCRIPTORS):
            try:
                if os.path.samestat(os.stat(f"{_DESCRIPTORS}/{name}"), wanted):
                    self._descriptor = int(name)
            except FileNotFoundError:
                continue  # it was closed meanwhile, as the one of the listing itself is
        return self._descriptor >= 0


def _is_locked_elsewhere(descriptor: int) -> bool:
    """True if another process has a lock on any byte of the file; raises OSError. A process does not see its own."""
    import fcntl

    asked = _LOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    answer: bytes = fcntl.fcntl(descriptor, fcntl.F_GETLK, asked)
    kind: int = _LOCK.unpack(answer)[0]
    return kind != fcntl.F_UNLCK
