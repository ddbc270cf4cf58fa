"""The head witness: which position was told to somebody as stored, in a small file beside the log.

A log whose end was lost looks whole: SQLite finds nothing wrong with a -wal that is shorter, or with
last week's backup. So what was acknowledged is written down a second time, in `<log>-witness`, after the
commit and before anybody is told; without a sync, as it only has to survive what the log does not. It
names positions only, and nothing depends on it: one that is missing is normal, one that is older than
the log says nothing.

Each process that has the log open has a slot of its own, by a lock on a byte of the file, so that none
writes over what another one has told. A slot has two halves, written in turn: where one was torn by a
loss of power the other one is whole.
"""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterable, Iterator
from zlib import crc32

import attrs

from eventbus.errors import LogError
from eventbus.store.location import Location
from eventbus.store.lockfile import Leases
from eventbus.store.recognise import LogIdentity

SUFFIX = "-witness"

_MAGIC = b"EvBsWit1"
_HEAD = struct.Struct("<8s64s2Q")  # magic, log id, incarnation, where that began
_REST = struct.Struct("<3Q")  # number of the write, synced, told
_BODY = struct.Struct("<8s64s5Q")  # both
_CHECKSUM = struct.Struct("<I")
_HALF = 128  # bytes, so that no half lies across two sectors
_SLOT = 2 * _HALF
_FIRST_LOCK = 1 << 40  # far beyond the slots: on Windows a locked byte cannot be read by others
_LONGEST = 1 << 20  # bytes that are read of the file: 4,096 processes
_MOST = _LONGEST // _SLOT

_log = logging.getLogger("eventbus.store")


@attrs.frozen
class Witnessed:
    """What one process has last written down: up to `synced` it was on the disk, up to `told` acknowledged.

    `began` is the first position of the log's incarnation, 0 for the first one or where it is not known.
    """

    log_id: str
    incarnation: int
    began: int
    number: int
    synced: int
    told: int

    def packed(self) -> bytes:
        """One half of a slot."""
        body = _BODY.pack(
            _MAGIC, self.log_id.encode(), self.incarnation, self.began, self.number, self.synced, self.told
        )
        return body + _CHECKSUM.pack(crc32(body))

    @classmethod
    def unpacked(cls, half: bytes) -> Witnessed | None:
        """What a half says; None for one that is not whole, or not written yet."""
        body = half[: _BODY.size]
        if len(half) < _BODY.size + _CHECKSUM.size or not body.startswith(_MAGIC):
            return None
        if _CHECKSUM.unpack_from(half, _BODY.size) != (crc32(body),):
            return None
        _, log_id, *numbers = _BODY.unpack(body)
        return cls(log_id.rstrip(b"\0").decode(errors="replace"), *numbers)


def slots(content: bytes) -> Iterator[tuple[int, list[Witnessed]]]:
    """The slots of the file that were ever written, by number, with what is whole of each, the last one first."""
    for start in range(0, len(content), _SLOT):
        slot = content[start : start + _SLOT]
        if slot.strip(b"\0"):
            halves = [Witnessed.unpacked(slot[:_HALF]), Witnessed.unpacked(slot[_HALF:])]
            whole = [half for half in halves if half is not None]
            yield start // _SLOT, sorted(whole, key=lambda each: each.number, reverse=True)


def look(location: Location, log_id: str) -> list[Witnessed]:
    """All that was told of a log, for those who only look at it: nothing is written. Raises OSError or LogError."""
    if location.path is None or not os.path.exists(location.path + SUFFIX):
        return []
    leases = Leases(location, SUFFIX)  # this process may have it open, and closing a descriptor drops its locks
    try:
        content = _read(leases.descriptor(), _LONGEST, 0)
    finally:
        leases.close()
    return [whole[0] for _, whole in slots(content) if whole and whole[0].log_id == log_id]


