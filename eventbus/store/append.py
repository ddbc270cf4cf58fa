"""Adding events to the log: keys, ids and expected versions are looked at before anything is written."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from eventbus.errors import IdempotencyConflict, WrongExpectedVersion
from eventbus.events import Receipt
from eventbus.store.causes import Causes
from eventbus.store.drafts import Appended, Draft
from eventbus.store.insertion import Kind
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
        plan.add(drafts)
        entries = plan.entries
        if plan.keys:
            self._add_keys(connection, plan.keys)
        self._write(connection, entries, now)
        for event, length in plan.chains.items():
            self._causes.keep(event, length)
        return entries

    def find(self, connection: sqlite3.Connection, draft: Draft) -> Receipt | None:
        """The receipt of the event that this draft's key or id stands for already. Raises IdempotencyConflict."""
        return _Plan(connection, self._names, self._causes, "").known(draft)

    def _add_keys(self, connection: sqlite3.Connection, keys: Mapping[tuple[str, str], Appended]) -> None:
        for (source, key), entry in keys.items():
            source_id = self._names.source_id(connection, source)
            connection.execute(_ADD_KEY, (source_id, key, entry.receipt.position, entry.draft.digest()))

    def _write(self, connection: sqlite3.Connection, entries: Sequence[Appended], now: str) -> None:
        names, start = self._names, 0
        while start < len(entries):
            draft, receipt = entries[start].draft, entries[start].receipt
            if receipt.duplicate:
                start += 1
                continue
            type_id, source_id = names.type_id(connection, draft.type), names.source_id(connection, draft.source)
            start = Kind(draft, type_id, source_id, now).insert(connection, entries, start)
            self.last = entries[start - 1].receipt.position


def head(connection: sqlite3.Connection) -> int:
    """The last position ever given out, 0 for an empty log."""
    last = 0
    for (position,) in connection.execute(_HEAD):
        if isinstance(position, int) and position > last:
            last = position
    return last


def stream_head(connection: sqlite3.Connection, stream: str) -> int:
    """The last sequence of a stream, 0 for a new one."""
    (last,) = connection.execute(_STREAM_HEAD, (stream,)).fetchone()
    if last is None:
        row = connection.execute(_PRUNED_HEAD, (stream,)).fetchone()
        last = row[0] if row else 0
    return int(last)


class _Plan:
    """Which position and sequence each draft of one request will get; reads only.

    `keys` are those that stood for nothing so far, and from now on stand for an event; `chains` the lengths of the
    chains of causes that end with what has a cause.
    """

    def __init__(self, connection: sqlite3.Connection, names: NameBook, causes: Causes, now: str) -> None:
        self._connection, self._names, self._causes, self._now = connection, names, causes, now
        self._streams: dict[str, int] = {}
        self._ids: dict[str, Appended] = {}
        self.keys: dict[tuple[str, str], Appended] = {}
        self.chains: dict[str, int] = {}
        self.entries: list[Appended] = []

    def add(self, drafts: Sequence[Draft]) -> None:
        """Plan all of them, in order."""
        position = head(self._connection)
        for draft in drafts:
            keyed = receipt = None if draft.key is None else self._of_key(draft, draft.key)
            if receipt is None and draft.known_id:
                receipt = self._of_id(draft)
            if receipt is None:
                stream = draft.stream
                sequence = None if stream is None else self._next_sequence(draft, stream)
                position += 1
                receipt = Receipt(draft.id, position, stream, sequence)
            entry = Appended(draft, receipt)
            if keyed is None and draft.key is not None:
                self.keys[draft.source, draft.key] = entry
            if draft.known_id and not receipt.duplicate:
                self._ids[draft.id] = entry
            if draft.causation_id is not None and not (receipt.duplicate or draft.unbounded):
                self.chains[draft.id] = self._causes.length(
                    self._connection, draft.type.name, draft.causation_id, self._now, self.chains
                )
            self.entries.append(entry)

    def known(self, draft: Draft) -> Receipt | None:
        """The receipt of the event that its key or its id already stands for."""
        keyed = None if draft.key is None else self._of_key(draft, draft.key)
        return keyed or (self._of_id(draft) if draft.known_id else None)

    def _of_key(self, draft: Draft, key: str) -> Receipt | None:
        """The receipt of the event that this key already stands for."""
        same = self.keys.get((draft.source, key))
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
        content = (self._names.type_id(self._connection, draft.type), draft.stream, draft.checksum())
        if content != (type_id, stream, checksum):
            raise IdempotencyConflict(id_, position)
        return Receipt(id_, position, stream, sequence, duplicate=True)

    def _first_receipt(self, draft: Draft, position: int) -> Receipt:
        found = self._connection.execute(_BY_POSITION, (position,)).fetchone()
        id_, stream, sequence = found if found is not None else (draft.id, draft.stream, None)
        return Receipt(id_, position, stream, sequence, duplicate=True)

    def _same_request(self, draft: Draft, earlier: Appended, key: str) -> Receipt:
        if earlier.draft.digest() != draft.digest():
            raise IdempotencyConflict(key, None)
        return replace(earlier.receipt, duplicate=True)

    def _next_sequence(self, draft: Draft, stream: str) -> int:
        last = self._streams.get(stream)
        if last is None:
            last = stream_head(self._connection, stream)
        if draft.expected_version is not None and draft.expected_version != last:
            raise WrongExpectedVersion(stream, draft.expected_version, last)
        self._streams[stream] = last + 1
        return last + 1
