"""What the JSON codec would not bring back equal is refused, with the place and the reason."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
import re
import typing
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Annotated, Any, Literal

import attrs
import msgspec
import pytest
from codec_stage import (
    ROOM,
    Card,
    Cash,
    Cleaned,
    Item,
    Level,
    Node,
    Page,
    Shade,
    Transfer,
    codec_of,
    come_back,
    round_trip,
)

from eventbus.codecs import JsonCodec, Scope, Undefinable, encode_value
from eventbus.errors import InvalidEvent


def refusal(hint: Any, value: Any) -> InvalidEvent:
    codec = codec_of(hint)
    with pytest.raises(InvalidEvent) as caught:
        codec.encode(codec._shape.cls(value), ROOM)  # type: ignore[attr-defined]
    assert caught.value.stored == "not stored"
    return caught.value


def definition_refusal(hint: Any) -> str:
    with pytest.raises(Undefinable) as caught:
        codec_of(hint)
    assert caught.value.field.startswith("value")
    return caught.value.reason


def refused_class(cls: type) -> Undefinable:
    with pytest.raises(Undefinable) as caught:
        JsonCodec(cls, cls.__name__, Scope())
    return caught.value


deep: Any = 1
for _ in range(63):
    deep = [deep]
endless: list[Any] = []
endless.append(endless)


class Text(str):
    pass


class SpecialItem(Item):
    pass


@pytest.mark.parametrize(
    ("hint", "value", "path", "reason"),
    [
        (float, math.nan, "value", "NaN"),
        (float, -math.inf, "value", "infinite"),
        (list[float], [0.0, math.inf], "value[1]", "infinite"),
        (Decimal, Decimal("sNaN"), "value", "NaN"),
        (Decimal, Decimal("Infinity"), "value", "infinite"),
        (str, "a\ud800", "value", "lone surrogate at index 1"),
        (dict[str, int], {"\udfff": 1}, "value", "lone surrogate"),
        (dt.datetime, dt.datetime(2020, 1, 1), "value", "naive"),
        (dt.datetime, dt.datetime(1, 1, 1, tzinfo=dt.timezone(dt.timedelta(seconds=1))), "value", "no time in UTC"),
        (dt.time, dt.time(1, tzinfo=dt.timezone(dt.timedelta(seconds=1))), "value", "offset with seconds"),
        (dt.date, dt.datetime(2020, 1, 1, tzinfo=dt.UTC), "value", "is datetime, not date"),
        (int, 10**5000, "value", "too long"),
        (int, True, "value", "is bool, not int"),
        (float, 2**53 + 1, "value", "an int that no float equals"),
        (float, 10**400, "value", "an int that no float equals"),
        (float, True, "value", "is bool, not float"),
        (bool, 1, "value", "is int, not bool"),
        (str, Text("a"), "value", "is Text, not str"),
        (str, Shade.DARK, "value", "is Shade, not str"),
        (int, Level.LOW, "value", "is Level, not int"),
        (str, None, "value", "is None, not str"),
        (Item, SpecialItem("a"), "value", "is SpecialItem, not Item"),
        (Item, {"sku": "a"}, "value", "is dict, not Item"),
        (list[Item], [Item("a"), Item("b", "2")], "value[1].quantity", "is str, not int"),  # type: ignore[arg-type]
        (list[Item], (Item("a"),), "value", "is tuple, not list[Item]"),
        (tuple[int, str], (1, "a", 2), "value", "has 3 items, not the 2"),
        (tuple[int, str], (1, 2), "value[1]", "is int, not str"),
        (set[int], {1, "a"}, "value['a']", "is str, not int"),
        (dict[int, str], {1: "a", "1": "b"}, "value", "has the key '1', which is str, not int"),
        (dict[str, Item], {"a": Item(1)}, "value['a'].sku", "is int, not str"),  # type: ignore[arg-type]
        (Literal["a", 1], True, "value", "is True, not Literal['a', 1]"),
        (Literal["a"], [], "value", "is [], not Literal['a']"),
        (int | None, "1", "value", "is str, not int | None"),
        (Card | Transfer, Cash(1), "value", "is Cash, not Card | Transfer"),
        (Any, (1,), "value", "is tuple, which is not a JSON value"),
        (Any, {"a": [1, {1}]}, "value['a'][1]", "is set, which is not a JSON value"),
        (Any, {"a": {1: 2}}, "value['a']", "has the key 1, which is int, not str"),
        (Any, [math.nan], "value[0]", "NaN"),
        (Any, [{"a": "\ud800"}], "value[0]['a']", "lone surrogate"),
        (list, [dt.date(2020, 1, 1)], "value[0]", "is date, which is not a JSON value"),
        (dict, {1: 1}, "value", "has the key 1"),
        (Any, [deep], "value" + "[0]" * 63, "nested more than 64"),
        (Any, endless, "value" + "[0]" * 63, "nested more than 64"),
    ],
    ids=lambda part: part[:30] if isinstance(part, str) and part.isascii() else "",
)
def test_what_would_not_come_back_is_refused_with_its_path(hint: Any, value: Any, path: str, reason: str) -> None:
    error = refusal(hint, value)
    assert error.path == path
    assert reason in error.reason


def test_sixty_four_levels_are_carried() -> None:
    assert come_back(Any, deep) == deep


def test_a_recursive_class_is_refused_beyond_the_depth() -> None:
    node = Node("leaf")
    for _ in range(40):
        node = Node("n", [node])
    assert refusal(Node, node).path.endswith(".children[0]") or "nested" in refusal(Node, node).reason


def test_a_payload_over_the_limit_names_its_largest_field() -> None:
    codec = JsonCodec(Item, "Item", Scope())
    with pytest.raises(InvalidEvent, match="more than max_payload=100") as caught:
        codec.encode(Item("a" * 200), 100)
    assert caught.value.path == "sku"
    assert len(codec.encode(Item("a"), 26)) == len('{"sku":"a","quantity":1}')


@pytest.mark.parametrize(
    ("hint", "reason"),
    [
        (str | uuid.UUID, "str and UUID cannot be told apart"),
        (dt.date | dt.datetime, "cannot be told apart"),
        (list[int] | tuple[int, ...], "cannot be told apart"),
        (int | Level, "cannot be told apart"),
        (dict[str, int] | Item, "cannot be told apart"),
        (Any | int if False else typing.Union[Any, int], "one of them is anything"),  # noqa: UP007
        (Page[int] | Page[str], "of one class"),
        (complex, "complex is neither"),
        (bytearray, "bytearray is neither"),
        (Sequence[int], "write list[...] or tuple[..., ...]"),
        (dict[tuple[int, int], int], "keys would not come back equal"),
        (dict[bool, int], "keys would not come back equal"),
        (dict[int | str, int], "keys would not come back equal"),
        (typing.Callable[[], None], "is neither|is not a type"),
        (type[int], "is neither"),
        (Literal[b"x"], "cannot be told from its JSON"),
    ],
    ids=str,
)
def test_a_type_that_would_not_come_back_is_refused(hint: Any, reason: str) -> None:
    assert re.search(reason.replace("[", r"\[").replace("...", r"\.\.\."), definition_refusal(hint))


def test_records_without_a_mark_of_their_own_are_refused() -> None:
    @attrs.frozen
    class Euro:
        amount: int

    @attrs.frozen
    class Dollar:
        amount: int

    assert "Euro and Dollar cannot be told apart" in definition_refusal(Euro | Dollar)


def test_private_fields_are_refused() -> None:
    @attrs.frozen
    class Account:
        _balance: int

    error = refused_class(Account)
    assert error.field == "_balance"
    assert "underscore" in error.reason


def test_classes_without_equality_are_refused() -> None:
    @attrs.frozen(eq=False)
    class Thing:
        x: int

    @dataclasses.dataclass(eq=False)
    class Other:
        x: int

    assert "no equality" in refused_class(Thing).reason
    assert "no equality" in refused_class(Other).reason


def test_classes_with_an_init_of_their_own_are_refused() -> None:
    @attrs.define
    class Mine:
        x: int

        def __init__(self) -> None:
            self.x = 1

    @dataclasses.dataclass
    class Needs:
        x: int
        scale: dataclasses.InitVar[int]

    assert "own __init__" in refused_class(Mine).reason
    assert "InitVar" in refused_class(Needs).reason


def test_the_way_to_a_refused_field_leads_through_nested_classes() -> None:
    @attrs.frozen
    class Inner:
        bad: complex

    @attrs.frozen
    class Outer:
        inners: list[Inner]

    with pytest.raises(Undefinable) as caught:
        JsonCodec(Outer, "Outer", Scope.of(__import__("sys")._getframe(0)))
    assert caught.value.field == "inners.bad"


@attrs.frozen
class Doubled:
    amount: int = attrs.field(converter=lambda amount: amount * 2)


def test_a_converter_that_changes_its_own_result_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="would come back as 12, not 6") as caught:
        round_trip(Doubled(3))
    assert caught.value.path == "amount"


@attrs.define
class Basket:
    items: list[int] = attrs.field(validator=attrs.validators.min_len(1))


def test_a_value_that_no_longer_passes_its_validator_is_refused() -> None:
    basket = Basket([1])
    assert round_trip(basket) == basket
    basket.items.clear()
    with pytest.raises(InvalidEvent, match="would not come back from the log"):
        round_trip(basket)


def test_a_field_without_a_value_is_refused() -> None:
    with pytest.raises(InvalidEvent, match=r"Item\.sku: has no value"):
        round_trip(Item.__new__(Item))


def test_constraints_of_msgspec_hold_when_publishing_too() -> None:
    hint = Annotated[int, msgspec.Meta(ge=0)]
    assert come_back(hint, 1) == 1
    assert "would not come back" in refusal(hint, -1).reason


@pytest.mark.parametrize("cls", [Item, Cleaned])
@pytest.mark.parametrize("payload", ["", "[]", "{}", "{", "1", b"\xff"])
def test_a_payload_that_does_not_fit_is_an_error_of_ours(cls: type, payload: str | bytes) -> None:
    with pytest.raises(InvalidEvent) as caught:
        JsonCodec(cls, cls.__name__, Scope()).decode(payload)
    assert caught.value.stored == ""


def test_an_unreadable_payload_says_where() -> None:
    with pytest.raises(InvalidEvent) as caught:
        codec_of(list[Item]).decode('{"value":[{"sku":"a","quantity":"x"}]}')
    assert caught.value.path == "value[0].quantity"
    with pytest.raises(InvalidEvent) as caught:
        codec_of(list[Card | Transfer]).decode('{"value":[{"kind":"cheque"}]}')
    assert caught.value.path == "value[0]"


def test_plain_values_are_written_or_refused_with_their_path() -> None:
    assert encode_value({"a": [1, None]}, "OrderPlaced", "metadata") == '{"a":[1,null]}'
    with pytest.raises(InvalidEvent) as caught:
        encode_value({"a": [object()]}, "OrderPlaced", "metadata")
    assert caught.value.path == "metadata['a'][0]"
