"""Whether anything is in a -wal, by its own bytes (sqlite.org/walformat.html).

Only for a -wal beside which there is no -shm, so that no process uses it: SQLite deletes one in which it finds no
commit as soon as it closes it, even where it was only to read. SQLite holds no lock on a -wal that closing could drop.
"""

from __future__ import annotations

import struct

_MAGICS = {0x377F0682: "<", 0x377F0683: ">"}  # and the byte order of the checksums
_VERSION = 3007000
_HEADER, _FRAME_HEADER = 32, 24
_LARGEST_PAGE = 65536
_32_BITS = 0xFFFFFFFF

_Sums = tuple[int, int]


def has_commit(path: str) -> bool:
    """True if the first frames of a -wal are whole up to the end of a transaction. Raises OSError."""
    with open(path, "rb") as file:
        header = file.read(_HEADER)
        if len(header) < _HEADER:
            return False
        magic, version, page, _, *salts, first, second = struct.unpack(">8I", header)
        order = _MAGICS.get(magic)
        is_page = 512 <= page <= _LARGEST_PAGE and page & (page - 1) == 0
        if order is None or version != _VERSION or not is_page:
            return False
        sums = _added(header[:24], (0, 0), order)
        if sums != (first, second):
            return False
        while len(frame := file.read(_FRAME_HEADER + page)) == _FRAME_HEADER + page:
            number, commit, *found, first, second = struct.unpack(">6I", frame[:_FRAME_HEADER])
            sums = _added(frame[:8] + frame[_FRAME_HEADER:], sums, order)
            if number == 0 or found != salts or sums != (first, second):
                return False
            if commit:
                return True
    return False


def _added(data: bytes, sums: _Sums, order: str) -> _Sums:
    first, second = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for one, other in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & _32_BITS
        second = (second + other + first) & _32_BITS
    return first, second
