"""Which process delivers a subscription: a byte each of `<log>-lock`, locked by whoever does.

The system frees the locks of a process that ends, however it ends. They keep two processes from working at
once; that they could not commit both is the epoch's doing (store/subscriptions.py), so a lock file that was
deleted or copied costs only time. It is never the log itself: closing any descriptor of a file drops all
POSIX locks that the process has on it. For the same reason a process has one descriptor for each lock file,
whoever uses it. The file is empty and stays.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
import threading

from eventbus.store.location import Location
from eventbus.store.trouble import translate_os

LOCK_SUFFIX = "-lock"

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int, byte: int) -> None:
        os.lseek(descriptor, byte, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)

    def _unlock(descriptor: int, byte: int) -> None:
        os.lseek(descriptor, byte, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

    def _holder(descriptor: int, byte: int) -> int | None:
        return 0  # nobody tells

else:
    import fcntl

    _FLOCK = "@hhqqi0q"  # struct flock with 64-bit offsets: type, whence, start, length, process

    def _lock(descriptor: int, byte: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)

    def _unlock(descriptor: int, byte: int) -> None:
        fcntl.lockf(descriptor, fcntl.LOCK_UN, 1, byte)

    def _holder(descriptor: int, byte: int) -> int | None:
        if sys.platform != "linux":
            return 0  # the layout of what the system answers is another one everywhere
        asked = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, asked))
        return None if kind == fcntl.F_UNLCK else max(int(pid), 0)


_lock_files: dict[str, _LockFile] = {}
_guard = threading.Lock()


def is_delivered(path: str, row_id: int) -> bool | None:
    """True if a process holds the lease of this subscription of the log at `path`; None where nobody tells.

    Asked of the lock itself, not of /proc/locks, which leaves out what processes of another container hold.
    """
    name = path + LOCK_SUFFIX
    if sys.platform != "linux":
        return None
    with _guard:  # nobody here may take a lease meanwhile: closing the descriptor would drop it
        file = _lock_files.get(name)
        if file is not None:
            return file.holder(row_id) is not None
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError:
            return None
        try:
            return _holder(descriptor, row_id) is not None
        except OSError:
            return None
        finally:
            os.close(descriptor)


class Leases:
    """The subscriptions that this engine may deliver; in memory, where nobody else is, all of them.

    Bytes of another file than `<log>-lock` can be leased in the same way, with its `suffix`.
    """

    def __init__(self, location: Location, suffix: str = LOCK_SUFFIX) -> None:
        self._path = None if location.path is None else location.path + suffix
        self._file: _LockFile | None = None

    def descriptor(self) -> int:
        """That of the file, which is made if need be; not in memory. Raises LogError."""
        with _guard:
            return self._opened().descriptor

    def _opened(self) -> _LockFile:
        assert self._path is not None
        if self._file is None:
            self._file = _lock_files.get(self._path) or _LockFile(self._path)
            _lock_files[self._path] = self._file
            self._file.users.add(self)
        return self._file

    def take(self, row_id: int) -> bool:
        """True if the subscription is ours now, or was already. Never waits. Raises LogError."""
        if self._path is None:
            return True
        with _guard:
            return self._opened().take(row_id, self)

    def holder(self, row_id: int) -> int | None:
        """The process that has the subscription; 0 where the system does not tell which, None if it is free."""
        with _guard:
            return 0 if self._file is None else self._file.holder(row_id)

    def give_up(self, row_id: int) -> None:
        """Let another process have it."""
        with _guard:
            if self._file is not None:
                self._file.give_up(row_id, self)

    def forget(self) -> None:
        """In a fork: nothing is held here."""
        self._file = None

    def close(self) -> None:
        """Give everything up."""
        with _guard:
            file, self._file = self._file, None
            if file is not None:
                for row_id in [row_id for row_id, who in file.holders.items() if who is self]:
                    file.give_up(row_id, self)
                file.users.discard(self)
                if not file.users:
                    _lock_files.pop(file.path, None)
                    file.close()


class _LockFile:
    """The one descriptor that this process has of a lock file."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.users: set[Leases] = set()
        self.holders: dict[int, Leases] = {}
        self.descriptor = _open(path)

    def take(self, row_id: int, who: Leases) -> bool:
        if self._was_replaced():
            anew = _open(self.path)
            os.dup2(anew, self.descriptor, inheritable=False)  # whoever has the number may go on using it
            os.close(anew)
            self.holders = {held: owner for held, owner in self.holders.items() if self._try(held)}
        holder = self.holders.get(row_id)
        if holder is not None:  # perhaps of another engine of this process, which is closing
            return holder is who
        if not self._try(row_id):
            return False
        self.holders[row_id] = who
        return True

    def _try(self, row_id: int) -> bool:
        try:
            _lock(self.descriptor, row_id)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK):
                return False
            raise translate_os(self.path, error, during="lock a byte of the lock file") from error
        return True

    def holder(self, row_id: int) -> int | None:
        return os.getpid() if row_id in self.holders else _holder(self.descriptor, row_id)

    def give_up(self, row_id: int, who: Leases) -> None:
        if self.holders.get(row_id) is who:
            del self.holders[row_id]
            _unlock(self.descriptor, row_id)

    def _was_replaced(self) -> bool:
        """True if somebody deleted the file: whoever comes now would lock another one."""
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return True
        here = os.fstat(self.descriptor)
        return (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino)

    def close(self) -> None:
        os.close(self.descriptor)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
    except OSError as error:
        raise translate_os(path, error, during="open the lock file") from error


def _forget_parents_locks() -> None:
    """In a fork, which inherits the descriptors and none of the locks."""
    global _guard
    _guard = threading.Lock()
    for file in _lock_files.values():
        for leases in file.users:
            leases.forget()
        file.close()
    _lock_files.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_locks)
