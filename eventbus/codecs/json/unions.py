"""Which unions can be told apart once they are JSON, and by what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

from eventbus.codecs.json.shapes import (
    NOT_NATIVE,
    JsonShape,
    LiteralShape,
    NoneType,
    RecordShape,
    Shape,
    UnionShape,
    class_of,
    reachable,
)
from eventbus.codecs.refusal import Undefinable

_ADVICE = "give each a Literal field of its own value, or wrap them"


def union_shape(options: list[Shape]) -> Shape:
    """The union of `options`; Undefinable unless the JSON of each value says which of them it is."""
    flat: list[Shape] = []
    for option in options:
        flat.extend(option.options if isinstance(option, UnionShape) else [option])
    label = " | ".join(option.label for option in flat)
    if any(isinstance(option, JsonShape) for option in flat):
        if all(isinstance(option, JsonShape) or option.classes == (NoneType,) for option in flat):
            return next(option for option in flat if isinstance(option, JsonShape))
        raise Undefinable(f"the options of {label} cannot be told apart, for one of them is anything")
    records = [option for option in flat if isinstance(option, RecordShape)]
    for one, other in combinations(flat, 2):
        if set(one.kinds) & set(other.kinds) and not (one in records and other in records):
            raise Undefinable(f"{one.label} and {other.label} cannot be told apart once they are JSON")
        if set(one.classes) & set(other.classes):
            raise Undefinable(f"{one.label} and {other.label} are values of one class and cannot be told apart")
    native = NOT_NATIVE if len(records) > 1 else object
    return UnionShape(
        label,
        classes=tuple(cls for option in flat for cls in option.classes),
        kinds=tuple(kind for option in flat for kind in option.kinds),
        native=native,
        options=tuple(flat),
        tell=None,
    )


def tell_unions_apart(shape: Shape) -> None:
    """Settle how each union of records below `shape` is told apart; Undefinable, with the field, if it is not.

    Done once all classes are read, for a record's fields are not known while it is being read.
    """
    for record in reachable(shape):
        if not isinstance(record, RecordShape):
            continue
        for field in record.fields:
            try:
                for union in _unions_in(field.shape):
                    records = [option for option in union.options if isinstance(option, RecordShape)]
                    union.tell = tell_records(records) if len(records) > 1 else None
            except Undefinable as refusal:
                where = field.name if record is shape else f"{record.label}.{field.name}"
                raise refusal.under(where) from None


def _unions_in(shape: Shape) -> Iterator[UnionShape]:
    """The unions of one field, down to the records it holds."""
    if isinstance(shape, UnionShape):
        yield shape
    if not isinstance(shape, RecordShape):
        for part in shape.parts:
            yield from _unions_in(part)


Tell = Callable[[dict[str, Any]], Shape | None]


def tell_records(records: list[RecordShape]) -> Tell:
    """How a JSON object says which of `records` it is; Undefinable if it does not say."""
    return _by_literal(records) or _by_own_field(records)


def _by_literal(records: list[RecordShape]) -> Tell | None:
    for name in [field.name for field in records[0].fields]:
        table: dict[tuple[type, Any], Shape] = {}
        count = 0
        for record in records:
            tag = next((field.shape for field in record.fields if field.name == name), None)
            if not isinstance(tag, LiteralShape):
                break
            count += len(tag.written)
            table.update({(type(json), json): record for json in tag.written.values()})
        else:
            if len(table) == count:
                return _look_up(name, table)
    return None


def _look_up(name: str, table: dict[tuple[type, Any], Shape]) -> Tell:
    def tell(raw: dict[str, Any]) -> Shape | None:
        value = raw.get(name)
        kind = class_of(value)
        return table.get((kind, value)) if kind in (str, int, bool, NoneType) else None

    return tell


def _by_own_field(records: list[RecordShape]) -> Tell:
    marks: list[tuple[str, Shape]] = []
    for record in records:
        others = {field.name for other in records if other is not record for field in other.fields}
        own = next((field.name for field in record.fields if field.required and field.name not in others), None)
        if own is None:
            labels = " and ".join(other.label for other in records)
            raise Undefinable(f"{labels} cannot be told apart once they are JSON: {_ADVICE}")
        marks.append((own, record))

    def tell(raw: dict[str, Any]) -> Shape | None:
        return next((record for mark, record in marks if mark in raw), None)

    return tell
