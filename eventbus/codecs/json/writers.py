"""Writing: from a value to what msgspec encodes, refusing what is not as declared or would not come back equal.

Each shape is compiled once into a closure `write(value, room)`; `room` is how many levels of nesting are
left. Sets come out in a fixed order and records in the order of their fields, so that equal events give
equal payloads in every process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from eventbus.codecs.json.leaves import Leaf, Leaves
from eventbus.codecs.json.plain import PlainWriter
from eventbus.codecs.json.shapes import (
    NOT_NATIVE,
    DictShape,
    EnumShape,
    JsonShape,
    ListShape,
    LiteralShape,
    RecordShape,
    Shape,
    TupleShape,
    UnionShape,
    class_of,
)
from eventbus.codecs.refusal import Refused, shown, too_deep, wrong_class

Write = Callable[[Any, int], Any]
RecordWriter = Callable[[RecordShape, "WriterCompiler"], Write]

_encode = msgspec.json.Encoder().encode


class WriterCompiler:
    """Compiles shapes into writers, each record once, so that recursive classes call themselves.

    `leaves` are how single values are written; `record` makes the writer of a record.
    """

    def __init__(self, leaves: Leaves, record: RecordWriter) -> None:
        self.leaves = leaves
        self._record = record
        self._records: dict[int, list[Write]] = {}

    def writer(self, shape: Shape) -> Write:
        match shape:
            case RecordShape():
                return self._record_once(shape)
            case JsonShape():
                return PlainWriter(self.leaves)
            case ListShape():
                return _array_writer(shape, self.writer(shape.item), self.is_by_class(shape.item))
            case TupleShape():
                return _tuple_writer(shape, [self.writer(item) for item in shape.items])
            case DictShape():
                return self._dict(shape)
            case UnionShape():
                return _union_writer(
                    shape, {c: self.writer(option) for option in shape.options for c in option.classes}
                )
            case LiteralShape():
                return _literal_writer(shape)
            case EnumShape():
                return _enum_writer(shape, self.leaves)
            case _ if shape.classes == (float,):
                return _float_writer(shape, self.leaves[float])
            case _:
                return _leaf_writer(shape, self.leaves.get(shape.classes[0]))

    def is_by_class(self, shape: Shape) -> bool:
        """Whether the class of a value says all there is to look at, and the value is written as it is."""
        if isinstance(shape, LiteralShape | JsonShape | RecordShape) or shape.parts:
            return False
        if isinstance(shape, EnumShape):
            return shape.native is not NOT_NATIVE
        return shape.classes[0] not in self.leaves

    def _record_once(self, shape: RecordShape) -> Write:
        made = self._records.get(id(shape))
        if made is None:
            made = self._records[id(shape)] = []
            made.append(self._record(shape, self))
        if made:
            return made[0]
        unfinished = made  # a class that holds itself: its writer is there by the time a value is written
        return lambda value, room: unfinished[0](value, room)

    def _dict(self, shape: DictShape) -> Write:
        by_class = self.is_by_class(shape.key) and self.is_by_class(shape.value)
        return _dict_writer(shape, self.writer(shape.key), self.writer(shape.value), by_class)


def patient_record(shape: RecordShape, compiler: WriterCompiler) -> Write:
    """A record's writer that says which field it is."""
    fields = [(field.name, compiler.writer(field.shape)) for field in shape.fields]
    cls = shape.cls

    def write(value: Any, room: int) -> Any:
        if type(value) is not cls:
            raise wrong_class(value, shape.label)
        if not room:
            raise too_deep()
        written: dict[Any, Any] = {}
        for name, inner in fields:
            try:
                written[name] = inner(getattr(value, name), room - 1)
            except AttributeError:
                raise Refused("has no value").under(f".{name}") from None
            except Refused as refusal:
                raise refusal.under(f".{name}") from None
        return written

    return write


def _leaf_writer(shape: Shape, leaf: Leaf | None) -> Write:
    cls = shape.classes[0]

    def write(value: Any, room: int) -> Any:
        if type(value) is not cls:
            raise wrong_class(value, shape.label)
        return value if leaf is None else leaf(value)

    return write


