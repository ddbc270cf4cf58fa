"""An event on its way into the log: checked and encoded, and then what became of it."""

from __future__ import annotations

from typing import Any

import msgspec

from eventbus.events import EventType, Receipt
from eventbus.store.checksums import payload_crc

Row = tuple[Any, ...]  # the columns of `events.Envelope`, in its order


class Draft(msgspec.Struct, eq=False):
    """An event that was checked and encoded and is not in the log yet."""

    event: Any
    type: EventType
    payload: str
    id: str
    source: str
    stream: str | None = None
    key: str | None = None
    expected_version: int | None = None
    metadata: str | None = None
    correlation_id: str | None = None
    causation_id: str | None = None
    known_id: bool = False  # the id was chosen or derived: it may be in the log already
    unbounded: bool = False  # a person has done it, or another log: its chain of causes may be long
    payload_sum: int | None = None  # the checksum of the payload, if somebody has it already

    def digest(self) -> bytes:
        """What an idempotency key stands for: type, version, stream and payload."""
        import hashlib  # OpenSSL takes a while to load

        text = f"{self.type.name}\x1f{self.type.version}\x1f{self.stream or ''}\x1f{self.payload}"
        return hashlib.sha256(text.encode()).digest()[:16]

    def checksum(self) -> int:
        """The checksum of its payload."""
        return payload_crc(self.payload) if self.payload_sum is None else self.payload_sum


class Appended(msgspec.Struct, eq=False):
    """What became of one draft; `stamp` is its type's id, the time and its source's id, None for a duplicate."""

    draft: Draft
    receipt: Receipt
    stamp: tuple[int, str, int] | None = None

    @property
    def row(self) -> Row | None:
        """As it was stored, None for a duplicate."""
        if self.stamp is None:
            return None
        draft, receipt = self.draft, self.receipt
        type_id, time, source_id = self.stamp
        place = (receipt.position, draft.id, type_id, draft.stream, receipt.sequence, time, source_id)
        return (*place, draft.correlation_id, draft.causation_id, draft.metadata, None, draft.payload)
