"""The checksums of an event's row: written with it, compared when it is used.

SQLite notices damage to the shape of a page, not to what is in it: a bit that flips in a payload is
read back as if it had been written so. The payload has a checksum of its own, and the header's covers
everything else and that one, so that a row whose payload was erased can still be verified.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from zlib import crc32


def payload_crc(payload: str | bytes) -> int:
    """The checksum of a payload, of text as UTF-8."""
    return crc32(payload.encode() if isinstance(payload, str) else payload)


def header_crc(row: Sequence[Any], type_name: str, version: int, source: str, payload_sum: int) -> int:
    """The checksum over everything but the payload, which is in it by its own; `row` begins as `reading.COLUMNS`.

    The names that its integers stand for are in it, not the integers, so that it holds in another log as well.
    """
    position, id_, _, stream, sequence, time, _, correlation, causation, metadata, codec = row[:11]
    # Most of these are None, whose formatting is five times as slow as that of a text.
    return crc32(
        f"{position}\x1f{id_}\x1f{type_name}\x1f{version}\x1f{'None' if stream is None else stream}"
        f"\x1f{'None' if sequence is None else sequence}\x1f{time}\x1f{source}"
        f"\x1f{'None' if correlation is None else correlation}\x1f{'None' if causation is None else causation}"
        f"\x1f{'None' if metadata is None else metadata}\x1f{'None' if codec is None else codec}"
        f"\x1f{payload_sum}".encode()
    )


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
