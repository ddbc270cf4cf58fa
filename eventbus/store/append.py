"""Adding events to the log: keys, ids and expected versions are looked at before anything is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import attrs

from eventbus.errors import IdempotencyConflict, WrongExpectedVersion
from eventbus.events import EventType, Receipt
from eventbus.store.causes import Causes
from eventbus.store.checksums import header_crc, payload_crc
from eventbus.store.names import NameBook

# Both: whoever can write the file can also change SQLite's own counters, and pruning may take the last event.
_HEAD = (
    "SELECT max(position) FROM eventbus_events UNION ALL SELECT seq FROM sqlite_sequence WHERE name = 'eventbus_events'"
)
_STREAM_HEAD = "SELECT max(sequence) FROM eventbus_events WHERE stream = ?"
_PRUNED_HEAD = "SELECT sequence FROM eventbus_stream_heads WHERE stream = ?"
_BY_KEY = "SELECT position, digest FROM eventbus_keys WHERE source_id = ? AND key = ?"
_BY_ID = "SELECT position, type_id, stream, sequence, payload_crc, source_id FROM eventbus_events WHERE id = ?"
_BY_POSITION = "SELECT id, stream, sequence FROM eventbus_events WHERE position = ?"
_ADD_KEY = "INSERT INTO eventbus_keys (source_id, key, position, digest) VALUES (?, ?, ?, ?)"
_ADD_EVENT = (
    "INSERT INTO eventbus_events (position, id, type_id, stream, sequence, time, source_id, correlation_id,"
    " causation_id, metadata, codec, payload, payload_crc, header_crc)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)

Row = tuple[Any, ...]  # the columns of `events.Envelope`, in its order


@attrs.define(eq=False)
class Draft:
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

    def digest(self) -> bytes:
        """What an idempotency key stands for: type, version, stream and payload."""
        import hashlib  # OpenSSL takes a while to load

        text = f"{self.type.name}\x1f{self.type.version}\x1f{self.stream or ''}\x1f{self.payload}"
        return hashlib.sha256(text.encode()).digest()[:16]


@attrs.define(eq=False)
class Appended:
    """What became of one draft; `row` is None for a duplicate."""

    draft: Draft
    receipt: Receipt
    row: Row | None


class Appender:
    """Appends within write transactions that somebody else begins and ends."""

    def __init__(self, names: NameBook) -> None:
        self._names, self._causes = names, Causes()
        self.last = 0  # the last position that was given out, whatever became of its transaction

    def append(self, connection: sqlite3.Connection, drafts: Sequence[Draft], now: str) -> list[Appended]:
        """Add all of `drafts`, or raise with none of them written.

        Raises WrongExpectedVersion, IdempotencyConflict and CausationLoop, all before the first row is
        written, so that a failing request can share its transaction with others.
        """
        plan = _Plan(connection, self._names, self._causes, now)
        for draft in drafts:
            plan.add(draft)
        return [self._write(connection, planned, now) for planned in plan.entries]

    def find(self, connection: sqlite3.Connection, draft: Draft) -> Receipt | None:
        """The receipt of the event that this draft's key or id stands for already. Raises IdempotencyConflict."""
        return _Plan(connection, self._names, self._causes, "").known(draft)

    def _write(self, connection: sqlite3.Connection, planned: _Planned, now: str) -> Appended:
        draft, receipt = planned.draft, planned.receipt
        if planned.new_key:
            source_id = self._names.source_id(connection, draft.source)
            connection.execute(_ADD_KEY, (source_id, draft.key, receipt.position, draft.digest()))
        if receipt.duplicate:
            return Appended(draft, receipt, None)
        type_id = self._names.type_id(connection, draft.type)
        source_id = self._names.source_id(connection, draft.source)
        row = (
            receipt.position,
            draft.id,
            type_id,
            draft.stream,
            receipt.sequence,
            now,
            source_id,
            draft.correlation_id,
            draft.causation_id,
            draft.metadata,
            None,
            draft.payload,
        )
        checksum = payload_crc(draft.payload)
        header = header_crc(row, draft.type.name, draft.type.version, draft.source, checksum)
        connection.execute(_ADD_EVENT, (*row, checksum, header))
        self.last = receipt.position
        if planned.causes:
            self._causes.keep(draft.id, planned.causes)
        return Appended(draft, receipt, row)


def head(connection: sqlite3.Connection) -> int:
    """The last position ever given out, 0 for an empty log."""
    return max((last for (last,) in connection.execute(_HEAD).fetchall() if isinstance(last, int)), default=0)


