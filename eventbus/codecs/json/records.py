"""From attrs classes and dataclasses to record shapes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any, TypeVar, get_args, get_origin

import attrs

from eventbus.codecs.json.shapes import NOT_NATIVE, Field, RecordShape, Shape
from eventbus.codecs.refusal import Undefinable, Unresolved
from eventbus.codecs.scope import Scope

ReadHint = Callable[[Any, dict[Any, Any]], Shape]


class RecordReader:
    """Reads classes into record shapes, each class (with its type arguments) once."""

    def __init__(self, scope: Scope, read: ReadHint) -> None:
        self._scope, self._read = scope, read
        self._known: dict[tuple[type, tuple[Any, ...]], RecordShape] = {}

    def record(self, cls: type, args: tuple[Any, ...]) -> RecordShape:
        """The shape of `cls[args]`; Undefinable, with the way to the field, if it would not come back equal."""
        _refuse_what_would_differ(cls)
        if (cls, args) in self._known:
            return self._known[cls, args]
        members = list(_members(cls))
        shape = RecordShape(
            cls.__name__,
            classes=(cls,),
            kinds=(dict,),
            native=NOT_NATIVE if _needs_init(cls) else cls[args] if args else cls,  # type: ignore[index]
            cls=cls,
            custom=_runs_code(cls),
        )
        self._known[cls, args] = shape
        bindings = _bindings(cls, args)
        later: Unresolved | None = None
        for member in members:
            try:
                shape.fields.append(self._field(member, bindings))
            except Unresolved as refusal:
                later = later or refusal  # the other fields are refused now, if they are to be
            if member.by_init or not member.init:
                shape.native = NOT_NATIVE
            shape.custom = shape.custom or member.custom
        if later is not None:
            raise later
        return shape

    def _field(self, member: _Member, bindings: dict[type, dict[Any, Any]]) -> Field:
        try:
            if member.name.startswith("_"):
                raise Undefinable("a field whose name begins with an underscore is not written; rename it")
            if member.hint is None and member.name not in getattr(member.owner, "__annotations__", {}):
                raise Undefinable("the field has no type annotation")
            hint = self._scope.resolve(member.hint, member.owner)
            shape = self._read(hint, bindings.get(member.owner, {}))
        except Undefinable as refusal:
            raise refusal.under(member.name) from refusal.__cause__
        return Field(member.name, member.alias, shape, member.init, member.required)


@attrs.frozen
class _Member:
    """What attrs or dataclasses know about a field. `by_init`: only `__init__` makes it right."""

    name: str
    alias: str
    hint: Any
    owner: type
    init: bool
    required: bool
    by_init: bool
    custom: bool


def _members(cls: type) -> Iterator[_Member]:
    if "__attrs_attrs__" in cls.__dict__:
        for attribute in attrs.fields(cls):
            takes_self = isinstance(attribute.default, attrs.Factory) and attribute.default.takes_self  # type: ignore[arg-type]
            converted = attribute.converter is not None
            yield _Member(
                attribute.name,
                attribute.alias or attribute.name,
                attribute.type,
                _owner(cls, attribute.name),
                attribute.init,
                attribute.default is attrs.NOTHING,
                converted or bool(takes_self),
                converted or attribute.validator is not None,
            )
        return
    for field in dataclasses.fields(cls):
        required = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        owner = _owner(cls, field.name)
        yield _Member(field.name, field.name, field.type, owner, field.init, required, False, False)


def _owner(cls: type, name: str) -> type:
    """The class whose body declares the field: its module is where the annotation's names are."""
    for owner in cls.__mro__:
        if any(field.name == name and not field.inherited for field in owner.__dict__.get("__attrs_attrs__", ())):
            return owner
        if name in owner.__dict__.get("__dataclass_fields__", ()) and name in getattr(owner, "__annotations__", {}):
            return owner
    return cls


def _refuse_what_would_differ(cls: type) -> None:
    is_attrs, is_dataclass = "__attrs_attrs__" in cls.__dict__, "__dataclass_fields__" in cls.__dict__
    params: Any = cls.__dict__.get("__dataclass_params__")
    declared: dict[str, Any] = cls.__dict__.get("__dataclass_fields__", {})
    if not is_attrs and not is_dataclass:
        raise Undefinable(f"{cls.__name__} is neither an attrs class nor a dataclass nor another supported type")
    if all("__eq__" not in base.__dict__ for base in cls.__mro__[:-1]):
        raise Undefinable(f"{cls.__name__} has no equality of its own, so it could not come back equal")
    if "__attrs_init__" in cls.__dict__ or (is_dataclass and not params.init):
        raise Undefinable(f"{cls.__name__} has its own __init__, which its fields cannot be given to")
    if is_dataclass and not is_attrs:
        for name, field in declared.items():
            if str(field._field_type) == "_FIELD_INITVAR":
                raise Undefinable(f"{cls.__name__} needs an InitVar, which is not kept").under(name)


def _runs_code(cls: type) -> bool:
    hooks = ("__attrs_pre_init__", "__attrs_post_init__", "__post_init__")
    return any(hasattr(cls, hook) for hook in hooks)


def _needs_init(cls: type) -> bool:
    """msgspec sets the fields without `__init__`, which may do more than that: a pre-init hook, a cached hash."""
    code: CodeType | None = getattr(vars(cls).get("__init__"), "__code__", None)
    caches_hash = code is not None and "_attrs_cached_hash" in (*code.co_names, *code.co_consts)
    return caches_hash or hasattr(cls, "__attrs_pre_init__")


def _bindings(cls: type, args: tuple[Any, ...]) -> dict[type, dict[Any, Any]]:
    """What the type variables of `cls` and of each of its generic bases stand for."""
    found: dict[type, dict[Any, Any]] = {}

    def visit(current: type, given: tuple[Any, ...]) -> None:
        parameters: tuple[Any, ...] = getattr(current, "__parameters__", ())
        own: dict[Any, Any] = dict(zip(parameters, given, strict=False))
        found.setdefault(current, own)
        for base in getattr(current, "__orig_bases__", current.__bases__):
            origin: Any = get_origin(base) or base
            if isinstance(origin, type) and origin is not object and origin.__module__ != "typing":
                visit(origin, tuple(own.get(a, a) if isinstance(a, TypeVar) else a for a in get_args(base)))

    visit(cls, args)
    return found
