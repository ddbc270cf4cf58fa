"""What the tests of the codecs share: classes whose values are carried, and the way there and back."""

from __future__ import annotations

import enum
import json
from typing import Any, Generic, Literal, TypeVar

import attrs
import pytest

from eventbus.codecs import JsonCodec, Scope

ROOM = 1 << 20
T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Shade(str, enum.Enum):  # noqa: UP042 - both ways must work
    DARK = "dark"


@attrs.frozen
class Item:
    sku: str
    quantity: int = 1


@attrs.frozen
class Node:
    name: str
    children: list[Node] = attrs.field(factory=list)


@attrs.frozen
class Page(Generic[T]):
    items: list[T]
    more: bool = False


@attrs.frozen
class Card:
    number: str
    kind: Literal["card"] = "card"


@attrs.frozen
class Transfer:
    iban: str
    kind: Literal["transfer"] = "transfer"


@attrs.frozen
class Cash:
    drawer: int


@attrs.frozen
class Cleaned:
    tags: tuple[str, ...] = attrs.field(converter=tuple)
    name: str = attrs.field(converter=str.strip, validator=attrs.validators.min_len(1), alias="called")


def codec_of(hint: Any) -> JsonCodec:
    cls = attrs.make_class("Holder", {"value": attrs.field(type=hint)}, frozen=True, slots=True)
    return JsonCodec(cls, "Holder", Scope())


def come_back(hint: Any, value: Any) -> Any:
    codec = codec_of(hint)
    holder = codec._shape.cls(value)  # type: ignore[attr-defined]
    text = codec.encode(holder, ROOM)
    json.loads(text, parse_constant=pytest.fail)
    again = codec.decode(text)
    assert codec.encode(again, ROOM) == text
    assert codec._load_text(text).value == value
    assert type(again.value) is type(value)
    return again.value


def round_trip(value: Any) -> Any:
    codec = JsonCodec(type(value), type(value).__name__, Scope())
    return codec.decode(codec.encode(value, ROOM))
