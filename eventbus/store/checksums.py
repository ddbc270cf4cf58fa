"""The checksums of an event's row: written with it, compared when it is used.

SQLite notices damage to the shape of a page, not to what is in it: a bit that flips in a payload is
read back as if it had been written so. The payload has a checksum of its own, and the header's covers
everything else and that one, so that a row whose payload was erased can still be verified.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    position, id_, _, stream, sequence, time, _, correlation, causation, metadata, codec = row[:11]
    rest = spelled_rest(time, spelled_source(source), correlation, causation, metadata, codec)
    return header_sum(position, id_, spelled_type(type_name, version), stream, sequence, rest, payload_sum)


def spelled_type(name: str, version: int) -> str:
    """A type as it stands between the other fields of a header."""
    return f"\x1f{name}\x1f{version}\x1f"


def spelled_source(name: str) -> str:
    """A source as it stands there."""
    return f"\x1f{name}\x1f"


def whole_from(rows: Sequence[Any], start: int, types: Mapping[int, str], sources: Mapping[int, str]) -> int:
    """The index of the first row from `start` on that is to be looked at by itself; that of the end if none is.

    All before it are whole and have a payload in JSON. It is asked for every event that is used, so for a page at
    once: its types and sources are spelled before, and nothing is called for the many that are roots without a stream.
    """
    index = start - 1
    try:
        for index, (
            position, id_, type_id, stream, sequence, time, source_id, correlation, causation, metadata, codec,
            payload, payload_sum, header_sum,
        ) in enumerate(rows[start:] if start else rows, start):  # fmt: skip
            if codec is not None or crc32(payload.encode()) != payload_sum:
                return index
            # Most of these are None, whose formatting is five times as slow as that of a text.
            if correlation is causation is metadata is stream is sequence is None:
                header = (
                    f"{position}\x1f{id_}{types[type_id]}None\x1fNone\x1f{time}{sources[source_id]}"
                    f"None\x1fNone\x1fNone\x1fNone\x1f{payload_sum}"
                )
            else:
                rest = (
                    "None\x1fNone\x1fNone"
                    if correlation is causation is metadata is None
                    else (f"{correlation}\x1f{causation}\x1f{metadata}")
                )
                header = (
                    f"{position}\x1f{id_}{types[type_id]}{stream}\x1f{sequence}\x1f{time}{sources[source_id]}"
                    f"{rest}\x1fNone\x1f{payload_sum}"
                )
            if crc32(header.encode()) != header_sum:
                return index
    except (KeyError, AttributeError, TypeError, UnicodeEncodeError):
        return index  # a name that is not known yet, an erased payload, or damage: `damage` tells them apart
    return len(rows)


def spelled_rest(
    time: str, source: str, correlation: str | None, causation: str | None, metadata: str | None, codec: str | None
) -> str:
    """What stands behind stream and sequence, which many events of one commit have in common; `source` as spelled."""
    # Most of these are None, whose formatting is five times as slow as that of a text.
    is_plain = correlation is causation is metadata is codec is None
    more = _PLAIN if is_plain else f"{correlation}\x1f{causation}\x1f{metadata}\x1f{codec}"
    return f"\x1f{time}{source}{more}\x1f"


def header_sum(
    position: int, id_: str, type_: str, stream: str | None, sequence: int | None, rest: str, payload_sum: int
) -> int:
    """The checksum over everything but the payload, of what is spelled already."""
    place = "None\x1fNone" if stream is None and sequence is None else f"{stream}\x1f{sequence}"
    return crc32(f"{position}\x1f{id_}{type_}{place}{rest}{payload_sum}".encode())


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
