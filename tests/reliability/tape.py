"""What recorder.c has noted, as values."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path

import attrs

_RECORD = struct.Struct("=IIQQQ")


class Kind(IntEnum):
    """As in recorder.c."""

    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC = 4
    SYNC_FOLDER = 5
    RENAME = 6
    UNLINK = 7


@attrs.frozen
class Step:
    """One thing that was done to a folder: `inode` says to which file, `names` are relative to the folder."""

    kind: Kind
    inode: int
    offset: int
    length: int
    names: tuple[str, ...]
    data: bytes


def read(path: Path) -> Iterator[Step]:
    """All of a tape, in the order in which it was done."""
    tape = path.read_bytes()
    at = 0
    while at < len(tape):
        kind, name_length, inode, offset, length = _RECORD.unpack_from(tape, at)
        at += _RECORD.size
        names = tape[at : at + name_length].decode().split("/") if name_length else []
        at += name_length
        size = length if kind == Kind.WRITE else 0
        yield Step(Kind(kind), inode, offset, length, tuple(names), tape[at : at + size])
        at += size
    assert at == len(tape), "the tape ends in the middle of a record"
