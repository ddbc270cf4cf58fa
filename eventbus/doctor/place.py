"""What the system says about the place of a log, by `os.stat` and /proc alone: the file itself is not opened here."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence

import attrs

from eventbus.doctor.finding import Finding, some
from eventbus.store import checkpoint, disk, holders, lockfile, walfile, witness
from eventbus.store.location import Location
from eventbus.store.looking import Shape
from eventbus.store.mounts import network_type

_ROOM = 64 << 20  # bytes that a log wants free, or twice its -wal
_LONG_WAL = 4 * checkpoint.ENOUGH_FRAMES * 4096  # bytes; checkpoints keep it well below
_BESIDE = ("", *disk.SIDECARS, lockfile.LOCK_SUFFIX, witness.SUFFIX)


@attrs.frozen
class Holders:
    """The processes that have the log open, and those that are inside a read transaction, as far as can be told."""

    open: frozenset[int]
    reading: frozenset[int]

    @classmethod
    def of(cls, path: str) -> Holders:
        """As it is now; ask before the log is opened to be examined."""
        return cls(frozenset(holders.who_has_open(path)), frozenset(holders.who_reads(path)))


def look_around(given: str, location: Location, held: Holders) -> Iterator[Finding]:
    """What is wrong with the place. Raises OSError where even looking is not allowed."""
    path = location.name
    shape = Shape.of(path)
    yield from _names(given, path)
    yield from _rights(path)
    yield from _room(path, shape)
    yield from _beside(path, shape, held)


def network(path: str) -> Iterator[Finding]:
    """The one finding that ends an examination: nothing is opened there."""
    found = network_type(path)
    if found is not None:
        yield Finding(
            "network",
            "look",
            f"The file lies on a network file system ({found}), where locks cannot be trusted: a bus refuses it.",
            "Keep the log on a local disk. It was not examined further.",
            {"file_system": found},
        )


def _names(given: str, path: str) -> Iterator[Finding]:
    if os.path.islink(given):
        yield Finding(
            "symlink",
            "note",
            f"{given} is a symbolic link to {path}.",
            "What belongs to the log (-wal, -shm, -lock) lies beside the real file; copy and move it there.",
            {"target": path},
        )
    links = os.stat(path).st_nlink
    if links > 1:
        yield Finding(
            "hard-links",
            "look",
            f"The file has {links} names (hard links). A process that opens it by another one uses another -wal, which"
            " damages the log.",
            "Keep one of the names and delete the others while no process has the log open.",
            {"links": links},
        )


def _rights(path: str) -> Iterator[Finding]:
    if os.name == "nt":  # rights are not modes there
        return
    there = {name: os.stat(name) for name in (path + end for end in _BESIDE) if os.path.exists(name)}
    open_to_others = [os.path.basename(name) for name, status in there.items() if status.st_mode & 0o077]
    if open_to_others:
        yield Finding(
            "modes",
            "look",
            f"Other users of this machine may read or write {some(open_to_others)}.",
            "chmod 600, if that is not meant.",
            {
                name: f"{stat.S_IMODE(there[os.path.join(os.path.dirname(path), name)].st_mode):04o}"
                for name in open_to_others
            },
        )
    owner = there[path].st_uid
    foreign = [os.path.basename(name) for name, status in there.items() if status.st_uid != owner]
    if foreign:
        yield Finding(
            "owners",
            "look",
            f"{some(foreign)} belongs to another user than the log, as after a start with sudo.",
            "Give it the log's owner, or the log's own user may be refused.",
        )
    folder = os.stat(os.path.dirname(path)).st_mode
    if folder & 0o022 and not folder & stat.S_ISVTX:
        yield Finding(
            "folder",
            "look",
            "Other users may replace or delete the log: they may write in its folder.",
            "chmod 700 the folder, if that is not meant.",
            {"mode": f"{stat.S_IMODE(folder):04o}"},
        )


def _room(path: str, shape: Shape) -> Iterator[Finding]:
    free, wanted = disk.free_bytes(path), max(_ROOM, 2 * (shape.wal or 0))
    if free is not None and free < wanted:
        yield Finding(
            "space",
            "look",
            f"Only {free >> 20} MiB are free on the disk.",
            f"Free some: a log wants {wanted >> 20} MiB, to move its -wal into the file.",
            {"free_bytes": free},
        )


def _beside(path: str, shape: Shape, held: Holders) -> Iterator[Finding]:
    if shape.journal:
        yield Finding(
            "journal",
            "look",
            "A -journal lies beside the file: a transaction was cut off, or is open, outside WAL mode.",
            "Keep both together and open the log with its application, which takes that transaction back.",
            {"bytes": shape.journal},
        )
    if shape.has_frames and not shape.shm and not _has_commit(path + "-wal"):
        yield Finding(
            "wal-unreadable",
            "look",
            "There is a -wal beside the file, and no commit can be read from it.",
            "Keep a copy of both: who opens the log deletes that -wal. What was only in it is lost, unless another copy"
            " of it is whole.",
        )
    elif shape.has_frames and not held.open and holders.tells():
        yield Finding(
            "not-closed",
            "note",
            "No process has the log open, and its -wal is not empty: the last one ended without closing it.",
            "Nothing is lost while both files stay together; the next start brings them into one.",
        )
    if (shape.wal or 0) > _LONG_WAL:
        yield _long_wal(shape.wal or 0, held)


def _has_commit(path: str) -> bool:
    try:
        return walfile.has_commit(path)
    except OSError:
        return False


def _long_wal(size: int, held: Holders) -> Finding:
    reading = [holders.described(pid) for pid in sorted(held.reading)]
    who = f" In a read transaction now: {some(reading)}." if reading else _nobody(sorted(held.open))
    return Finding(
        "wal",
        "look",
        f"The -wal has {size >> 20} MiB: it could not be brought into the file, as when somebody reads on and on.{who}",
        "End the long read, such as a cursor or a transaction that was left open; the bus then empties it by itself.",
        {"bytes": size, "reading": sorted(held.reading), "open": sorted(held.open)},
    )


def _nobody(pids: Sequence[int]) -> str:
    if not pids:
        return " No process is seen to have the log open."
    return f" Open in {some([holders.described(pid) for pid in pids])}, of which none reads just now."
