"""From an event in the caller's hands to a draft that only has to be written: checked and encoded."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from eventbus.clock import Clock, new_ids
from eventbus.codecs import encode_value
from eventbus.errors import EventBusError, EventDefinitionError, InvalidEvent
from eventbus.events import Envelope, EventType, Vocabulary
from eventbus.handlers import handling
from eventbus.store.checksums import payload_crc
from eventbus.store.drafts import Draft

_LONGEST_NAME = 1000  # characters of a stream name, key or id; they are in indexes, where long ones cost pages

_NAMED = ("stream", "idempotency_key", "id", "causation_id", "correlation_id")  # in the order in which they are checked
_UNNAMED = (None,) * len(_NAMED)


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
        self._writers: dict[type, tuple[EventType, Callable[[Any, int], bytes]]] = {}  # of the classes met

    def draft(
        self,
        event: object,
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
        name = event_type.name
        if stream is None:
            stream = event_type.stream_of(event)
        if expected_version is not None:
            _check_version(name, expected_version, stream)
        cause = cause or handling.get()
        if cause is not None:
            causation_id, correlation_id = causation_id or cause.id, correlation_id or cause.correlation_id
        names = (stream, idempotency_key, id, causation_id, correlation_id)
        if names != _UNNAMED:
            _check_names(name, names)
        return Draft(
            event,
            event_type,
            payload.decode(),
            id or self._clock.new_id(),
            self._source,
            stream,
            idempotency_key,
            expected_version,
            None if metadata is None else _encode_metadata(name, metadata, self._max_payload),
            correlation_id,
            causation_id,
            known_id=id is not None,
            payload_sum=payload_crc(payload),
        )

    def draft_all(
        self,
        events: Sequence[object],
        keys: Sequence[str] | None,
        *,
        stream: str | None,
        expected_version: int | None,
        **how: Any,
    ) -> list[Draft]:
        """Check and encode events that belong together; the expected version is that before the first.

        What is said of all of them is checked with the first, and taken over by the others.
        """
        if not events:
            return []
        key = None if keys is None else keys[0]
        first = self.draft(events[0], stream=stream, expected_version=expected_version, idempotency_key=key, **how)
        source, more = self._source, (first.metadata, first.correlation_id, first.causation_id, False, False)
        drafts = [first]
        for number, id_ in enumerate(new_ids(self._clock, len(events) - 1), 1):
            event = events[number]
            event_type, payload = self._encoded(event)
            place = event_type.stream_of(event) if stream is None else stream
            if place is not stream:
                _check_name(event_type.name, "stream", place)
            key = None if keys is None else keys[number]
            if key is not None:
                _check_name(event_type.name, "idempotency_key", key)
            drafts.append(
                Draft(event, event_type, payload.decode(), id_, source, place, key, None, *more, payload_crc(payload))
            )
        return drafts

    def _encoded(self, event: object) -> tuple[EventType, bytes]:
        try:
            known = self._writers.get(type(event))
            if known is None:
                met = self._vocabulary.meet(type(event))
                known = self._writers[type(event)] = met, met.encoder()
            return known[0], known[1](event, self._max_payload)
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


def _check_names(type_name: str, names: tuple[str | None, ...]) -> None:
    for what, text in zip(_NAMED, names, strict=True):
        if text is not None:
            _check_name(type_name, what, text)


def _check_name(type_name: str, what: str, text: object) -> None:
    trouble = trouble_with_name(text)
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
    if isinstance(expected, bool) or not isinstance(expected, int) or expected < 0:
        raise InvalidEvent(type_name, "", f"expected_version must be an int of at least 0, not {expected!r}")
    if stream is None:
        raise EventBusError(
            "expected_version was given, but the event belongs to no stream.",
            stored="not stored",
            hint="Pass stream=..., or give the event class a stream template.",
        )


def _encode_metadata(type_name: str, metadata: object, max_payload: int) -> str | None:
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
