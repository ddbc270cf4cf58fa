"""Whatever is declared and whatever is given: refused where it is defined, refused with its path, or back equal."""

from __future__ import annotations

import enum
from itertools import count
from typing import Annotated, Any, Literal, NamedTuple, Union

import attrs
import msgspec
import pytest
from codec_stage import ROOM, Card, Cash, Cleaned, Item, Node, Transfer, codec_of, come_back
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_codecs import SCALARS, items, nodes, plain, texts

from eventbus.codecs import JsonCodec, Scope, Undefinable
from eventbus.errors import InvalidEvent


class Size(enum.Enum):
    SMALL = 1
    HUGE = 2**70


class Border(enum.IntEnum):
    LAST = 2**63 - 1
    NEXT = 2**63


class Below(enum.Enum):
    DEEP = -(2**63) - 1


class Rights(enum.IntFlag):
    READ = 1
    WRITE = 2


class Code(str, enum.Enum):  # noqa: UP042 - its value is not its text
    def __new__(cls, text: str, value: str) -> Code:
        made = str.__new__(cls, text)
        made._value_ = value
        return made

    FIRST = ("x", "y")
    SECOND = ("y", "z")


class Mixed(enum.Enum):
    INT = 1
    TEXT = "b"
    TUPLE = (1, 2)
    FLOAT = 0.5
    NOTHING = None
    TRUTH = True  # an alias of INT, for True == 1


class Truth(enum.Enum):
    YES = True
    NO = False


class Forgiving(enum.Enum):
    ONLY = "only"

    @classmethod
    def _missing_(cls, value: object) -> Forgiving:
        if value is None:
            raise LookupError
        return cls.ONLY


class Empty(enum.Enum):
    pass


class Liar(enum.Enum):
    ONE = "one"
    TWO = "two"

    @property
    def value(self) -> str:
        return "one"


class Broken(enum.Enum):
    HALF = "\ud800"


class Pair(NamedTuple):
    x: int


@attrs.define
class Unhashable:
    x: int = 0


class Kind(NamedTuple):
    """An annotation with values of it; `hashable`: they may stand in sets and be keys."""

    hint: Any
    values: st.SearchStrategy[Any]
    hashable: bool = True


ENUMS: list[type[enum.Enum]] = [Size, Border, Below, Code, Mixed, Truth, Forgiving, Liar, Broken]
LITERALS = [
    (2**63 - 1,),
    (2**70, 1),
    (-(2**63) - 1,),
    ("a", 1, True, None, -(2**64)),
    ("a", Size.HUGE),
    (Rights.READ | Rights.WRITE,),
    (Code.FIRST, "z"),
    (b"x",),
    ("\udfff",),
]
BASES = [
    *(Kind(*pair) for pair in SCALARS),
    *(Kind(each, st.sampled_from(each)) for each in ENUMS),
    *(Kind(Literal[values], st.sampled_from(values)) for values in LITERALS),
    Kind(Rights, st.integers(-(2**70), 2**70).map(Rights)),
    Kind(Empty, st.none()),
    Kind(Any, plain, hashable=False),
    Kind(list, st.lists(plain, max_size=2), hashable=False),
    Kind(Pair, st.builds(Pair, st.integers())),
    Kind(complex, st.complex_numbers()),
    Kind(Annotated[int, msgspec.Meta(ge=0)], st.integers()),
    Kind(Annotated[str, msgspec.Meta(ge=0)], texts),
    Kind(tuple[int, *tuple[str, ...]], st.tuples(st.integers(), texts)),
    Kind(Item, items),
    Kind(Node, nodes, hashable=False),
    Kind(Unhashable, st.builds(Unhashable, st.integers()), hashable=False),
    Kind(Cleaned, st.builds(Cleaned, st.lists(texts, max_size=2), st.just("name"))),
    Kind(Card | Transfer, st.builds(Card, texts) | st.builds(Transfer, texts)),
    Kind(Cash, st.builds(Cash, st.integers())),
]
numbers = count(1)