def stream_head(connection: sqlite3.Connection, stream: str) -> int:
    """The last sequence of a stream, 0 for a new one."""
    (last,) = connection.execute(_STREAM_HEAD, (stream,)).fetchone()
    if last is None:
        row = connection.execute(_PRUNED_HEAD, (stream,)).fetchone()
        last = row[0] if row else 0
    return int(last)


@attrs.define(eq=False)
class _Planned:
    """`new_key`: its key stood for nothing so far, and from now on stands for the event of the receipt.

    `causes`: the length of the chain that it ends, 0 for a root.
    """

    draft: Draft
    receipt: Receipt
    new_key: bool
    causes: int = 0


class _Plan:
    """Which position and sequence each draft of one request will get; reads only."""

    def __init__(self, connection: sqlite3.Connection, names: NameBook, causes: Causes, now: str) -> None:
        self._connection, self._names, self._causes, self._now = connection, names, causes, now
        self._position = head(connection)
        self._streams: dict[str, int] = {}
        self._keys: dict[tuple[str, str], _Planned] = {}
        self._ids: dict[str, _Planned] = {}
        self._chains: dict[str, int] = {}
        self.entries: list[_Planned] = []

    def add(self, draft: Draft) -> None:
        keyed = None if draft.key is None else self._of_key(draft, draft.key)
        receipt = keyed or (self._of_id(draft) if draft.known_id else None)
        if receipt is None:
            sequence = self._next_sequence(draft)
            self._position += 1
            receipt = Receipt(draft.id, self._position, draft.stream, sequence)
        planned = _Planned(draft, receipt, new_key=draft.key is not None and keyed is None)
        if draft.key is not None and planned.new_key:
            self._keys[draft.source, draft.key] = planned
        if draft.known_id and not receipt.duplicate:
            self._ids[draft.id] = planned
        if draft.causation_id is not None and not (receipt.duplicate or draft.unbounded):
            planned.causes = self._chains[draft.id] = self._causes.length(
                self._connection, draft.type.name, draft.causation_id, self._now, self._chains
            )
        self.entries.append(planned)

    def known(self, draft: Draft) -> Receipt | None:
        """The receipt of the event that its key or its id already stands for."""
        keyed = None if draft.key is None else self._of_key(draft, draft.key)
        return keyed or (self._of_id(draft) if draft.known_id else None)

    def _of_key(self, draft: Draft, key: str) -> Receipt | None:
        """The receipt of the event that this key already stands for."""
        same = self._keys.get((draft.source, key))
        if same is not None:
            return self._same_request(draft, same, key)
        source_id = self._names.source_id(self._connection, draft.source)
        found = self._connection.execute(_BY_KEY, (source_id, key)).fetchone()
        if found is None:
            # Without a key of its own an event's id is its key: that is what PublishInDoubt names. As keys are,
            # it is its source's: two senders may use one name for different things.
            return self._by_id(draft, key, source_id)
        if found[1] != draft.digest():
            raise IdempotencyConflict(key, found[0])
        return self._first_receipt(draft, found[0])

    def _of_id(self, draft: Draft) -> Receipt | None:
        """The receipt of the event that this id already stands for."""
        same = self._ids.get(draft.id)
        return self._by_id(draft, draft.id) if same is None else self._same_request(draft, same, draft.id)

    def _by_id(self, draft: Draft, id_: str, of_source: int | None = None) -> Receipt | None:
        found = self._connection.execute(_BY_ID, (id_,)).fetchone()
        if found is None or of_source not in (None, found[5]):
            return None
        position, type_id, stream, sequence, checksum, _ = found
        content = (self._names.type_id(self._connection, draft.type), draft.stream, payload_crc(draft.payload))
        if content != (type_id, stream, checksum):
            raise IdempotencyConflict(id_, position)
        return Receipt(id_, position, stream, sequence, duplicate=True)

    def _first_receipt(self, draft: Draft, position: int) -> Receipt:
        found = self._connection.execute(_BY_POSITION, (position,)).fetchone()
        id_, stream, sequence = found if found is not None else (draft.id, draft.stream, None)
        return Receipt(id_, position, stream, sequence, duplicate=True)

    def _same_request(self, draft: Draft, earlier: _Planned, key: str) -> Receipt:
        if earlier.draft.digest() != draft.digest():
            raise IdempotencyConflict(key, None)
        return attrs.evolve(earlier.receipt, duplicate=True)

    def _next_sequence(self, draft: Draft) -> int | None:
        stream = draft.stream
        if stream is None:
            return None
        last = self._streams.get(stream)
        if last is None:
            last = stream_head(self._connection, stream)
        if draft.expected_version is not None and draft.expected_version != last:
            raise WrongExpectedVersion(stream, draft.expected_version, last)
        self._streams[stream] = last + 1
        return last + 1
