"""Whether msgspec may read a class by itself.

msgspec resolves annotations in its own way: in a function or after a reload a name may mean another class
to it than to us. So it is asked what it understood, at first use, when all names are bound; where its
answer is not our type tree, we read with our own loader.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec.inspect import type_info

from eventbus.codecs.json.shapes import (
    DictShape,
    EnumShape,
    ListShape,
    LiteralShape,
    NoneType,
    RecordShape,
    Shape,
    TupleShape,
    UnionShape,
    is_native,
)

Read = Callable[[str | bytes], Any]

_NAMES: dict[type, str] = {
    str: "StrType",
    int: "IntType",
    float: "FloatType",
    bool: "BoolType",
    NoneType: "NoneType",
    bytes: "BytesType",
    uuid.UUID: "UUIDType",
    decimal.Decimal: "DecimalType",
    datetime.datetime: "DateTimeType",
    datetime.date: "DateType",
    datetime.time: "TimeType",
    datetime.timedelta: "TimeDeltaType",
    object: "AnyType",
}
_ARRAYS: dict[type, str] = {
    list: "ListType",
    set: "SetType",
    frozenset: "FrozenSetType",
    tuple: "VarTupleType",
}


def native_reader(shape: Shape) -> Read | None:
    """msgspec's own reader of a record shape, or None where it would not bring back an equal value."""
    if not is_native(shape):
        return None
    try:
        if not _agree(shape, type_info(shape.native), set()):
            return None
        return msgspec.json.Decoder(shape.native).decode
    except (NameError, TypeError, ValueError, AttributeError, NotImplementedError, RecursionError):
        return None  # it cannot: our own loader can


def _agree(shape: Shape, info: Any, seen: set[int]) -> bool:
    if id(shape) in seen:
        return True
    seen.add(id(shape))
    kind = type(info).__name__
    match shape:
        case RecordShape(cls=cls, fields=fields):
            if kind != "DataclassType" or info.cls is not cls:
                return False
            theirs = {field.name: field.type for field in info.fields}
            ours = {field.name: field.shape for field in fields}
            return theirs.keys() == ours.keys() and all(_agree(ours[name], theirs[name], seen) for name in ours)
        case ListShape(cls=cls, item=item):
            return kind == _ARRAYS[cls] and _agree(item, info.item_type, seen)
        case TupleShape(items=items):
            return kind == "TupleType" and _all_agree(items, info.item_types, seen)
        case DictShape(key=key, value=value):
            return kind == "DictType" and _agree(key, info.key_type, seen) and _agree(value, info.value_type, seen)
        case UnionShape(options=options):
            return kind == "UnionType" and _options_agree(options, info.types, seen)
        case EnumShape(cls=cls):
            return kind == "EnumType" and info.cls is cls
        case LiteralShape(values=values):
            return kind == "LiteralType" and set(info.values) == set(values)
        case _:
            return kind == _NAMES[shape.classes[0]]


def _all_agree(shapes: tuple[Shape, ...], infos: tuple[Any, ...], seen: set[int]) -> bool:
    return len(shapes) == len(infos) and all(
        _agree(shape, info, seen) for shape, info in zip(shapes, infos, strict=True)
    )


def _options_agree(shapes: tuple[Shape, ...], infos: tuple[Any, ...], seen: set[int]) -> bool:
    """Options in any order; a failed guess must not mark a shape as seen."""
    if len(shapes) != len(infos):
        return False
    for shape in shapes:
        for info in infos:
            tried = set(seen)
            if _agree(shape, info, tried):
                seen.update(tried)
                break
        else:
            return False
    return True