class Witness:
    """One process's side of the file; in memory there is none. Only inside the turnstile."""

    def __init__(self, location: Location) -> None:
        self._path = None if location.path is None else location.path + SUFFIX
        self._leases = Leases(location, SUFFIX)
        self._head = (b"", 0)  # of each write, and its checksum
        self._number = self._synced = self._told = 0
        self._place: int | None = None  # where its slot begins, once it has one
        self._descriptor = -1
        self._is_off = self._path is None

    def read(self, log_id: str) -> list[Witnessed]:
        """All that was told of this log; what belongs to another one, or cannot be read, is left out with a WARNING."""
        if self._path is None or not os.path.exists(self._path):
            return []
        try:
            content = _read(self._leases.descriptor(), _LONGEST, 0)
        except (OSError, LogError) as error:
            _log.warning("%s cannot be read, and is ignored: %s", self._path, error)
            return []
        found: list[Witnessed] = []
        odd: dict[int, str] = {}
        for number, whole in slots(content):
            if whole and whole[0].log_id == log_id:
                found.append(whole[0])
            else:
                odd[number] = f"is about another log ({whole[0].log_id})" if whole else "is damaged"
        if odd:
            _log.warning("%s %s, and is ignored", self._path, " and ".join(sorted(set(odd.values()))))
            self._blank(odd)
        return found

    def begin(self, identity: LogIdentity, witnessed: Iterable[Witnessed], began: int | None = None) -> None:
        """From now on it is about this incarnation of this log, which began at a position, if that is known."""
        same = [each.began for each in witnessed if each.incarnation == identity.incarnation]
        began = max(same, default=0) if began is None else began
        head = _HEAD.pack(_MAGIC, identity.log_id.encode()[:64], identity.incarnation, began)
        self._head = head, crc32(head)

    def tell(self, position: int, *, synced: bool) -> None:
        """This is stored, and about to be told. Raises nothing: what is stored is stored."""
        if position > self._told:
            self._told = position
            if synced:
                self._synced = position
            self._write()

    def sync(self) -> None:
        """All that was told so far is on the disk."""
        if self._synced < self._told:
            self._synced = self._told
            self._write()

    def mend(self) -> None:
        """Now and then: a file that could not be written, or was deleted, is tried again."""
        if self._path is not None and (self._is_off or (self._place is not None and not os.path.exists(self._path))):
            self._leases.close()
            self._place, self._is_off = None, False

    def _write(self) -> None:
        if self._is_off:
            return
        try:
            if self._place is None:
                self._place = self._take_slot()
            self._number += 1
            head, checksum = self._head
            rest = _REST.pack(self._number, self._synced, self._told)
            half = self._place + (self._number & 1) * _HALF
            _write(self._descriptor, head + rest + _CHECKSUM.pack(crc32(rest, checksum)), half)
        except (OSError, LogError) as error:
            self._is_off = True
            _log.warning("%s cannot be written; a loss may go unnoticed: %s", self._path, error)

    def _take_slot(self) -> int:
        number = next((number for number in range(_MOST) if self._leases.take(_FIRST_LOCK + number)), None)
        if number is None:
            raise OSError(f"{_MOST} processes have the log open")
        self._descriptor = self._leases.descriptor()
        content = _read(self._descriptor, _SLOT, number * _SLOT)
        # The half that is written first is not the one that somebody before us has written last.
        self._number = max((each.number for _, whole in slots(content) for each in whole), default=0)
        return number * _SLOT

    def _blank(self, numbers: Iterable[int]) -> None:
        """Have nobody warned of these again, unless a process is writing there just now."""
        try:
            for number in numbers:
                if self._leases.take(_FIRST_LOCK + number):
                    _write(self._leases.descriptor(), bytes(_SLOT), number * _SLOT)
                    self._leases.give_up(_FIRST_LOCK + number)
        except (OSError, LogError) as error:
            _log.warning("%s cannot be written: %s", self._path, error)

    def close(self) -> None:
        """Let another process have the slot."""
        self._place, self._is_off = None, True
        self._leases.close()


if hasattr(os, "pwrite"):

    def _read(descriptor: int, size: int, start: int) -> bytes:
        return os.pread(descriptor, size, start)

    def _write(descriptor: int, data: bytes, start: int) -> None:
        os.pwrite(descriptor, data, start)

else:  # Windows; one thread at a time, by the turnstile

    def _read(descriptor: int, size: int, start: int) -> bytes:
        os.lseek(descriptor, start, os.SEEK_SET)
        return os.read(descriptor, size)

    def _write(descriptor: int, data: bytes, start: int) -> None:
        os.lseek(descriptor, start, os.SEEK_SET)
        os.write(descriptor, data)
