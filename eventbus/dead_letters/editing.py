"""What another payload for a dead letter has to be."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, cast

import msgspec

from eventbus.errors import EventBusError, InvalidEvent, UnknownEvent
from eventbus.events import event_type
from eventbus.events.event_type import EventType

Check = Literal["now", "later"]
EDITED, DISCARDED = "be given another event", "leave an event out"

_AS_IT_WAS = "The dead letter is as it was."


def edited_payload(
    name: str,
    version: int,
    stored: str | bytes | None,
    payload: object,
    *,
    check: Check,
    find: Callable[[str, int], EventType | None],
    most: int,
) -> str:
    """The JSON that is delivered instead of what the log has `stored`, of at most `most` bytes.

    `check="later"` asks only that it is a JSON object. `find` knows the classes of event types.
    Raises InvalidEvent and UnknownEvent.
    """
    try:
        return _checked(name, version, stored, payload, check, find, most)
    except (InvalidEvent, UnknownEvent) as error:
        error.stored = "not stored"  # what could not be read says nothing of that
        error.hint = " ".join(filter(None, (_AS_IT_WAS, error.hint)))
        raise


def refuse_projection(name: str, role: str, what: str) -> None:
    """EventBusError if it is a projection: it cannot `what`."""
    if role == "projection":
        raise EventBusError(
            f"The projection {name!r} cannot {what}: a rebuild would find it in the log again.",
            stored="not stored",
            hint="Mend its handler; it goes on from there.",
        )


def _checked(
    name: str,
    version: int,
    stored: str | bytes | None,
    payload: object,
    check: Check,
    find: Callable[[str, int], EventType | None],
    most: int,
) -> str:
    if not isinstance(payload, str | Mapping):
        given = event_type(type(payload))
        if (given.name, given.version) != (name, version):
            raise InvalidEvent(name, "", f"it cannot become a {given.name!r} of version {given.version}")
        return given.encode(payload, most)
    text, fields = _as_json(name, cast("str | Mapping[str, Any]", payload), most)
    if check == "later":
        return text
    known = find(name, version)
    if known is None:
        raise UnknownEvent(name, version)
    whole = known.encode(known.decode(text), most)
    odd = set(fields) - _fields(whole) - _fields(stored or "{}")
    if odd:
        raise InvalidEvent(name, min(odd), "there is no such field")
    return whole


def _fields(stored: str | bytes) -> set[str]:
    """The names in a JSON object; none where damage has made something else of it."""
    try:
        found = json.loads(stored)
    except (ValueError, RecursionError):
        return set()
    return set(cast("dict[str, object]", found)) if isinstance(found, dict) else set()


def _as_json(name: str, payload: str | Mapping[str, Any], most: int) -> tuple[str, dict[str, Any]]:
    """The payload as the text of a JSON object, and that object."""
    try:
        text = payload if isinstance(payload, str) else msgspec.json.encode(dict(payload)).decode()
        fields = msgspec.json.decode(text.encode(), type=dict[str, Any])
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent(name, "", f"the payload is no JSON object: {error}") from error
    if len(text.encode()) > most:
        raise InvalidEvent(name, "", f"the payload has {len(text.encode())} bytes, more than max_payload={most}")
    return text, fields
