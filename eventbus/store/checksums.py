"""The checksums of an event's row: written with it, compared when it is used.

SQLite notices damage to the shape of a page, not to what is in it: a bit that flips in a payload is
read back as if it had been written so. The payload has a checksum of its own, and the header's covers
everything else and that one, so that a row whose payload was erased can still be verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zlib import crc32

_PLAIN = "\x1f".join(["None"] * 4)  # of a root without metadata, in JSON


def payload_crc(payload: str | bytes) -> int:
    """The checksum of a payload, of text as UTF-8."""
    return crc32(payload.encode() if isinstance(payload, str) else payload)


def header_crc(row: Sequence[Any], type_name: str, version: int, source: str, payload_sum: int) -> int:
    """The checksum over everything but the payload, which is in it by its own; `row` begins as `reading.COLUMNS`.

    The names that its integers stand for are in it, not the integers, so that it holds in another log as well.
    """
    return _header(row[:11], spelled_type(type_name, version), spelled_source(source), payload_sum)


def spelled_type(name: str, version: int) -> str:
    """A type as it stands between the other fields of a header."""
    return f"\x1f{name}\x1f{version}\x1f"


def spelled_source(name: str) -> str:
    """A source as it stands there."""
    return f"\x1f{name}\x1f"


def is_whole(row: Sequence[Any], type_: str, source: str) -> bool:
    """True if both checksums fit; for every event that is used. Its type and source are spelled once for all events.

    UnicodeEncodeError or TypeError for some of what is damaged.
    """
    payload, payload_sum = row[11], row[12]
    if payload is not None and crc32(payload.encode() if type(payload) is str else payload) != payload_sum:
        return False
    header_sum: int = row[13]
    return _header(row[:11], type_, source, payload_sum) == header_sum


def _header(columns: Sequence[Any], type_: str, source: str, payload_sum: int) -> int:
    position, id_, _, stream, sequence, time, _, correlation, causation, metadata, codec = columns
    # Most of these are None, whose formatting is five times as slow as that of a text.
    place = "None\x1fNone" if stream is None and sequence is None else f"{stream}\x1f{sequence}"
    is_plain = correlation is causation is metadata is codec is None
    more = _PLAIN if is_plain else f"{correlation}\x1f{causation}\x1f{metadata}\x1f{codec}"
    return crc32(f"{position}\x1f{id_}{type_}{place}\x1f{time}{source}{more}\x1f{payload_sum}".encode())


def damage(row: Sequence[Any], type_name: str, version: int, source: str) -> str | None:
    """What of a row, with the columns `reading.COLUMNS`, is not as it was written; None if all is."""
    payload, payload_sum = row[11], row[12]
    try:
        if payload is not None and payload_crc(payload) != payload_sum:
            return "its payload is not what was stored"
        if header_crc(row, type_name, version, source, payload_sum) != row[13]:
            return "its columns are not what was stored"
    except UnicodeEncodeError:  # text that is not UTF-8 any more is read as surrogates
        return "it holds text that is not UTF-8"
    except TypeError:
        return "its payload is not of the kind that was stored"
    return None
