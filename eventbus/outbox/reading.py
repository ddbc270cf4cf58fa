"""From a row to an event, checked as strictly as a publish: whoever wrote it knows no class of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import msgspec

from eventbus.errors import InvalidEvent, UnknownEvent
from eventbus.events import Envelope, EventType, Vocabulary
from eventbus.store.drafter import Drafter, trouble_with_name
from eventbus.store.drafts import Draft
from eventbus.store.outbox import OutboxRow

_LOOSE = 4  # how many times max_payload a text may have before it is read: what counts is JSON without spaces
_RESERVED = "eventbus."  # the bus's own events, such as records of what a person did


def event_of(row: OutboxRow, vocabulary: Vocabulary, max_payload: int) -> Any:
    """A row's event. Raises InvalidEvent, UnknownEvent, and what the event's class raises."""
    type_ = _type_of(row, vocabulary)
    fields = _fields(type_.name, "payload", row.payload, max_payload)
    odd = fields.keys() - {field.name for field in attrs.fields(type_.cls)}
    if odd:
        raise InvalidEvent(type_.name, min(odd), "there is no such field")
    return type_.decode(_raw(row.payload) or b"")


def draft_of(row: OutboxRow, event: Any, drafter: Drafter, max_payload: int, cause: Envelope | None = None) -> Draft:
    """The draft of a row's event. Raises InvalidEvent, and EventDefinitionError for a class that is none."""
    name = str(row.event_type)
    for what in ("correlation_id", "causation_id"):  # a cause would stand in for an empty one
        value = getattr(row, what)
        if value is not None and (trouble := trouble_with_name(value)) is not None:
            raise InvalidEvent(name, what, trouble)
    return drafter.draft(
        event,
        stream=row.stream,
        id=row.id,
        metadata=None if row.metadata is None else _fields(name, "metadata", row.metadata, max_payload),
        correlation_id=row.correlation_id,
        causation_id=row.causation_id,
        cause=cause,
    )


def _type_of(row: OutboxRow, vocabulary: Vocabulary) -> EventType:
    name, version = row.event_type, row.version
    if not isinstance(name, str) or not name:
        raise InvalidEvent("eventbus_outbox", "event_type", f"is {_shown(name)}, not the name of an event class")
    if name.startswith(_RESERVED):
        raise InvalidEvent(name, "", f"names that begin with {_RESERVED} are the bus's own")
    loaded = vocabulary.other_versions(name, 0)
    if version is None:
        version = max(loaded, default=1)
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise InvalidEvent(name, "version", f"is {_shown(version)}, not a whole number of at least 1")
    found = vocabulary.find(name, version)
    if found is None:
        raise UnknownEvent(name, version, loaded)
    return found


def _fields(name: str, what: str, value: object, most: int) -> dict[str, Any]:
    raw = _raw(value)
    if raw is None:
        raise InvalidEvent(name, what, f"is {_shown(value)}, not the text of a JSON object")
    if len(raw) > _LOOSE * most:
        raise InvalidEvent(name, what, f"has {len(raw)} bytes, which is far more than max_payload={most}")
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(name, what, f"is no JSON object: {error}") from error


def _raw(value: object) -> bytes | None:
    """The JSON of a column in whatever way it has it; None for what is none."""
    if isinstance(value, Mapping):  # mended by a person, who has no quotes to escape
        return msgspec.json.encode(value)
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    return value if isinstance(value, bytes) else None


def _shown(value: object) -> str:
    return "empty" if value == "" else f"a {type(value).__name__}" if value is not None else "missing"
