"""Making values again where msgspec alone would not make them equal: classes with converters, unions of
classes, enums by name."""

from __future__ import annotations

import re
import types
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Any

import msgspec

from eventbus.codecs.json.shapes import (
    DictShape,
    EnumShape,
    Field,
    ListShape,
    LiteralShape,
    RecordShape,
    Shape,
    TupleShape,
    UnionShape,
    class_of,
    has_records,
    is_native,
    native_type,
)
from eventbus.codecs.refusal import Refused, Undefinable, shown

Load = Callable[[Any], Any]

_PLACE = re.compile(r"(.*) - at (`key` in )?`\$(.*)`", re.DOTALL)


class LoadCompiler:
    """Compiles shapes into functions from what a JSON reader returns to values."""

    def __init__(self) -> None:
        self._records: dict[int, list[Load]] = {}

    def load(self, shape: Shape) -> Load:
        if not has_records(shape) and is_native(shape):
            return _load_native(native_type(shape))
        match shape:
            case RecordShape():
                return self._record(shape)
            case ListShape():
                return _load_list(shape.cls, self.load(shape.item))
            case TupleShape():
                return _load_tuple([self.load(item) for item in shape.items])
            case DictShape():
                return self._dict(shape)
            case UnionShape():
                return self._union(shape)
            case EnumShape(by_name=True):
                return partial(_load_name, shape.cls)
            case EnumShape():
                return partial(_load_value, shape.cls, shape.kinds[0])
            case LiteralShape():
                return _load_literal(shape)
            case _:
                return _load_native(shape.native)

    def _record(self, shape: RecordShape) -> Load:
        known = self._records.get(id(shape))
        if known is None:
            known = self._records[id(shape)] = []
            known.append(_load_record(shape.cls, [(field, self._field(field)) for field in shape.fields]))
        cell = known
        return cell[0] if cell else lambda raw: cell[0](raw)

    def _field(self, field: Field) -> Load:
        try:
            return self.load(field.shape)
        except Undefinable as refusal:
            raise refusal.under(field.name) from refusal.__cause__

    def _dict(self, shape: DictShape) -> Load:
        keys = self._keys(shape.key)
        inner = self.load(shape.value)

        def load(raw: Any) -> Any:
            loaded: dict[Any, Any] = {}
            for (text, item), key in zip(expect(dict, raw).items(), keys(raw), strict=True):
                try:
                    loaded[key] = inner(item)
                except Refused as refusal:
                    raise refusal.under(f"[{shown(text)}]") from None
            return loaded

        return load

    def _keys(self, key: Shape) -> Callable[[dict[str, Any]], list[Any]]:
        if is_native(key):
            read = _load_native(types.GenericAlias(dict, (native_type(key), Any)))
            return lambda raw: list(read(raw))
        load = self.load(key)
        if key.kinds != (int,):
            return lambda raw: [load(text) for text in raw]
        numbers = _load_native(dict[int, Any])
        return lambda raw: [load(number) for number in numbers(raw)]

    def _union(self, shape: UnionShape) -> Load:
        loads = {id(option): self.load(option) for option in shape.options}
        by_kind = {kind: loads[id(option)] for option in shape.options for kind in option.kinds}
        if float in by_kind:
            by_kind.setdefault(int, by_kind[float])
        tell = shape.tell

        def load(raw: Any) -> Any:
            kind = class_of(raw)
            chosen = by_kind.get(kind)
            if chosen is not None and tell is not None and kind is dict:
                option = tell(raw)
                chosen = loads[id(option)] if option is not None else None
            if chosen is None:
                raise Refused(f"is none of {shape.label}")
            return chosen(raw)

        return load


def expect(cls: type, raw: Any) -> Any:
    if type(raw) is not cls:
        raise Refused(f"is {type(raw).__name__} where {cls.__name__} was expected")
    return raw


def _load_native(hint: Any) -> Load:
    if hint is Any:
        return lambda raw: raw
    if hint in (str, int, bool):
        return partial(expect, hint)
    try:
        # what msgspec cannot read it says no sooner than it has to: it has to here, where the class is defined
        msgspec.json.Decoder(hint)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise Undefinable(f"it could not be read again: {error}") from error
    convert = msgspec.convert

    def load(raw: Any) -> Any:
        try:
            return convert(raw, hint, builtin_types=(), str_keys=True)
        except msgspec.ValidationError as error:
            path, reason = place_of(error)
            raise (Refused(reason).under(path) if path else Refused(reason)) from error

    return load


def place_of(error: msgspec.ValidationError) -> tuple[str, str]:
    """The path and the reason of msgspec's sentence, such as "Expected `int`, got `str` - at `$.items[0].quantity`"."""
    found = _PLACE.fullmatch(str(error))
    reason, key, path = found.groups() if found else (str(error), None, "")
    said = f"cannot be read: {reason[:1].lower()}{reason[1:]}"
    return path.removeprefix("."), f"has a key that {said}" if key else said


def _load_list(cls: type, inner: Load) -> Load:
    def load(raw: Any) -> Any:
        items: list[Any] = []
        for item in expect(list, raw):
            try:
                items.append(inner(item))
            except Refused as refusal:
                raise refusal.under(f"[{len(items)}]") from None
        return items if cls is list else cls(items)

    return load


def _load_tuple(inners: list[Load]) -> Load:
    def load(raw: Any) -> Any:
        if len(expect(list, raw)) != len(inners):
            raise Refused(f"has {len(raw)} items, not {len(inners)}")
        return tuple([inner(item) for inner, item in zip(inners, raw, strict=True)])

    return load


def _load_name(cls: type[Enum], raw: Any) -> Any:
    try:
        return cls[expect(str, raw)]
    except KeyError:
        raise Refused(f"is {shown(raw)}, which is not a member of {cls.__name__}") from None


def _load_value(cls: type[Enum], kind: type, raw: Any) -> Any:
    try:
        return cls(expect(kind, raw))
    except Refused:
        raise
    except Exception as error:  # _missing_ is the user's and may raise anything
        raise Refused(f"is {shown(raw)}, which is no value of {cls.__name__}") from error


def _load_literal(shape: LiteralShape) -> Load:
    values: dict[tuple[type, Any], Any] = {(type(json), json): value for (_, value), json in shape.written.items()}

    def load(raw: Any) -> Any:
        if type(raw) not in shape.kinds or (type(raw), raw) not in values:
            raise Refused(f"is {shown(raw)}, not {shape.label}")
        return values[type(raw), raw]

    return load


def _load_record(cls: type, fields: list[tuple[Field, Load]]) -> Load:
    given = [(field, load) for field, load in fields if field.init]
    kept = [(field, load) for field, load in fields if not field.init]

    def load(raw: Any) -> Any:
        arguments = _read_fields(given, expect(dict, raw))
        later = _read_fields(kept, raw)
        try:
            made = cls(**arguments)
        except Exception as error:
            # converters and validators are the user's: whatever they raise, the payload does not fit the class
            raise Refused(f"is refused by {cls.__name__}: {error}") from error
        for name, value in later.items():
            object.__setattr__(made, name, value)
        return made

    return load


def _read_fields(fields: list[tuple[Field, Load]], raw: dict[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field, load in fields:
        if field.name in raw:
            try:
                values[field.alias] = load(raw[field.name])
            except Refused as refusal:
                raise refusal.under(f".{field.name}") from None
        elif field.required and field.init:
            raise Refused("is missing").under(f".{field.name}")
    return values
