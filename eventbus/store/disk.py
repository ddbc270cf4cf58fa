"""What the operating system says about the place a log lives in, when SQLite only says "disk I/O error".

A full quota and a file size limit reach SQLite as plain I/O errors; a probe file beside the log gets
the true number. The log, its -wal and its -shm are never opened here: closing them would drop the
locks SQLite holds in this process.
"""

from __future__ import annotations

import errno
import os

_PROBE = 64 * 1024  # bytes; more than the largest page, little enough to write at once
_LITTLE = 1 << 20  # bytes of free space below which an I/O error is taken for a full disk
_sync = getattr(os, "fdatasync", os.fsync)  # as SQLite does
SIDECARS = ("-wal", "-shm", "-journal")


def space(path: str) -> tuple[int, int] | None:
    """Bytes that may still be written where `path` lies, and of how many; None where the system does not say."""
    try:
        if hasattr(os, "statvfs"):
            figures = os.statvfs(os.path.dirname(path))
            return figures.f_bavail * figures.f_frsize, figures.f_blocks * figures.f_frsize
        import shutil

        usage = shutil.disk_usage(os.path.dirname(path))
    except OSError:
        return None
    return usage.free, usage.total


def free_bytes(path: str) -> int | None:
    """Bytes that may still be written where `path` lies; None where the system does not say."""
    figures = space(path)
    return None if figures is None else figures[0]


def probe(path: str) -> OSError | None:
    """Write and sync a nameless file beside `path`; the error that met, if any."""
    import tempfile

    try:
        with tempfile.TemporaryFile(dir=os.path.dirname(path)) as file:
            file.write(b"\0" * _PROBE)
            file.flush()
            _sync(file.fileno())
    except OSError as error:
        return error
    return None


def no_room(path: str) -> str | None:
    """Why nothing more fits (disk, quota, size limit), as half a sentence; None if something does."""
    limit = _size_limit()
    for name in (path, path + "-wal"):
        if limit is not None and _size(name) + _PROBE > limit:
            return f"{os.path.basename(name)} has reached this process's limit of {limit} bytes per file"
    free = free_bytes(path)
    if free is not None and free < _LITTLE:
        return f"{free} bytes are free on the disk"
    error = probe(path)
    if error is None:
        return None
    if error.errno == errno.EDQUOT:
        return "the quota of this user is used up"
    return "no space is left on the disk" if error.errno == errno.ENOSPC else None


def unwritable(path: str) -> str | None:
    """What of the file, its folder and the files beside it this process may not write; None if all is well."""
    reason = unwritable_folder(os.path.dirname(path))
    if reason is not None:
        return reason
    for name in (path, *(path + end for end in SIDECARS)):
        before = _which(name)
        # Another process may close the log just now, which deletes what lies beside it.
        lacking = [verb for verb, mode in (("read", os.R_OK), ("write", os.W_OK)) if before and not _may(name, mode)]
        if lacking and before == _which(name):
            return f"this user may not {' or '.join(lacking)} {os.path.basename(name)}"
    return None


def closed_folder(path: str) -> str | None:
    """Why nothing can be known about `path`, as half a sentence: a folder above it that may not be entered."""
    folder = os.path.dirname(path)
    while folder != os.path.dirname(folder):
        if _which(folder) is not None and not _may(folder, os.X_OK):
            return f"this user may not enter the folder {folder}"
        folder = os.path.dirname(folder)
    return None


def unwritable_folder(folder: str) -> str | None:
    """Why no file can be made in `folder`, as half a sentence; None if one can."""
    return None if _may(folder, os.W_OK | os.X_OK) else f"this user may not write in its folder {folder}"


def _may(path: str, mode: int) -> bool:
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _which(path: str) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_ino, status.st_ctime_ns


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _size_limit() -> int | None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return None if limit == resource.RLIM_INFINITY else limit