def record_of(kinds: list[Kind]) -> Kind:
    fields = {f"f{number}": attrs.field(type=kind.hint) for number, kind in enumerate(kinds)}
    cls = attrs.make_class(f"Made{next(numbers)}", fields, frozen=True)
    return Kind(cls, st.builds(cls, *(kind.values for kind in kinds)), all(kind.hashable for kind in kinds))


def holders_of(kind: Kind) -> list[Kind]:
    few = st.lists(kind.values, max_size=3)
    holders = [
        Kind(list[kind.hint], few, hashable=False),
        Kind(tuple[kind.hint, ...], few.map(tuple), kind.hashable),
        Kind(dict[str, kind.hint], st.dictionaries(texts, kind.values, max_size=3), hashable=False),
        Kind(kind.hint | None if isinstance(kind.hint, type) else Union[kind.hint, None], st.none() | kind.values),  # noqa: UP007
    ]
    if kind.hashable:
        holders += [
            Kind(set[kind.hint], st.sets(kind.values, max_size=3), hashable=False),
            Kind(frozenset[kind.hint], st.frozensets(kind.values, max_size=3)),
            Kind(dict[kind.hint, int], st.dictionaries(kind.values, st.integers(), max_size=3), hashable=False),
        ]
    return [holder._replace(hashable=holder.hashable and kind.hashable) for holder in holders]


def union_of(kinds: list[Kind]) -> Kind:
    hashable = all(kind.hashable for kind in kinds)
    return Kind(Union[tuple(kind.hint for kind in kinds)], st.one_of([kind.values for kind in kinds]), hashable)  # noqa: UP007


def grown(smaller: st.SearchStrategy[Kind]) -> st.SearchStrategy[Kind]:
    several = st.lists(smaller, min_size=1, max_size=3)
    held = smaller.flatmap(lambda kind: st.sampled_from(holders_of(kind)))
    return several.map(union_of) | several.map(record_of) | held


kinds = st.recursive(st.sampled_from(BASES), grown, max_leaves=4)


def same(before: Any, after: Any) -> bool:
    """Equal, and of equal classes all the way down; an int may come back as the float that was declared."""
    if type(before) is not type(after):
        return type(before) is int and type(after) is float and before == after
    if isinstance(before, list | tuple):
        return len(before) == len(after) and all(map(same, before, after))
    if isinstance(before, dict):
        return len(before) == len(after) and same(list(before.items()), list(after.items()))
    if isinstance(before, set | frozenset):
        return before == after and all(any(same(one, other) for other in after) for one in before)
    if attrs.has(type(before)):
        return all(same(getattr(before, name), getattr(after, name)) for name in attrs.fields_dict(type(before)))
    return bool(before == after)


def written(codec: JsonCodec, value: Any) -> str | None:
    """The payload of a value; None where it was refused, which has to say where."""
    try:
        return codec.encode(codec._shape.cls(value), ROOM)  # type: ignore[attr-defined]
    except InvalidEvent as refusal:
        return None if refusal.path.startswith("value") else pytest.fail(f"no path: {refusal}")


def defined(hint: Any) -> JsonCodec | None:
    """The codec of an annotation; None where it was refused, which has to say where."""
    try:
        return codec_of(hint)
    except Undefinable as refusal:
        return None if refusal.field else pytest.fail(f"no field: {refusal}")


