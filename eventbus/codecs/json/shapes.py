"""The type tree: what a field may hold, and what it looks like as JSON.

Each shape says which exact classes its values have, which JSON kinds they are read back from (as the
Python types a JSON reader returns) and which type msgspec may be asked to read (`native`, or
`NOT_NATIVE`). The last speaks of the shape alone; `everywhere` asks for all that is below it too.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, Literal, Union

import attrs

NOT_NATIVE: Any = object()
NoneType = type(None)
class_of: Callable[[object], Any] = type  # type(x) of an Any is something that pyright does not know


@attrs.define(eq=False, slots=False)
class Shape:
    """A type as a field may declare it; `label` is how messages spell it."""

    label: str

    classes: tuple[type, ...] = attrs.field(default=(), kw_only=True)
    kinds: tuple[type, ...] = attrs.field(default=(), kw_only=True)
    native: Any = attrs.field(default=NOT_NATIVE, kw_only=True)
    custom: bool = attrs.field(default=False, kw_only=True)  # code of the user's runs when it is read back

    @property
    def parts(self) -> tuple[Shape, ...]:
        return ()


class JsonShape(Shape):
    """Any, object: whatever JSON can say."""


class ScalarShape(Shape):
    """One class, one JSON kind, read and written by msgspec: str, int, float, bool, None, UUID, dates, ..."""


@attrs.define(eq=False, slots=False)
class EnumShape(Shape):
    """An Enum: by value where all values are strings or all are integers, else by name.

    One that is by value and NOT_NATIVE is written and read by us, for msgspec would not bring it back.
    """

    cls: type[Enum] = attrs.field(kw_only=True)
    by_name: bool = attrs.field(kw_only=True)


@attrs.define(eq=False, slots=False)
class LiteralShape(Shape):
    """Literal: `written` maps (class, value) to JSON."""

    values: tuple[Any, ...] = attrs.field(kw_only=True)
    written: dict[tuple[type, Any], Any] = attrs.field(kw_only=True)


@attrs.define(eq=False, slots=False)
class ListShape(Shape):
    """list, set, frozenset and tuple[X, ...]: any number of one item shape."""

    cls: type = attrs.field(kw_only=True)
    item: Shape = attrs.field(kw_only=True)

    @property
    def parts(self) -> tuple[Shape, ...]:
        return (self.item,)

    @property
    def unordered(self) -> bool:
        return self.cls in (set, frozenset)


@attrs.define(eq=False, slots=False)
class TupleShape(Shape):
    """tuple[X, Y]: a fixed number of items."""

    items: tuple[Shape, ...] = attrs.field(kw_only=True)

    @property
    def parts(self) -> tuple[Shape, ...]:
        return self.items


@attrs.define(eq=False, slots=False)
class DictShape(Shape):
    """dict[K, V], K being something that a JSON key can say unmistakably."""

    key: Shape = attrs.field(kw_only=True)
    value: Shape = attrs.field(kw_only=True)

    @property
    def parts(self) -> tuple[Shape, ...]:
        return (self.key, self.value)


@attrs.define(eq=False, slots=False)
class UnionShape(Shape):
    """Options that can be told apart by their JSON kind; several records by `tell`, given the JSON object."""

    options: tuple[Shape, ...] = attrs.field(kw_only=True)
    tell: Callable[[dict[str, Any]], Shape | None] | None = attrs.field(default=None, kw_only=True)

    @property
    def parts(self) -> tuple[Shape, ...]:
        return self.options


@attrs.define(eq=False)
class Field:
    """One field of a record. `alias` is its name in `__init__`; `init` False: set after it was made."""

    name: str
    alias: str
    shape: Shape
    init: bool
    required: bool


@attrs.define(eq=False, slots=False)
class RecordShape(Shape):
    """An attrs class or a dataclass."""

    cls: type = attrs.field(kw_only=True)
    fields: list[Field] = attrs.field(factory=list[Field], kw_only=True)

    @property
    def parts(self) -> tuple[Shape, ...]:
        return tuple(field.shape for field in self.fields)


def reachable(shape: Shape) -> Iterator[Shape]:
    """The shape and everything below it, each once, recursive or not."""
    seen, waiting = {id(shape)}, [shape]
    while waiting:
        current = waiting.pop()
        yield current
        for part in current.parts:
            if id(part) not in seen:
                seen.add(id(part))
                waiting.append(part)


def everywhere(shape: Shape, holds: Callable[[Shape], bool]) -> bool:
    return all(map(holds, reachable(shape)))


def is_native(shape: Shape) -> bool:
    """Whether msgspec brings back the shape and all below it without help."""
    return everywhere(shape, lambda part: part.native is not NOT_NATIVE)


def native_type(shape: Shape) -> Any:
    """The annotation msgspec is given for a native shape, resolved as we resolved it."""
    match shape:
        case ListShape(cls=cls, item=item):
            return types.GenericAlias(cls, (native_type(item), ...) if cls is tuple else (native_type(item),))
        case TupleShape(items=items):
            return types.GenericAlias(tuple, tuple(map(native_type, items)))
        case DictShape(key=key, value=value):
            return types.GenericAlias(dict, (native_type(key), native_type(value)))
        case UnionShape(options=options):
            return Union[tuple(map(native_type, options))]  # noqa: UP007 - made of a tuple
        case LiteralShape(values=values):
            return Literal[values]
        case _:
            return shape.native


def has_records(shape: Shape) -> bool:
    return not everywhere(shape, lambda part: not isinstance(part, RecordShape))
