"""From an event in the caller's hands to a draft that only has to be written: checked and encoded."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, TypedDict

from eventbus.clock import Clock
from eventbus.codecs import encode_value
from eventbus.errors import EventBusError, EventDefinitionError, InvalidEvent
from eventbus.events import Envelope, EventType, Vocabulary
from eventbus.handlers import handling
from eventbus.store.drafts import Draft

_LONGEST_NAME = 1000  # characters of a stream name, key or id; they are in indexes, where long ones cost pages


class PublishOptions(TypedDict, total=False):
    """The keywords of `publish`, where they are handed on as they are."""

    stream: str | None
    expected_version: int | None
    idempotency_key: str | None
    id: str | None
    metadata: Mapping[str, Any] | None
    correlation_id: str | None
    causation_id: str | None


def check_options(verb: str, options: Mapping[str, Any]) -> None:
    """Raise the TypeError that Python would if `verb` spelled out its keywords."""
    for name in options:
        if name not in PublishOptions.__annotations__:
            raise TypeError(f"{verb}() got an unexpected keyword argument {name!r}")


class Drafter:
    """Makes drafts for one source; everything that can be refused is refused here, before any lock is taken."""

    def __init__(self, vocabulary: Vocabulary, clock: Clock, *, source: str, max_payload: int) -> None:
        self._vocabulary, self._clock = vocabulary, clock
        self._source, self._max_payload = source, max_payload

    def draft(
        self,
        event: object,
        *,
        stream: str | None = None,
        expected_version: int | None = None,
        idempotency_key: str | None = None,
        id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
        cause: Envelope | None = None,
    ) -> Draft:
        """Check and encode one event.

        `cause` defaults to the event whose handler is running here: what a handler publishes is caused
        by what it handles without being told. Raises InvalidEvent, and EventDefinitionError for what is none.
        """
        event_type, payload = self._encoded(event)
        if stream is None:
            stream = event_type.stream_of(event)
        name = event_type.name
        _check_version(name, expected_version, stream)
        causation_id, correlation_id = _caused_by(cause or handling.get(), causation_id, correlation_id)
        _check_name(name, "stream", stream)
        _check_name(name, "idempotency_key", idempotency_key)
        _check_name(name, "id", id)
        _check_name(name, "causation_id", causation_id)
        _check_name(name, "correlation_id", correlation_id)
        return Draft(
            event=event,
            type=event_type,
            payload=payload,
            id=id or self._clock.new_id(),
            source=self._source,
            stream=stream,
            key=idempotency_key,
            expected_version=expected_version,
            metadata=_encode_metadata(name, metadata, self._max_payload),
            correlation_id=correlation_id,
            causation_id=causation_id,
            known_id=id is not None,
        )

    def _encoded(self, event: object) -> tuple[EventType, str]:
        try:
            event_type = self._vocabulary.meet(type(event))
            return event_type, event_type.encode(event, self._max_payload)
        except EventDefinitionError as error:
            raise _refused(event, error) from error


def derive_id(subscription: str, run: int, source_event: str, type_name: str, nth: int) -> str:
    """The id of the `nth` event of a type that a subscription publishes for one event.

    A UUID of version 8 (RFC 9562) out of SHA-256: doing the work again makes the same ids, so a retry
    publishes nothing twice; a rewind is another run and publishes anew.
    """
    import hashlib  # OpenSSL takes a while to load

    text = "\x1f".join((subscription, str(run), source_event, type_name, str(nth)))
    digest = bytearray(hashlib.sha256(text.encode()).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x80
    digest[8] = digest[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(digest)))


def _refused(event: object, error: EventDefinitionError) -> EventDefinitionError:
    """Why something is no event of this bus, as told to whoever wanted it published."""
    what, hint = error.what, error.hint
    if isinstance(event, type):
        what, hint = f"{event.__qualname__} is a class: publish an instance, {event.__qualname__}(...).", ""
    elif issubclass(type(event), list | tuple | set | frozenset):
        what = f"A {type(event).__name__} is not an event."
        hint = "For several events use publish_many; in a transaction publish one after the other."
    return EventDefinitionError(what, stored="not stored", hint=hint)


def _caused_by(
    cause: Envelope | None, causation_id: str | None, correlation_id: str | None
) -> tuple[str | None, str | None]:
    """The causation and correlation ids: those given, else those that follow from the cause."""
    if cause is None:
        return causation_id, correlation_id
    return causation_id or cause.id, correlation_id or cause.correlation_id


def _check_name(type_name: str, what: str, text: object) -> None:
    trouble = None if text is None else trouble_with_name(text)
    if trouble is not None:
        raise InvalidEvent(type_name, "", f"{what} {trouble}")


def trouble_with_name(text: object) -> str | None:
    """Why something cannot name a stream, a key, an id or a source, as the end of a sentence; None if it can."""
    if not isinstance(text, str):
        return f"must be a str, not {type(text).__name__}"
    if not text or len(text) > _LONGEST_NAME:
        return f"must have 1 to {_LONGEST_NAME} characters, not {len(text)}"
    if "\0" in text or (not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text)):
        return "contains NUL or a lone surrogate"
    return None


def _check_version(type_name: str, expected: object, stream: str | None) -> None:
    if expected is None:
        return
    if isinstance(expected, bool) or not isinstance(expected, int) or expected < 0:
        raise InvalidEvent(type_name, "", f"expected_version must be an int of at least 0, not {expected!r}")
    if stream is None:
        raise EventBusError(
            "expected_version was given, but the event belongs to no stream.",
            stored="not stored",
            hint="Pass stream=..., or give the event class a stream template.",
        )


def _encode_metadata(type_name: str, metadata: object, max_payload: int) -> str | None:
    if metadata is None:
        return None
    if not isinstance(metadata, Mapping):
        raise InvalidEvent(type_name, "metadata", f"is {type(metadata).__name__}, not a dict of JSON values")
    given: dict[Any, Any] = dict(metadata)  # pyright: ignore[reportUnknownArgumentType] - its keys are looked at below
    if not given:
        return None
    text = encode_value(given, type_name, "metadata")
    size = len(text.encode())
    if size > max_payload:
        raise InvalidEvent(type_name, "metadata", f"has {size} bytes, more than max_payload={max_payload}")
    return text