@settings(max_examples=400, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_what_is_accepted_comes_back_as_it_was(data: st.DataObject) -> None:
    kind, stranger = data.draw(kinds), data.draw(st.sampled_from(BASES))
    codec = defined(kind.hint)
    for values in (kind.values, stranger.values) if codec is not None else ():
        value = data.draw(values)
        text = written(codec, value)
        if text is not None:
            assert same(value, codec.decode(text).value)
            assert same(value, codec._load_text(text).value)


@pytest.mark.parametrize("cls", [Size, Border, Below, Code, Rights, Mixed, Truth, Forgiving])
def test_each_member_comes_back_as_itself_and_as_a_key(cls: type[enum.Enum]) -> None:
    for member in cls:
        assert come_back(cls, member) is member
        assert come_back(list[cls], [member, member]) == [member, member]
        assert next(iter(come_back(dict[cls, int], {member: 1}))) is member


def test_a_literal_above_64_bits_comes_back() -> None:
    assert come_back(Literal[2**70, 1], 2**70) == 2**70
    assert come_back(Literal["a"] | Size, Size.HUGE) is Size.HUGE


def test_a_combination_of_flags_above_64_bits_comes_back() -> None:
    assert come_back(Rights, Rights(2**70)) == Rights(2**70)
    assert come_back(dict[Rights, int], {Rights(2**70): 1}) == {Rights(2**70): 1}


def test_a_combination_of_flags_too_long_to_spell_is_refused_with_its_path() -> None:
    codec = codec_of(list[Rights])
    with pytest.raises(InvalidEvent, match="too long") as caught:
        codec.encode(codec._shape.cls([Rights(2**20000)]), ROOM)  # type: ignore[attr-defined]
    assert caught.value.path == "value[0]"


@pytest.mark.parametrize(
    ("hint", "reason"),
    [
        (Broken, r"the value of Broken\.HALF has a lone surrogate"),
        (list[dict[str, Broken]], r"the value of Broken\.HALF has a lone surrogate"),
        (Literal["\ud800"], "lone surrogate"),
        (Literal[10**5000], "too long"),
        (Liar, r"the value of Liar\.TWO does not lead back to it"),
        (enum.Enum("Odd", {"\ud800": 0.5}), "the name of .* has a lone surrogate"),
        (Annotated[str, msgspec.Meta(ge=0)], "could not be read again: Can only set `ge` on a numeric type"),
        (tuple[int, *tuple[str, ...]], "is not a type that an event can carry"),
    ],
    ids=lambda part: part[:20] if isinstance(part, str) else "",
)
def test_what_could_never_be_read_is_refused_where_it_is_defined(hint: Any, reason: str) -> None:
    with pytest.raises(Undefinable, match=reason) as caught:
        codec_of(hint)
    assert caught.value.field == "value"


def test_annotations_without_end_are_refused_where_they_are_defined() -> None:
    hint: Any = int
    for _ in range(3000):
        hint = list[hint]
    with pytest.raises(Undefinable, match="nested too deep"):
        codec_of(hint)


@pytest.mark.parametrize("raw", ['["a"]', "null", '"no"', "3", "1.5"])
@pytest.mark.parametrize("hint", [Size, Code, Mixed, Rights, set[Literal["a"] | int]])
def test_a_payload_from_before_the_field_became_an_enum_is_an_error_of_ours(hint: Any, raw: str) -> None:
    codec = codec_of(hint)
    if hint is Rights and raw == "3":
        assert codec.decode('{"value":3}').value == Rights.READ | Rights.WRITE
        return
    if hint in (Size, Mixed, Code, Rights) or raw != '["a"]':
        with pytest.raises(InvalidEvent):
            codec.decode(f'{{"value":{raw}}}')


def test_a_set_of_what_became_unhashable_is_an_error_of_ours() -> None:
    with pytest.raises(InvalidEvent, match=r"unhashable"):
        codec_of(set[Unhashable]).decode('{"value":[{"x":1}]}')


def test_a_class_of_four_hundred_fields_comes_back() -> None:
    cls = attrs.make_class("Wide", {f"f{number}": attrs.field(type=int) for number in range(400)}, frozen=True)
    codec = JsonCodec(cls, "Wide", Scope())
    wide = cls(*range(400))
    assert codec.decode(codec.encode(wide, ROOM)) == wide
