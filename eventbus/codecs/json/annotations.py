"""From annotations to shapes."""

from __future__ import annotations

import collections.abc
import datetime
import decimal
import inspect
import types
import typing
import uuid
from enum import Enum
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from eventbus.codecs.json.choices import enum_shape, literal_shape
from eventbus.codecs.json.records import RecordReader
from eventbus.codecs.json.shapes import (
    NOT_NATIVE,
    DictShape,
    EnumShape,
    JsonShape,
    ListShape,
    LiteralShape,
    NoneType,
    ScalarShape,
    Shape,
    TupleShape,
)
from eventbus.codecs.json.unions import union_shape
from eventbus.codecs.refusal import Undefinable
from eventbus.codecs.scope import Scope

Bindings = dict[Any, Any]

_SCALARS: dict[Any, type] = {
    str: str,
    int: int,
    float: float,
    bool: bool,
    NoneType: NoneType,
    bytes: str,
    uuid.UUID: str,
    decimal.Decimal: str,
    datetime.datetime: str,
    datetime.date: str,
    datetime.time: str,
    datetime.timedelta: str,
}
_KEYS = frozenset(_SCALARS) - {bool, NoneType}
_ABSTRACT = {
    collections.abc.Sequence: "list[...] or tuple[..., ...]",
    collections.abc.MutableSequence: "list[...]",
    collections.abc.Collection: "list[...], set[...] or tuple[..., ...]",
    collections.abc.Iterable: "list[...] or tuple[..., ...]",
    collections.abc.Set: "set[...] or frozenset[...]",
    collections.abc.MutableSet: "set[...]",
    collections.abc.Mapping: "dict[..., ...]",
    collections.abc.MutableMapping: "dict[..., ...]",
}
_ARRAYS = (list, set, frozenset)


class AnnotationReader:
    """Reads annotations into shapes, one record shape per class, so that classes may be recursive."""

    def __init__(self, scope: Scope) -> None:
        self._records = RecordReader(scope, self.shape)

    def shape(self, hint: Any, bindings: Bindings) -> Shape:
        """The shape of an annotation whose names are resolved; Undefinable if it would not come back equal."""
        if isinstance(hint, TypeVar):
            return self._variable(hint, bindings)
        if hint is Any or hint is object:
            return JsonShape("Any", native=Any, kinds=(object,), classes=(object,))
        origin, args = get_origin(hint), get_args(hint)
        if origin is typing.Annotated:
            return self._annotated(args, bindings)
        if origin is Literal:
            return literal_shape(args)
        if origin in (Union, types.UnionType):
            return union_shape([self.shape(option, bindings) for option in args])
        if isinstance(hint, typing.NewType):
            return self.shape(hint.__supertype__, bindings)
        if type(hint).__name__ == "TypeAliasType" or type(origin).__name__ == "TypeAliasType":
            return self._alias(hint, origin, args, bindings)
        return self._class(hint if origin is None else origin, args, bindings)

    def _variable(self, variable: TypeVar, bindings: Bindings) -> Shape:
        if variable in bindings:
            return self.shape(bindings[variable], {})
        if variable.__bound__ is not None:
            return self.shape(variable.__bound__, {})
        options = [self.shape(constraint, {}) for constraint in variable.__constraints__ or (Any,)]
        return union_shape(options) if len(options) > 1 else options[0]

    def _annotated(self, args: tuple[Any, ...], bindings: Bindings) -> Shape:
        shape = self.shape(args[0], bindings)
        if any(isinstance(extra, msgspec.Meta) for extra in args[1:]):
            # msgspec holds the constraints when it reads, so an event that breaks them must not be written
            constrained = ScalarShape if isinstance(shape, ScalarShape) else None
            if constrained is None:
                raise Undefinable("msgspec.Meta constraints are supported on plain values only; use a validator")
            return ScalarShape(
                shape.label,
                classes=shape.classes,
                kinds=shape.kinds,
                native=typing.Annotated[(shape.native, *args[1:])],
                custom=True,
            )
        return shape

    def _alias(self, hint: Any, origin: Any, args: tuple[Any, ...], bindings: Bindings) -> Shape:
        if origin is None:
            return self.shape(hint.__value__, {})
        given = [_bound(arg, bindings) for arg in args]
        return self.shape(origin.__value__, dict(zip(origin.__type_params__, given, strict=False)))

    def _class(self, cls: Any, args: tuple[Any, ...], bindings: Bindings) -> Shape:
        if cls is None:
            cls = NoneType
        if cls in _ABSTRACT:
            raise Undefinable(f"{_name(cls)} would not say what comes back: write {_ABSTRACT[cls]}")
        if cls in _SCALARS:
            return ScalarShape(_name(cls), classes=(cls,), kinds=(_SCALARS[cls],), native=cls)
        if cls in _ARRAYS:
            return self._array(cls, args[0] if args else Any, bindings)
        if cls is tuple:
            return self._tuple(args, bindings)
        if cls is dict:
            return self._dict(args or (str, Any), bindings)
        if not inspect.isclass(cls):
            raise Undefinable(f"{cls!r} is not a type that an event can carry")
        if issubclass(cls, Enum):
            return enum_shape(cls)
        return self._records.record(cls, tuple(_bound(arg, bindings) for arg in args))

    def _array(self, cls: type, item: Any, bindings: Bindings) -> Shape:
        shape = self.shape(item, bindings)
        return ListShape(
            f"{cls.__name__}[{shape.label}]",
            classes=(cls,),
            kinds=(list,),
            native=cls,
            cls=cls,
            item=shape,
        )

    def _tuple(self, args: tuple[Any, ...], bindings: Bindings) -> Shape:
        if not args or (len(args) == 2 and args[1] is Ellipsis):
            item = self.shape(args[0] if args else Any, bindings)
            label = f"tuple[{item.label}, ...]"
            return ListShape(label, classes=(tuple,), kinds=(list,), native=tuple, cls=tuple, item=item)
        items = tuple(self.shape(arg, bindings) for arg in args if arg != ())
        label = f"tuple[{', '.join(item.label for item in items) or '()'}]"
        return TupleShape(label, classes=(tuple,), kinds=(list,), native=tuple, items=items)

    def _dict(self, args: tuple[Any, ...], bindings: Bindings) -> Shape:
        key, value = self.shape(str if args[0] is Any else args[0], bindings), self.shape(args[1], bindings)
        if not _may_be_key(key):
            raise Undefinable(f"a dict with {key.label} keys would not come back equal from JSON")
        label = f"dict[{key.label}, {value.label}]"
        return DictShape(label, classes=(dict,), kinds=(dict,), native=dict, key=key, value=value)


def _bound(arg: Any, bindings: Bindings) -> Any:
    """An argument with the type variables of where it stands put in."""
    if isinstance(arg, TypeVar):
        return bindings.get(arg, arg)
    parameters = getattr(arg, "__parameters__", ())
    if parameters and get_origin(arg) is not None:
        return arg[tuple(bindings.get(parameter, Any) for parameter in parameters)]
    return arg


def _may_be_key(key: Shape) -> bool:
    if isinstance(key, ScalarShape):
        return key.classes[0] in _KEYS
    if isinstance(key, LiteralShape):
        return key.native is not NOT_NATIVE and key.kinds in ((str,), (int,))
    return isinstance(key, EnumShape)


def _name(cls: Any) -> str:
    return "None" if cls is NoneType else str(getattr(cls, "__name__", cls))
