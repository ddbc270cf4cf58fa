"""What the bus knows about an event class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import attrs

from eventbus.codecs import JsonCodec, Scope, Undefinable, Unresolved
from eventbus.errors import EventDefinitionError
from eventbus.events.stream_template import Fill

Kind = Literal["domain", "integration", "technical"]

MARK = "__eventbus_type__"


@attrs.frozen(eq=False)
class EventType:
    """An event class with its name, version, kind and stream template, and the codec of its instances.

    `bases` are the names of the event classes it derives from, its own among them where that is another
    version; `qualified` is "module:Qualname".
    """

    name: str
    version: int
    kind: Kind
    stream: str | None
    cls: type
    bases: tuple[str, ...]
    qualified: str
    _fill: Fill | None = attrs.field(repr=False, alias="fill")
    _codec: LazyCodec = attrs.field(repr=False, alias="codec")

    def stream_of(self, event: Any) -> str | None:
        """The stream its template gives an event; None without a template."""
        return None if self._fill is None else self._fill(event)

    def encode(self, event: Any, max_payload: int) -> str:
        """The JSON text of an event, at most `max_payload` bytes of it; InvalidEvent names field and reason."""
        return self._codec.get().encode(event, max_payload)

    def encoder(self) -> Callable[[Any, int], bytes]:
        """`encode`, to UTF-8, for somebody who keeps it; EventDefinitionError if there is none yet."""
        return self._codec.get().encode_bytes

    def decode(self, payload: str | bytes) -> Any:
        """The event of a stored payload: missing fields take their defaults, unknown ones are ignored.

        InvalidEvent if it does not fit the class.
        """
        return self._codec.get().decode(payload)

    def reader(self) -> Callable[[str | bytes], Any]:
        """What reads many events of this class in a row. Where it raises, `decode` says why."""
        return self._codec.get().reader()


class LazyCodec:
    """The codec of a class, compiled at its definition, or at first use if a name was not there yet."""

    __slots__ = ("_cls", "_codec", "_name", "_scope")

    def __init__(self, cls: type, name: str, scope: Scope) -> None:
        self._cls, self._name = cls, name
        self._scope: Scope | None = scope
        self._codec: JsonCodec | None = None
        try:
            self._compile(scope)
        except Undefinable as refusal:
            # a name that is not there yet is asked for again when an event is first written or read
            if not isinstance(refusal, Unresolved):
                raise undefinable(cls, refusal) from refusal.__cause__

    def get(self) -> JsonCodec:
        """The codec; EventDefinitionError if an annotation still cannot be resolved, or should be refused."""
        scope = self._scope  # read first: another thread that compiles sets the codec before it lets go of the scope
        if self._codec is not None:
            return self._codec
        assert scope is not None
        try:
            return self._compile(scope)
        except Undefinable as refusal:
            raise undefinable(self._cls, refusal) from refusal.__cause__

    def _compile(self, scope: Scope) -> JsonCodec:
        codec = self._codec = JsonCodec(self._cls, self._name, scope)
        self._scope = None  # it keeps frames alive
        return codec


def undefinable(cls: type, refusal: Undefinable) -> EventDefinitionError:
    where = f"{cls.__qualname__}.{refusal.field}" if refusal.field else cls.__qualname__
    hint = "An event must come back from the log equal."
    if isinstance(refusal, Unresolved):
        hint = "Define or import it before the first use, and not under TYPE_CHECKING alone: it is needed at run time."
    return EventDefinitionError(f"{where}: {refusal.reason}.", hint=hint)


def is_event(value: object) -> bool:
    """Whether it is an instance of an event class."""
    return MARK in type(value).__dict__


def event_type(cls: type) -> EventType:
    """The type of exactly this class; EventDefinitionError if it is not itself an @event class."""
    given: Any = cls  # whatever a handler was declared for
    found = given.__dict__.get(MARK) if isinstance(given, type) else None
    if isinstance(found, EventType):
        return found
    name = given.__qualname__ if isinstance(given, type) else repr(given)
    raise EventDefinitionError(f"{name} is not an event class.", hint="Decorate the class itself with @event.")
