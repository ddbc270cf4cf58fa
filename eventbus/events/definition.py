"""@event: from a class body to an event class."""

from __future__ import annotations

import copy
import dataclasses
import enum
import inspect
import sys
from collections.abc import Callable
from functools import partial
from types import BuiltinMethodType
from typing import Any, TypeVar, dataclass_transform, get_args, overload

import attrs

from eventbus.codecs import Scope
from eventbus.errors import EventDefinitionError
from eventbus.events.event_type import MARK, EventType, Kind, LazyCodec
from eventbus.events.stream_template import compile_template
from eventbus.events.vocabulary import remember

C = TypeVar("C", bound=type)

_LONGEST_NAME = 200
_NOT_IN_NAMES = frozenset("*?[]")  # they would make it a pattern


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(attrs.field,))
def event(cls: C, /) -> C: ...


@overload
@dataclass_transform(frozen_default=True, field_specifiers=(attrs.field,))
def event(
    *, name: str | None = None, version: int = 1, kind: Kind | None = None, stream: str | None = None
) -> Callable[[C], C]: ...


def event(
    cls: Any = None,
    /,
    *,
    name: str | None = None,
    version: int = 1,
    kind: Kind | None = None,
    stream: str | None = None,
) -> Any:
    """Make a class an event: frozen, slotted, and sure to come back from the log equal.

    `name` is what the log calls it (default: the class's name), together with its `version`. `kind`
    ("domain", "integration" or "technical") and `stream`, a template such as "order-{order_id}", are those
    of the event class it derives from unless given. EventDefinitionError names the field that would not come
    back equal, and why; a name that is not defined yet is looked up at first use.
    """
    scope = Scope.of(sys._getframe(1))  # pyright: ignore[reportPrivateUsage]

    def define(body: Any) -> Any:
        return _define(body, name, version, kind, stream, scope)

    return define if cls is None else define(cls)


def _define(body: type, name: str | None, version: int, kind: Kind | None, stream: str | None, scope: Scope) -> type:
    _check_body(body)
    name = body.__name__ if name is None else name
    _check_words(body, name, version, kind, stream)
    try:
        cls: type = attrs.define(frozen=True, slots=True, auto_attribs=True, field_transformer=_with_own_defaults)(body)
    except (TypeError, ValueError, attrs.exceptions.UnannotatedAttributeError) as error:
        raise EventDefinitionError(f"{body.__qualname__} cannot be made an event: {error}.") from error
    bases = [base.__dict__[MARK] for base in cls.__mro__[1:] if MARK in base.__dict__]
    nearest: EventType | None = bases[0] if bases else None
    stream = nearest.stream if stream is None and nearest else stream
    fields = frozenset(attribute.name for attribute in attrs.fields(cls))
    type_ = EventType(
        name=name,
        version=version,
        kind=kind or (nearest.kind if nearest else "domain"),
        stream=stream,
        cls=cls,
        bases=tuple(dict.fromkeys(b.name for b in bases if (b.name, b.version) != (name, version))),
        qualified=f"{cls.__module__}:{cls.__qualname__}",
        fill=None if stream is None else compile_template(stream, name, fields),
        codec=LazyCodec(cls, name, scope),
    )
    setattr(cls, MARK, type_)
    remember(type_)
    return cls


def _with_own_defaults(_: type, fields: list[attrs.Attribute[Any]]) -> list[attrs.Attribute[Any]]:
    """Each event gets its own copy of a default that could change under the others."""
    return [
        each.evolve(default=attrs.Factory(partial(copy.deepcopy, each.default)))
        if issubclass(type(each.default), list | dict | set)
        else each
        for each in fields
    ]


def _check_body(body: Any) -> None:
    if not isinstance(body, type):
        raise EventDefinitionError(f"{body!r} is not a class; @event decorates classes.")
    cls: type[object] = body
    if issubclass(cls, enum.Enum):
        raise EventDefinitionError(
            f"{cls.__qualname__} is an Enum, whose members cannot be events.",
            hint="Make it a field of an event class.",
        )
    builtin = next(
        (base for base in cls.__mro__[:-1] if isinstance(base.__dict__.get("__new__"), BuiltinMethodType)), None
    )
    if builtin is not None:
        raise EventDefinitionError(
            f"{cls.__qualname__} derives from {builtin.__name__}, whose own content is in no field and would be lost.",
            hint=f"Give it a field of the type {builtin.__name__} instead.",
        )
    if "self" in inspect.get_annotations(cls):
        raise EventDefinitionError(f"{cls.__qualname__}: no field can be named self.", hint="Give it another name.")
    if "__attrs_attrs__" in cls.__dict__ or dataclasses.is_dataclass(cls):
        raise EventDefinitionError(
            f"{cls.__qualname__} is an attrs class or a dataclass already.", hint="@event alone makes it one."
        )


def _check_words(body: type, name: Any, version: Any, kind: Any, stream: Any) -> None:
    where = body.__qualname__
    printable = isinstance(name, str) and name.isprintable() and not _NOT_IN_NAMES & set(name) and " " not in name
    if not printable or not 1 <= len(name) <= _LONGEST_NAME:
        raise EventDefinitionError(
            f"{where}: {name!r:.80} cannot name an event type.",
            hint=f"Use 1 to {_LONGEST_NAME} printable characters without spaces, '*', '?', '[' and ']'.",
        )
    if type(version) is not int or not 1 <= version < 1 << 63:
        raise EventDefinitionError(f"{where}: the version is {version!r}, not a whole number from 1 on.")
    if kind is not None and kind not in get_args(Kind):
        raise EventDefinitionError(f"{where}: {kind!r} is none of the kinds {', '.join(get_args(Kind))}.")
    if stream is not None and not isinstance(stream, str):
        raise EventDefinitionError(
            f"{where}: the stream template is a str such as 'order-{{order_id}}', not {stream!r:.80}."
        )
