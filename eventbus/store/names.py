"""The small tables of type and source names, remembered, so that events carry integers."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from eventbus.errors import EventBusError, LogCorrupt, UnknownEvent
from eventbus.events import Envelope, EventType, Kind, Readers, Row, TypeName, Vocabulary
from eventbus.store.checksums import damage, spelled_source, spelled_type, whole_from

_NEWEST = (
    "SELECT types_revision, (SELECT max(id) FROM eventbus_types), (SELECT max(id) FROM eventbus_sources)"
    " FROM eventbus_log"
)
_TYPES = "SELECT id, name, version, kind, bases FROM eventbus_types WHERE id > ? ORDER BY id"
_TYPE = "SELECT id, name, version, kind, bases FROM eventbus_types WHERE name = ? AND version = ?"
_ADD_TYPE = "INSERT INTO eventbus_types (name, version, kind, bases) VALUES (?, ?, ?, ?) RETURNING id"
_SET_BASES = "UPDATE eventbus_types SET kind = ?, bases = ? WHERE id = ?"
_REVISE = "UPDATE eventbus_log SET types_revision = types_revision + 1"
_SOURCES = "SELECT id, name FROM eventbus_sources WHERE id > ? ORDER BY id"
_SOURCE = "SELECT id FROM eventbus_sources WHERE name = ?"
_ADD_SOURCE = "INSERT INTO eventbus_sources (name) VALUES (?) RETURNING id"


class NameBook:
    """Which integer stands for which type and source, in both directions; implements `events.Names`.

    What is read or added within a write transaction is known for good only once that commits: `keep()`
    after a commit, `forget()` after a rollback. A rolled-back row's id is given out again, for another name.
    """

    def __init__(self, vocabulary: Vocabulary, path: str = "the log") -> None:
        self.vocabulary, self.path = vocabulary, path
        self.refill: Callable[[], None] = lambda: None
        self._lock = threading.Lock()
        self._revision = 0
        self._types_read = self._sources_read = 0  # ids: all up to these were read, also those of others
        self._types: dict[int, TypeName] = {}
        self._sources: dict[int, str] = {}
        self._source_ids: dict[str, int] = {}
        self._ids: dict[EventType, int] = {}  # classes whose row is as they say
        self._spelled_types: dict[int, str] = {}  # as checksums cover them
        self._spelled_sources: dict[int, str] = {}
        self._readers = _Readers(self, self._types)
        self._new_types: dict[int, TypeName] = {}
        self._new_sources: dict[int, str] = {}

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Read what others added or changed since; within a transaction nothing, for it may be taken back.

        Raises LogCorrupt for what is no text any more.
        """
        if connection.in_transaction:
            return
        try:
            self._refresh(connection)
        except sqlite3.OperationalError as error:
            if "UTF-8" not in str(error):
                raise
            raise LogCorrupt("the log", "the names of its types or sources are no text any more.") from error

    def _refresh(self, connection: sqlite3.Connection) -> None:
        revision, last_type, last_source = connection.execute(_NEWEST).fetchone()
        after = self._types_read if revision == self._revision else 0  # 0: a class has gained a base
        if last_type is not None and last_type > after:
            rows = connection.execute(_TYPES, (after,)).fetchall()
            with self._lock:
                found = {type_id: _type_name(*row) for type_id, *row in rows}
                self._types = {**self._types, **found}
                self._spelled_types.update(
                    {type_id: spelled_type(name.name, name.version) for type_id, name in found.items()}
                )
                self._revision, self._types_read = revision, rows[-1][0]
                self._ids.clear()
        if last_source is not None and last_source > self._sources_read:
            for source_id, name in connection.execute(_SOURCES, (self._sources_read,)).fetchall():
                self._learn_source(source_id, name)
                self._sources_read = source_id

    def types(self) -> dict[int, TypeName]:
        """Every type the log is known to have, by id."""
        return self._types

    # -- events.Names ------------------------------------------------------------------------------
    def type_named(self, type_id: int) -> TypeName:
        found = self._types.get(type_id) or self._new_types.get(type_id)
        if found is None:
            self.refill()  # another process has added it since
            found = self._types.get(type_id)
        return found or TypeName(f"(type {type_id})", 0, "domain")  # of a damaged row: whoever verifies it says so

    def source_named(self, source_id: int) -> str:
        found = self._sources.get(source_id) or self._new_sources.get(source_id)
        if found is None:
            self.refill()
            found = self._sources.get(source_id)
        return found or f"(source {source_id})"

    def decode(self, type: TypeName, codec: str | None, payload: str | bytes) -> Any:
        known = self.vocabulary.find(type.name, type.version)
        if known is None or codec is not None:
            raise UnknownEvent(type.name, type.version, self.vocabulary.other_versions(type.name, type.version))
        return known.decode(payload)

    def verify(self, row: Sequence[Any]) -> None:
        type_, source = self.type_named(row[2]), self.source_named(row[6])
        found = damage(row, type_.name, type_.version, source)
        if found is not None:
            raise LogCorrupt(self.path, f"the event at position {row[0]} is damaged: {found}.", position=row[0])

    # -- many rows at once -------------------------------------------------------------------------
    def whole_from(self, rows: Sequence[Row], start: int = 0) -> int:
        """The index of the first row that is to be looked at by itself: it is damaged, or its payload is not JSON."""
        return whole_from(rows, start, self._spelled_types, self._spelled_sources)

    def envelopes(self, rows: Sequence[Row]) -> Iterator[Envelope]:
        """Those of a page, whose checksums are compared now; what is damaged says so once its event is asked for."""
        readers, start = self.readers(), 0
        while start < len(rows):
            end = self.whole_from(rows, start)
            for row in rows[start:end] if end - start < len(rows) else rows:
                yield Envelope(row, self, readers)
            if end < len(rows):
                yield Envelope(rows[end], self)
            start = end + 1

    def readers(self) -> Readers:
        """What reads the payloads of a page of rows that are whole."""
        readers = self._readers
        if readers.vocabulary != self.vocabulary.version or readers.types is not self._types:
            readers = self._readers = _Readers(self, self._types)
        return readers

    def reader(self, type_id: int) -> tuple[type, Callable[[Any], Any]] | None:
        """The class of a type, and what reads the payloads of its events; None where an envelope is to be asked.

        What it raises says nothing: the envelope's `event` does.
        """
        try:
            named = self.type_named(type_id)
            known = self.vocabulary.find(named.name, named.version)
            return None if known is None else (known.cls, known.reader())
        except EventBusError:
            return None

    # -- writing -----------------------------------------------------------------------------------
    def type_id(self, connection: sqlite3.Connection, event_type: EventType) -> int:
        """The id of this type within the open write transaction, adding its row, or mending it, if need be."""
        known = self._ids.get(event_type)
        if known is not None:
            return known
        wanted = TypeName(event_type.name, event_type.version, event_type.kind, event_type.bases)
        row = connection.execute(_TYPE, (wanted.name, wanted.version)).fetchone()
        if row is None:
            values = (wanted.name, wanted.version, wanted.kind, json.dumps(wanted.bases))
            (type_id,) = connection.execute(_ADD_TYPE, values).fetchone()
        else:
            type_id, *found = row
            if _type_name(*found) != wanted:  # the class has gained a base, or changed its kind
                connection.execute(_SET_BASES, (wanted.kind, json.dumps(wanted.bases), type_id))
                connection.execute(_REVISE)
            elif self._types.get(type_id) == wanted:
                self._ids[event_type] = type_id  # committed, and as it should be: not looked up again
        self._new_types[type_id] = wanted
        return int(type_id)

    def source_id(self, connection: sqlite3.Connection, source: str) -> int:
        """The id of this source within the open write transaction, adding its row if it is new."""
        known = self._source_ids.get(source)
        if known is not None:
            return known
        row = connection.execute(_SOURCE, (source,)).fetchone()
        (source_id,) = row or connection.execute(_ADD_SOURCE, (source,)).fetchone()
        self._new_sources[source_id] = source
        return int(source_id)

    @property
    def staged(self) -> bool:
        """True if the open transaction has added names."""
        return bool(self._new_types or self._new_sources)

    def keep(self) -> None:
        """The transaction committed: what it read and added stays."""
        if self._new_types or self._new_sources:
            for type_id, name in self._new_types.items():
                if self._types.get(type_id) != name:
                    self._learn_type(type_id, name)
            for source_id, source in self._new_sources.items():
                self._learn_source(source_id, source)
            self.forget()

    def forget(self) -> None:
        """The transaction was rolled back: what it added never was."""
        if self._new_types or self._new_sources:
            self._new_types.clear()
            self._new_sources.clear()

    def _learn_type(self, type_id: int, name: TypeName) -> None:
        with self._lock:  # readers refresh while a writer learns
            self._types = {**self._types, type_id: name}  # another object: whoever resolved the old one looks again
            self._spelled_types[type_id] = spelled_type(name.name, name.version)

    def _learn_source(self, source_id: int, name: str) -> None:
        self._sources[source_id] = name
        self._spelled_sources[source_id] = spelled_source(name)
        self._source_ids[name] = source_id


class _Readers(dict[int, Callable[[Any], Any]]):
    """By the id of a type, each looked up when it is first met; KeyError for what has no class, which may come."""

    def __init__(self, names: NameBook, types: dict[int, TypeName]) -> None:
        self._names = names
        self.types, self.vocabulary = types, names.vocabulary.version  # as they were

    def __missing__(self, type_id: int) -> Callable[[Any], Any]:
        found = self._names.reader(type_id)
        if found is None:
            raise KeyError(type_id)
        self[type_id] = found[1]
        return found[1]


def _type_name(name: str, version: int, kind: Kind, bases: str) -> TypeName:
    try:
        return TypeName(name, version, kind, tuple(json.loads(bases)))
    except (TypeError, ValueError, RecursionError) as error:
        raise LogCorrupt("the log", f"the row of the type {name!r} cannot be read: {error}.") from error