def _enum_writer(shape: EnumShape, leaves: Leaves) -> Write:
    if shape.by_name:
        return _leaf_writer(shape, lambda member: member.name)
    if shape.native is not NOT_NATIVE:
        return _leaf_writer(shape, None)
    leaf = leaves.get(shape.kinds[0])  # a combination of flags may be an int of any length
    return _leaf_writer(shape, lambda member: member.value if leaf is None else leaf(member.value))


def _float_writer(shape: Shape, leaf: Leaf) -> Write:
    """A float, or an int that equals one: annotations mean both (PEP 484, "the numeric tower")."""

    def write(value: Any, room: int) -> Any:
        if type(value) is int:
            return leaf(_same_float(value))
        if type(value) is not float:
            raise wrong_class(value, shape.label)
        return leaf(value)

    return write


def _same_float(value: int) -> float:
    try:
        same = float(value)
    except OverflowError:
        raise Refused("is an int that no float equals") from None
    if same != value:
        raise Refused("is an int that no float equals")
    return same


def _literal_writer(shape: LiteralShape) -> Write:
    written, classes = shape.written, shape.classes

    def write(value: Any, room: int) -> Any:
        if type(value) not in classes or (type(value), value) not in written:
            raise Refused(f"is {shown(value)}, not {shape.label}")
        return written[type(value), value]

    return write


def _union_writer(shape: UnionShape, writers: dict[type, Write]) -> Write:
    def write(value: Any, room: int) -> Any:
        cls = class_of(value)
        chosen = writers.get(cls) or (writers.get(float) if cls is int else None)
        if chosen is None:
            raise wrong_class(value, shape.label)
        return chosen(value, room)

    return write


def _array_writer(shape: ListShape, inner: Write, by_class: bool) -> Write:
    cls: Any = shape.cls
    unordered = shape.unordered
    item_class = frozenset(shape.item.classes[:1])

    def write(value: Any, room: int) -> Any:
        if type(value) is not cls:
            raise wrong_class(value, shape.label)
        if not room:
            raise too_deep()
        if by_class and item_class.issuperset(map(type, value)):
            return _in_order(value) if unordered else value
        written: list[Any] = []
        for item in value:
            try:
                written.append(inner(item, room - 1))
            except Refused as refusal:
                raise refusal.under(f"[{shown(item)}]" if unordered else f"[{len(written)}]") from None
        return _in_order(written) if unordered else written

    return write


def _in_order(items: Any) -> list[msgspec.Raw]:
    """Sorted by their JSON, which any items have."""
    return [msgspec.Raw(text) for text in sorted(map(_encode, items))]


def _tuple_writer(shape: TupleShape, inners: list[Write]) -> Write:
    cls: Any = tuple

    def write(value: Any, room: int) -> Any:
        if type(value) is not cls:
            raise wrong_class(value, shape.label)
        if len(value) != len(inners):
            raise Refused(f"has {len(value)} items, not the {len(inners)} of {shape.label}")
        if not room:
            raise too_deep()
        written: list[Any] = []
        for inner, item in zip(inners, value, strict=True):
            try:
                written.append(inner(item, room - 1))
            except Refused as refusal:
                raise refusal.under(f"[{len(written)}]") from None
        return written

    return write


def _dict_writer(shape: DictShape, write_key: Write, write_value: Write, by_class: bool) -> Write:
    cls: Any = dict
    key_class, value_class = frozenset(shape.key.classes[:1]), frozenset(shape.value.classes[:1])

    def write(value: Any, room: int) -> Any:
        if type(value) is not cls:
            raise wrong_class(value, shape.label)
        if not room:
            raise too_deep()
        if by_class and key_class.issuperset(map(type, value)) and value_class.issuperset(map(type, value.values())):
            return value
        written: dict[Any, Any] = {}
        for key, item in value.items():
            try:
                name = write_key(key, room - 1)
            except Refused as refusal:
                raise Refused(f"has the key {shown(key)}, which {refusal.reason}") from None
            try:
                written[name] = write_value(item, room - 1)
            except Refused as refusal:
                raise refusal.under(f"[{shown(key)}]") from None
        return written

    return write
