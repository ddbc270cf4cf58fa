"""Who holds a lock on a log, as far as the system tells."""

from __future__ import annotations

import os
from collections.abc import Callable

_WRITE_LOCK = 120  # the byte of the -shm that SQLite locks while a transaction writes (walformat, WAL_WRITE_LOCK)
_FIRST_READ_LOCK, _LAST_READ_LOCK = 123, 127  # WAL_READ_LOCK(0) to (4): who reads holds one of them
_OPEN = 128  # who has the -shm open holds this byte (UNIX_SHM_DMS)
_RESERVED = 0x40000001  # the byte of the file itself, for a log that is not in WAL mode yet (os.h, RESERVED_BYTE)
_LOCKS = "/proc/locks"


def who_writes(path: str) -> str:
    """Who may hold the write lock, as words for an error message; names processes where Linux lists them."""
    pids = sorted(_pids(path))
    if not pids:
        return "another process, or a connection of this one with a transaction open"
    return " and ".join(_described(pid) for pid in pids)


def is_live(path: str) -> bool:
    """True if the system shows that a process has the log open; False also where it does not tell."""
    key = _key(path + "-shm")
    return key is not None and any(key in line.split() for line in _locks().splitlines())


def is_shared(path: str) -> bool:
    """True if another process has the log open, and where the system does not tell.

    A process that has it open locks a byte of the -shm for as long.
    """
    key, me = _key(path + "-shm"), str(os.getpid())
    pids = {line.split()[-4] for line in _locks().splitlines() if key in line.split()}
    return pids != {me}


def who_has_open(path: str) -> set[int]:
    """The processes that have the log open, this one too, as far as the system tells."""
    return _with_locks(path + "-shm", lambda first, last: first <= _OPEN <= last)


def who_reads(path: str) -> set[int]:
    """The processes inside a read transaction, this one too, as far as the system tells."""
    return _with_locks(path + "-shm", lambda first, last: first <= _LAST_READ_LOCK and last >= _FIRST_READ_LOCK)


def _with_locks(name: str, covers: Callable[[int, float], bool]) -> set[int]:
    key = _key(name)
    found: set[int] = set()
    for words in (line.split() for line in _locks().splitlines()) if key else ():
        if len(words) == 8 and words[5] == key and words[4].isdigit() and int(words[4]) > 0:
            last = float("inf") if words[7] == "EOF" else int(words[7])
            if covers(int(words[6]), last):
                found.add(int(words[4]))
    return found


def described(pid: int) -> str:
    """A process as a message names it: its number and, where the system tells, the name of its program."""
    return _described(pid)


def is_open_by_another_name(path: str) -> bool:
    """True if the system shows that a process has this file open as a log, but not by this name (a hard link).

    One that has it open by this name has locked a byte of the -shm beside it as well.
    """
    locks = _locks()
    return bool(_locking(locks, path) - _locking(locks, path + "-shm"))


def _locking(locks: str, name: str) -> set[str]:
    key = _key(name)
    return {line.split()[-4] for line in locks.splitlines() if key is not None and key in line.split()}


def writing_pids(locks: str, key: str, byte: int) -> set[int]:
    """The processes that /proc/locks (its text is `locks`) shows with a write lock on `byte` of file `key`."""
    found: set[int] = set()
    for line in locks.splitlines():
        words = line.split()  # nine words where "->" marks one who waits for the lock
        if len(words) != 8 or words[3] != "WRITE" or words[5] != key:
            continue
        last = float("inf") if words[7] == "EOF" else int(words[7])
        if int(words[6]) <= byte <= last and words[4].isdigit() and int(words[4]) > 0:
            found.add(int(words[4]))
    return found


def _pids(path: str) -> set[int]:
    locks = _locks()
    found: set[int] = set()
    for name, byte in ((path + "-shm", _WRITE_LOCK), (path, _RESERVED)):
        key = _key(name)
        if key is not None:
            found |= writing_pids(locks, key, byte)
    return found


def _locks() -> str:
    try:
        with open(_LOCKS, encoding="ascii") as file:
            return file.read()
    except OSError:
        return ""


def _key(name: str) -> str | None:
    """The file as /proc/locks spells it."""
    try:
        status = os.stat(name)
    except OSError:
        return None
    return f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"


def _described(pid: int) -> str:
    if pid == os.getpid():
        return "a connection of this process with a transaction open"
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return f"process {pid} ({file.read().strip()})"
    except OSError:
        return f"process {pid}"


def tells() -> bool:
    """True where the system lists who holds which lock."""
    return os.path.exists(_LOCKS)
