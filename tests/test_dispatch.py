"""Who hears an event, and in which order."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_stage import Base, Express, Placed, Shipped, Stage, Tick, emitted, told

from eventbus.dispatch import Live
from eventbus.errors import EventDefinitionError
from eventbus.events import Vocabulary, event
from eventbus.handlers import LiveDeclaration, Target


@pytest.fixture
def stage() -> Iterator[Stage]:
    with Stage() as stage:
        yield stage


# --- who is called, in which order ------------------------------------------------------------------------


def test_handlers_run_by_priority_and_then_in_the_order_they_came(stage: Stage) -> None:
    seen: list[str] = []
    for name, priority in [("a", 0), ("b", 5), ("c", 0), ("d", -1), ("e", 5)]:
        stage.on(Placed, handler=lambda e, name=name: seen.append(name), priority=priority)
    stage.emit(Placed())
    assert seen == ["b", "e", "a", "c", "d"]


@given(st.lists(st.tuples(st.integers(-3, 3), st.sampled_from([Placed, Base, object, "*", "Pl*"])), max_size=12))
def test_the_order_does_not_depend_on_how_a_handler_names_its_events(given: list[tuple[int, Target]]) -> None:
    live = Live(vocabulary=Vocabulary(), spawn=lambda coroutine: Future(), failed=lambda failure: None)
    seen: list[int] = []
    for number, (priority, target) in enumerate(given):
        live.connect(LiveDeclaration((target,), lambda e, n=number: seen.append(n), priority))
    live.tell(Placed(), emitted, told)
    assert seen == sorted(range(len(given)), key=lambda n: (-given[n][0], n))


def test_a_base_class_hears_all_its_subclasses_also_those_defined_later(stage: Stage) -> None:
    plain: list[object] = []
    of_event: list[object] = []
    stage.on(Base, handler=plain.append)
    stage.on(Placed, handler=of_event.append)
    stage.emit(Placed(1))

    @event
    class Later(Placed):
        pass

    for each in (Shipped(2), Express(3), Later(4), Tick(5)):
        stage.emit(each)
    assert plain == [Placed(1), Shipped(2), Express(3), Later(4)]
    assert of_event == [Placed(1), Express(3), Later(4)]


@pytest.mark.parametrize(
    ("pattern", "heard"),
    [
        ("*", {Placed, Shipped, Express}),
        ("shop.*", {Shipped}),
        ("Placed", {Placed}),
        ("placed", set()),
        ("eventbus.*", {Tick}),
        ("**", {Placed, Shipped, Express, Tick}),
        ("P*", {Placed}),
    ],
)
def test_a_pattern_matches_type_names_and_the_star_alone_leaves_out_technical_events(
    stage: Stage, pattern: str, heard: set[type]
) -> None:
    seen: list[object] = []
    stage.on(pattern, handler=seen.append)
    for each in (Placed, Shipped, Express, Tick):
        assert stage.live.hears(each) == (each in heard)
        stage.emit(each())
    assert {type(each) for each in seen} == heard


def test_a_technical_event_is_heard_by_its_class(stage: Stage) -> None:
    seen: list[object] = []
    stage.on(Tick, handler=seen.append)
    stage.emit(Tick(1))
    assert seen == [Tick(1)]


def test_a_handler_of_several_classes_is_called_once_for_an_event_that_is_all_of_them(stage: Stage) -> None:
    seen: list[object] = []

    class Window:
        def show(self, event: object) -> None:
            seen.append(event)

    window = Window()
    stage.on(Placed, Express, Base, "*", handler=window.show)
    stage.on(Express, handler=window.show)
    stage.emit(Express(1))
    assert seen == [Express(1)]


def test_a_handler_connected_more_than_once_runs_at_its_foremost_place(stage: Stage) -> None:
    seen: list[str] = []

    def twice(event: object) -> None:
        seen.append("twice")

    stage.on(Placed, handler=lambda e: seen.append("other"), priority=5)
    stage.on(Base, handler=twice, priority=1)
    stage.on(Placed, handler=twice, priority=3)
    stage.on(Placed, handler=twice, priority=9)
    stage.on("*", handler=twice, priority=2)
    stage.emit(Placed())
    assert seen == ["twice", "other"]


class EmptyBox(list[Any]):
    """Callable, and false."""

    def __call__(self, thing: Any) -> None:
        self.append(thing)


def test_handlers_and_vias_that_are_false_as_values_are_called_all_the_same(stage: Stage) -> None:
    handler, weak, via = EmptyBox(), EmptyBox(), EmptyBox()
    stage.on(Placed, handler=handler)
    stage.emit(Placed(1))
    stage.on(Placed, handler=weak, weak=True)
    stage.on(Placed, handler=lambda e: None, via=via)
    stage.emit(Placed(2))
    assert handler == [Placed(1), Placed(2)]
    assert weak == [Placed(2)]
    assert len(via) == 1


def test_a_callable_object_that_cannot_be_referred_to_weakly_is_held_strongly(stage: Stage) -> None:
    seen: list[object] = []

    class Slotted:
        __slots__ = ()

        def __call__(self, event: object) -> None:
            seen.append(event)

    stage.on(Placed, handler=Slotted())
    stage.emit(Placed(1))
    assert seen == [Placed(1)]


def test_two_bound_methods_of_different_objects_are_two_handlers(stage: Stage) -> None:
    first: list[object] = []
    second: list[object] = []
    stage.on(Placed, handler=first.append)
    stage.on(Placed, handler=second.append)
    stage.emit(Placed(1))
    assert first == second == [Placed(1)]


def test_a_reloaded_class_keeps_its_handlers(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "from eventbus.events import event\nclass Plain: ...\n@event\nclass Thing(Plain):\n    number: int\n"
    (tmp_path / "reloaded_events.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    module = importlib.import_module("reloaded_events")
    old = module.Thing
    seen: list[object] = []
    stage.on(old, handler=seen.append)
    stage.on(module.Plain, handler=lambda e: seen.append("plain"))
    stage.emit(old(1))
    importlib.reload(module)
    assert module.Thing is not old
    stage.emit(module.Thing(2))
    stage.emit(old(3))
    assert seen == [old(1), "plain", module.Thing(2), "plain", old(3), "plain"]
    del sys.modules["reloaded_events"]


def test_another_class_of_the_same_name_is_refused(stage: Stage) -> None:
    @event(name="Placed")
    class Impostor:
        pass

    stage.on(Placed, handler=print)
    with pytest.raises(EventDefinitionError, match="Placed"):
        stage.on(Impostor, handler=print)


def test_what_is_no_event_is_refused(stage: Stage) -> None:
    with pytest.raises(EventDefinitionError, match="int"):
        stage.emit(1)
