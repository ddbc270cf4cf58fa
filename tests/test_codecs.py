"""The JSON codec brings every supported value back equal; test_codecs_refused.py has what it does not take."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import uuid
from decimal import Decimal
from typing import Annotated, Any, Literal, NewType, Optional
from zoneinfo import ZoneInfo

import attrs
import pytest
from codec_stage import (
    ROOM,
    Card,
    Cash,
    Cleaned,
    Colour,
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
from hypothesis import given
from hypothesis import strategies as st

from eventbus.codecs import JsonCodec, Scope
from eventbus.errors import InvalidEvent


class Rate(enum.Enum):
    HALF = 0.5
    MIXED = "mixed"
    NOTHING = None


class Permission(enum.Flag):
    READ = 1
    WRITE = 2


@dataclasses.dataclass
class Point:
    x: float
    y: float = 0.0


@attrs.frozen
class Voucher:
    code: int


OrderId = NewType("OrderId", str)
texts = st.text(st.characters(exclude_categories=["Cs"]))
floats = st.floats(allow_nan=False, allow_infinity=False)
zones = st.sampled_from(
    [dt.UTC, dt.timezone(dt.timedelta(hours=5, minutes=45)), dt.timezone(-dt.timedelta(hours=23, minutes=59))]
)
decimals = st.decimals(allow_nan=False, allow_infinity=False)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | floats | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
SCALARS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (str, texts),
    (int, st.integers()),
    (float, floats),
    (bool, st.booleans()),
    (type(None), st.none()),
    (bytes, st.binary()),
    (uuid.UUID, st.uuids()),
    (Decimal, decimals),
    (dt.datetime, st.datetimes(timezones=zones)),
    (dt.date, st.dates()),
    (dt.time, st.times()),
    (dt.timedelta, st.timedeltas()),
    (Colour, st.sampled_from(Colour)),
    (Level, st.sampled_from(Level)),
    (Shade, st.sampled_from(Shade)),
    (Rate, st.sampled_from(Rate)),
    (Permission, st.sampled_from([Permission.READ, Permission.READ | Permission.WRITE, Permission(0)])),
    (Literal["a", 1, None], st.sampled_from(["a", 1, None])),
    (Literal[True, "x"], st.sampled_from([True, "x"])),
    (Literal[Colour.RED], st.just(Colour.RED)),
    (OrderId, texts),
    (Annotated[int, "a note"], st.integers()),
]
items = st.builds(Item, texts, st.integers())
nodes = st.recursive(
    st.builds(Node, texts), lambda inner: st.builds(Node, texts, st.lists(inner, max_size=3)), max_leaves=8
)
COMPOUND: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Any, plain),
    (object, plain),
    (list, st.lists(plain, max_size=3)),
    (dict, st.dictionaries(texts, plain, max_size=3)),
    (tuple, st.lists(plain, max_size=3).map(tuple)),
    (list[int], st.lists(st.integers())),
    (list[float], st.lists(floats)),
    (set[str], st.sets(texts)),
    (frozenset[int], st.frozensets(st.integers())),
    (set[tuple[int, str]], st.sets(st.tuples(st.integers(), texts))),
    (frozenset[frozenset[Colour]], st.frozensets(st.frozensets(st.sampled_from(Colour)))),
    (set[Item], st.sets(items, max_size=4)),
    (set[Rate], st.sets(st.sampled_from(Rate))),
    (tuple[int, ...], st.lists(st.integers()).map(tuple)),
    (tuple[()], st.just(())),
    (tuple[str, Item, set[int]], st.tuples(texts, items, st.sets(st.integers()))),
    (dict[str, list[Item]], st.dictionaries(texts, st.lists(items, max_size=3), max_size=3)),
    (Item, items),
    (Point, st.builds(Point, floats, floats)),
    (list[Point], st.lists(st.builds(Point, floats, floats), max_size=3)),
    (Node, nodes),
    (Page[int], st.builds(Page, st.lists(st.integers()))),
    (Page[Item], st.builds(Page, st.lists(items, max_size=3), st.booleans())),
    (Optional[Item], st.none() | items),  # noqa: UP045 - both spellings must work
    (Item | None, st.none() | items),
    (int | str | None, st.integers() | texts | st.none()),
    (int | float, st.integers() | floats),
    (bool | int, st.booleans() | st.integers()),
    (float | Decimal | None, floats | decimals | st.none()),
    (Literal["all"] | int, st.just("all") | st.integers()),
    (Card | Transfer, st.builds(Card, texts) | st.builds(Transfer, texts)),
    (Cash | Voucher | None, st.builds(Cash, st.integers()) | st.builds(Voucher, st.integers()) | st.none()),
    (list[Card | Transfer | int], st.lists(st.builds(Card, texts) | st.builds(Transfer, texts) | st.integers())),
    (dict[str, Rate | int], st.dictionaries(texts, st.sampled_from(Rate) | st.integers())),
]
NO_KEYS = (bool, type(None), Literal["a", 1, None], Literal[True, "x"], Literal[Colour.RED])
KEYS = [pair for pair in SCALARS if pair[0] not in NO_KEYS]


@pytest.mark.parametrize(("hint", "values"), SCALARS + COMPOUND, ids=lambda part: str(part)[:40])
def test_every_supported_type_comes_back_equal(hint: Any, values: st.SearchStrategy[Any]) -> None:
    @given(values)
    def check(value: Any) -> None:
        assert come_back(hint, value) == value

    check()


@pytest.mark.parametrize(("hint", "keys"), KEYS, ids=lambda part: str(part)[:40])
def test_dict_keys_come_back_as_what_they_were(hint: Any, keys: st.SearchStrategy[Any]) -> None:
    @given(st.dictionaries(keys, items, max_size=4))
    def check(value: Any) -> None:
        again = come_back(dict[hint, Item], value)
        assert again == value
        assert sorted(map(repr, map(type, again))) == sorted(map(repr, map(type, value)))

    check()


def test_equal_sets_have_one_payload() -> None:
    codec = codec_of(set[int])
    holder = codec._shape.cls  # type: ignore[attr-defined]
    one, other = {8, 0}, {0, 8}
    assert list(one) != list(other)
    assert codec.encode(holder(one), ROOM) == codec.encode(holder(other), ROOM)


def test_payloads_have_the_fields_in_the_order_of_the_class() -> None:
    codec = JsonCodec(Item, "Item", Scope())
    assert codec.encode(Item("a", 2), ROOM) == '{"sku":"a","quantity":2}'


def test_an_offset_with_seconds_keeps_the_instant() -> None:
    old = dt.datetime(1880, 1, 1, 12, tzinfo=ZoneInfo("Europe/Amsterdam"))
    assert old.utcoffset() != dt.timedelta(minutes=20)
    assert come_back(dt.datetime, old) == old
    assert come_back(dict[dt.datetime, int], {old: 1}) == {old: 1}


def test_a_repeated_hour_keeps_the_instant() -> None:
    codec = codec_of(dt.datetime)
    for fold in (0, 1):
        moment = dt.datetime(2020, 10, 25, 2, 30, fold=fold, tzinfo=ZoneInfo("Europe/Berlin"))
        again = codec.decode(codec.encode(codec._shape.cls(moment), ROOM))  # type: ignore[attr-defined]
        assert again.value.timestamp() == moment.timestamp()


def test_converters_and_validators_hold_on_the_way_back() -> None:
    codec = JsonCodec(Cleaned, "Cleaned", Scope())
    assert round_trip(Cleaned(["a"], " b ")) == Cleaned(("a",), "b")
    assert codec.decode('{"tags":["a"],"name":" x "}') == Cleaned(("a",), "x")
    with pytest.raises(InvalidEvent) as caught:
        codec.decode('{"tags":[],"name":""}')
    assert caught.value.stored == ""


@attrs.frozen
class Odd:
    total: int = attrs.field(init=False)
    number: uuid.UUID = attrs.field(init=False, factory=uuid.uuid4)
    parts: list[int] = attrs.field(kw_only=True, alias="pieces")
    first: int = attrs.field(default=attrs.Factory(lambda self: self.parts[0], takes_self=True))
    nothing: None = None

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "total", sum(self.parts))


def test_fields_that_init_does_not_take_come_back_too() -> None:
    odd = Odd(pieces=[1, 2])
    assert round_trip(odd) == odd
    assert round_trip(odd).number == odd.number


@attrs.frozen(cache_hash=True, unsafe_hash=True)
class Hashed:
    x: int


def test_what_init_prepares_is_there_on_the_way_back() -> None:
    assert hash(round_trip(Hashed(1))) == hash(Hashed(1))


@attrs.frozen(slots=False)
class Loose:
    x: int


def test_what_is_not_a_field_is_not_written() -> None:
    loose = Loose(1)
    loose.__dict__["note"] = object()
    codec = JsonCodec(Loose, "Loose", Scope())
    assert codec.encode(loose, ROOM) == '{"x":1}'


def test_missing_fields_take_their_defaults_and_unknown_ones_are_ignored() -> None:
    assert JsonCodec(Item, "Item", Scope()).decode('{"sku":"a","colour":1}') == Item("a")
    cleaned = JsonCodec(Odd, "Odd", Scope()).decode('{"parts":[3],"colour":1}')
    assert (cleaned.first, cleaned.total) == (3, 3)
