"""What an event is: a frozen class the log can bring back, with a name, a version, a kind and maybe a stream."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections import OrderedDict
from datetime import datetime
from enum import Enum
from functools import cached_property
from pathlib import Path
from typing import Any, Generic, TypeVar

import attrs
import pytest

from eventbus.errors import EventDefinitionError, InvalidEvent
from eventbus.events import event, event_type

ROOM = 1 << 20
T = TypeVar("T")


class Status(Enum):
    OPEN = "open"


@attrs.frozen
class Item:
    sku: str
    price: float


@event
class OrderPlaced:
    order_id: str
    items: list[Item]
    status: Status = Status.OPEN

    @property
    def total(self) -> float:
        return sum(item.price for item in self.items)

    def describe(self) -> str:
        return f"{self.order_id}: {self.total}"


@event(name="shop.OrderShipped", version=2, kind="integration", stream="order-{order_id}")
class OrderShipped:
    order_id: str


@event
class OrderShippedAbroad(OrderShipped):
    country: str = "DE"

    def __attrs_post_init__(self) -> None:
        super().__init_subclass__()


@event
class Tree:
    name: str
    branches: list[Tree] = attrs.field(factory=list)
    later: Later | None = None


class Later(Enum):
    YES = 1


def round_trip(published: Any) -> Any:
    type_ = event_type(type(published))
    return type_.decode(type_.encode(published, ROOM))


def test_an_event_is_a_frozen_slotted_attrs_class() -> None:
    placed = OrderPlaced("o-1", [Item("a", 1.5)])
    assert attrs.has(OrderPlaced)
    assert not hasattr(placed, "__dict__")
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        placed.order_id = "o-2"  # type: ignore[misc]
    assert placed == OrderPlaced("o-1", [Item("a", 1.5)])
    assert placed.describe() == "o-1: 1.5"


def test_a_bare_event_is_version_1_of_its_class_name_and_domain() -> None:
    type_ = event_type(OrderPlaced)
    assert (type_.name, type_.version, type_.kind, type_.stream) == ("OrderPlaced", 1, "domain", None)
    assert type_.qualified == f"{__name__}:OrderPlaced"
    assert type_.cls is OrderPlaced


def test_an_event_says_what_it_is_called() -> None:
    type_ = event_type(OrderShipped)
    assert (type_.name, type_.version, type_.kind) == ("shop.OrderShipped", 2, "integration")


def test_a_derived_event_names_its_bases_and_takes_over_their_stream_and_kind() -> None:
    type_ = event_type(OrderShippedAbroad)
    assert type_.bases == ("shop.OrderShipped",)
    assert (type_.name, type_.version, type_.kind) == ("OrderShippedAbroad", 1, "integration")
    assert type_.stream_of(OrderShippedAbroad("7", "FR")) == "order-7"
    assert round_trip(OrderShippedAbroad("7", "FR")) == OrderShippedAbroad("7", "FR")


def test_events_come_back_equal() -> None:
    placed = OrderPlaced("o-1", [Item("a", 1.5)])
    assert round_trip(placed) == placed


def test_a_class_may_hold_itself_and_name_what_comes_later() -> None:
    tree = Tree("root", [Tree("leaf", later=Later.YES)])
    assert round_trip(tree) == tree


def test_the_path_of_what_is_refused_leads_to_the_field() -> None:
    with pytest.raises(InvalidEvent, match=r"OrderPlaced\.items\[2\]\.price: is NaN") as caught:
        round_trip(OrderPlaced("o-1", [Item("a", 1.0), Item("b", 1.0), Item("c", float("nan"))]))
    assert (caught.value.type_name, caught.value.path) == ("OrderPlaced", "items[2].price")
    assert "Nothing was stored" in str(caught.value)


def test_an_instance_of_another_class_is_refused() -> None:
    with pytest.raises(InvalidEvent, match="is OrderShippedAbroad, not OrderShipped"):
        event_type(OrderShipped).encode(OrderShippedAbroad("1"), ROOM)


def test_what_would_not_come_back_is_refused_where_the_class_is_defined() -> None:
    with pytest.raises(EventDefinitionError, match=r"Odd\.number: complex is neither"):

        @event
        class Odd:
            number: complex


def test_a_forward_reference_does_not_put_off_the_refusal_of_another_field() -> None:
    with pytest.raises(EventDefinitionError, match=r"Mixed\.number: complex is neither"):

        @event
        class Mixed:
            later: NotYet  # type: ignore[name-defined]  # noqa: F821
            number: complex


def test_an_annotation_that_is_never_defined_is_refused_at_first_use() -> None:
    @event
    class Hopeful:
        x: NeverDefined  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(EventDefinitionError, match=r"Hopeful\.x: the name 'NeverDefined'"):
        event_type(Hopeful).encode(Hopeful(1), ROOM)
    with pytest.raises(EventDefinitionError):
        event_type(Hopeful).decode("{}")


def test_a_refusal_behind_a_forward_reference_comes_at_first_use() -> None:
    @event
    class Early:
        x: Imaginary

    Imaginary = complex
    with pytest.raises(EventDefinitionError, match=r"Early\.x: complex is neither"):
        event_type(Early).encode(Early(1j), ROOM)


def test_classes_of_a_function_may_name_each_other() -> None:
    @attrs.frozen
    class Part:
        parts: list[Part]
        owner: Whole | None = None

    @event
    class Whole:
        part: Part

    whole = Whole(Part([Part([])], Whole(Part([]))))
    assert round_trip(whole) == whole


def test_a_local_class_is_not_taken_for_one_of_the_module() -> None:
    @attrs.frozen
    class Item:
        weight: int

    @event
    class Packed:
        item: Item

    assert round_trip(Packed(Item(3))) == Packed(Item(3))


def test_a_field_may_have_the_name_of_its_type() -> None:
    @event
    class Moved:
        Status: Status

    assert round_trip(Moved(Status.OPEN)) == Moved(Status.OPEN)


def test_a_generic_event_carries_what_its_bound_says() -> None:
    @event
    class Changed(Generic[T]):
        old: T
        new: T

    @event
    class Renamed(Changed[str]):
        reason: str = ""

    assert round_trip(Changed([1], {"a": None})) == Changed([1], {"a": None})
    assert round_trip(Renamed("a", "b")) == Renamed("a", "b")
    with pytest.raises(InvalidEvent, match="old: is int, not str"):
        event_type(Renamed).encode(Renamed(1, "b"), ROOM)  # type: ignore[arg-type]


def test_super_cached_properties_and_subclass_hooks_work() -> None:
    made: list[str] = []

    class Named:
        __slots__ = ()

        def __init_subclass__(cls, **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)
            made.append(cls.__name__)

        def label(self) -> str:
            return "named"

    @event
    class Opened(Named):
        door: int

        def label(self) -> str:
            return f"{super().label()} {self.door}"

        @cached_property
        def twice(self) -> int:
            return self.door * 2

    opened = Opened(2)
    assert (opened.label(), opened.twice) == ("named 2", 4)
    assert event_type(Opened).encode(opened, ROOM) == '{"door":2}'
    assert set(made) == {"Opened"}


def test_only_classes_that_are_decorated_themselves_are_events() -> None:
    class Undecorated(OrderShipped):
        pass

    for odd in (Undecorated, Item, int, "OrderPlaced"):
        with pytest.raises(EventDefinitionError, match="is not an event class"):
            event_type(odd)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "words",
    [
        {"name": ""},
        {"name": "a b"},
        {"name": "shop.*"},
        {"name": "x" * 201},
        {"name": 3},
        {"version": 0},
        {"version": True},
        {"version": "2"},
        {"kind": "important"},
        {"stream": "order-{other}"},
        {"stream": "order-{}"},
        {"stream": "order-{"},
        {"stream": "order-{x!r}"},
    ],
)
def test_words_that_cannot_be_are_refused(words: dict[str, Any]) -> None:
    with pytest.raises(EventDefinitionError):

        @event(**words)
        class Strange:
            x: int


def test_what_is_no_event_body_is_refused() -> None:
    with pytest.raises(EventDefinitionError, match="already"):
        event(attrs.frozen(type("Made", (), {"__annotations__": {"x": int}})))
    with pytest.raises(EventDefinitionError, match="not a class"):
        event(len)  # type: ignore[type-var]
    with pytest.raises(EventDefinitionError, match="cannot be made an event"):

        @event
        class Unannotated:
            x = attrs.field()

    with pytest.raises(EventDefinitionError, match="Enum"):
        event(Status)
    with pytest.raises(EventDefinitionError, match="no field can be named self"):
        event(type("Selfish", (), {"__annotations__": {"self": str}}))


def test_each_event_has_its_own_copy_of_a_default_that_can_change() -> None:
    @event
    class Tagged:
        tags: list[str] = []  # noqa: RUF012
        counts: dict[str, list[int]] = {"a": []}  # noqa: RUF012
        seen: set[int] = attrs.field(default={1})

    first, second = Tagged(), Tagged()
    first.tags.append("x")
    first.counts["a"].append(1)
    first.seen.add(2)
    assert second == event_type(Tagged).decode("{}") == Tagged([], {"a": []}, {1})


def test_a_stream_template_has_no_conversions() -> None:
    with pytest.raises(EventDefinitionError, match=r"no conversions: write \{name\}"):
        event(stream="x-{name!r:>10}")(type("Named", (), {"__annotations__": {"name": str}}))


def test_a_stream_is_filled_from_the_fields() -> None:
    @event(stream="{item.sku}/{number:04d}/{status}")
    class Counted:
        item: Item
        number: int | None
        status: Status = Status.OPEN

    type_ = event_type(Counted)
    assert type_.stream_of(Counted(Item("a", 1.0), 7)) == "a/0007/open"
    with pytest.raises(InvalidEvent, match="number: is None"):
        type_.stream_of(Counted(Item("a", 1.0), None))
    assert event_type(OrderPlaced).stream_of(OrderPlaced("1", [])) is None


def test_type_checkers_understand_event_classes(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            import attrs
            from eventbus.events import event

            @event
            class Placed:
                order_id: str
                items: list[int] = attrs.field(factory=list)

            @event(name="x", version=2)
            class Shipped(Placed):
                country: str = "DE"

            reveal_type(Placed("a").items)
            Shipped("a", [1], country="FR")
            Placed(1)
            Placed()
            Placed("a").order_id = "b"
            """
        )
    )
    mypy = pytest.importorskip("mypy.api")
    report, _, _ = mypy.run(["--strict", "--no-incremental", "--cache-dir", str(tmp_path / "cache"), str(program)])
    assert 'Revealed type is "list[int]"' in report.replace("builtins.", "")
    complaints = [line for line in report.splitlines() if " error: " in line]
    assert [line.split(":")[1] for line in complaints] == ["16", "17", "18"], report


def test_defining_events_does_not_load_asyncio() -> None:
    code = "import eventbus.events, sys; sys.exit('asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("base", [dict, list, set, str, int, tuple, Exception, ValueError, datetime, OrderedDict])
def test_what_would_carry_more_than_its_fields_is_refused(base: type) -> None:
    with pytest.raises(EventDefinitionError, match=r"Carrier derives from \w+, whose own content is in no field"):
        event(type("Carrier", (base,), {"__annotations__": {"x": "int"}, "__module__": __name__}))


def test_a_stream_template_is_a_str() -> None:
    with pytest.raises(EventDefinitionError, match="the stream template is a str"):
        event(stream=3)(type("Odd", (), {}))  # type: ignore[call-overload]
