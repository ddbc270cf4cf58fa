"""Logs to read from. A small one is published; a large one is written in bulk, looked at by a bus, and kept."""

from __future__ import annotations

import os
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

from benchmarks.measuring import Tell
from benchmarks.payload import PAYLOAD, PLACED, OrderPlaced
from eventbus import EventBus
from eventbus.clock import iso
from eventbus.events import EventType, Vocabulary
from eventbus.store.checksums import header_crc

BATCH = 1000
KEPT_FROM = 1_000_000  # events; smaller logs are made anew, as what is published into them would add up
BULK = 50_000
PER_STREAM = 5  # events of one stream in a bulk-built log
_EPOCH = 1_700_000_000_000  # milliseconds; the events are one apart

_INSERT = (
    "INSERT INTO eventbus_events (position, id, type_id, stream, sequence, time, source_id, correlation_id,"
    " causation_id, metadata, codec, payload, payload_crc, header_crc)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


def published(path: Path, events: int) -> Path:
    """A log of so many events, published by a bus."""
    with EventBus(path, durability="process", delivery="manual") as bus:
        for begin in range(0, events, BATCH):
            bus.publish_many([PLACED] * min(BATCH, events - begin))
    return path


def stream_of(position: int) -> str:
    """The stream of the event at a position of a log written in bulk."""
    return f"order-{(position - 1) // PER_STREAM}"


def bulk(folder: Path, cache: Path, events: int, tell: Tell) -> Path:
    """A log of so many events, written in bulk; a large one is kept in `cache`, where it may be already."""
    path = (cache if events >= KEPT_FROM else folder) / f"log-{events}.db"
    if not path.exists():
        part = path.with_suffix(".part")
        for old in part.parent.glob(f"{part.name}*"):
            old.unlink()
        _write(part, events, tell)
        _look_at(part, events)
        os.rename(part, path)
    return path


def _write(path: Path, events: int, tell: Tell) -> None:
    with EventBus(path, durability="process", delivery="manual", source="benchmark") as bus:
        bus.publish(PLACED, stream=stream_of(1))
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for statement in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -400000"):
            connection.execute(f"PRAGMA {statement}")
        event_type = Vocabulary().meet(OrderPlaced)
        for begin in range(2, events + 1, BULK):
            tell(f"writing event {begin:,} of {events:,}")
            connection.execute("BEGIN")
            connection.executemany(_INSERT, _rows(begin, min(begin + BULK, events + 1), event_type))
            connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


def _rows(begin: int, end: int, event_type: EventType) -> Iterator[tuple[Any, ...]]:
    payload_crc = crc32(PAYLOAD.encode())
    for position in range(begin, end):
        stream, sequence = stream_of(position), (position - 1) % PER_STREAM + 1
        time = iso((_EPOCH + position) / 1000)
        row = (position, _id(position), 1, stream, sequence, time, 1, None, None, None, None, PAYLOAD)
        yield (*row, payload_crc, header_crc(row, event_type.name, event_type.version, "benchmark", payload_crc))


def _id(position: int) -> str:
    """As the bus makes them: a UUID of version 7."""
    milliseconds, chance = _EPOCH + position, random.getrandbits(62)
    return (
        f"{milliseconds >> 16:08x}-{milliseconds & 0xFFFF:04x}-7{chance & 0xFFF:03x}"
        f"-8{chance >> 12 & 0xFFF:03x}-{chance >> 14 & 0xFFFFFFFFFFFF:012x}"
    )


def _look_at(path: Path, events: int) -> None:
    """Have a bus say that it is a log, with the events that are meant to be in it."""
    with EventBus(path, delivery="manual") as bus:
        assert bus.log.head == events
        for position in {1, 2, events // 2 or 1, events}:
            envelope = bus.log.get(position)
            assert envelope is not None
            assert envelope.event == PLACED
            assert envelope.stream == stream_of(position)
            assert bus.log.get(envelope.id) == envelope
        stream = [envelope.sequence for envelope in bus.log.read(stream=stream_of(events))]
        assert stream == list(range(1, len(stream) + 1))
        receipt = bus.publish(PLACED, stream=stream_of(events))
        assert (receipt.position, receipt.sequence) == (events + 1, len(stream) + 1)
