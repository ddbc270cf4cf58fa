"""A vocabulary finds the class of a name and version, and refuses two classes of one name."""

from __future__ import annotations

import gc
import weakref

import pytest

from eventbus.errors import EventDefinitionError
from eventbus.events import Vocabulary, event, event_type


@event
class WordSpoken:
    word: str


def placed_class(module: str, qualname: str) -> type:
    return event(
        type("PlacedTwice", (), {"__module__": module, "__qualname__": qualname, "__annotations__": {"x": "int"}})
    )


def test_a_vocabulary_knows_what_it_met_and_what_is_loaded() -> None:
    vocabulary = Vocabulary()
    assert vocabulary.find("WordSpoken", 1) is event_type(WordSpoken)
    assert vocabulary.find("WordSpoken", 2) is None
    assert vocabulary.meet(WordSpoken) is event_type(WordSpoken)


def test_a_reload_replaces_the_class() -> None:
    vocabulary = Vocabulary()
    old = placed_class("shop", "Placed")
    vocabulary.meet(old)
    new = placed_class("shop", "Placed")
    found = vocabulary.find("PlacedTwice", 1)
    assert found is not None
    assert found.cls is new
    assert vocabulary.meet(new).cls is new
    assert vocabulary.meet(old).cls is old


def test_two_classes_of_one_name_are_refused_by_the_bus_that_meets_both() -> None:
    one, other = placed_class("shop", "Placed"), placed_class("bank", "Placed")
    first, second = Vocabulary(), Vocabulary()
    first.meet(one)
    second.meet(other)
    with pytest.raises(EventDefinitionError, match=r"shop:Placed.*bank:Placed"):
        first.meet(other)
    found = first.find("PlacedTwice", 1)
    assert found is not None
    assert found.cls is one
    with pytest.raises(EventDefinitionError, match="has 2 classes"):
        Vocabulary().find("PlacedTwice", 1)


def test_a_class_that_nobody_uses_is_forgotten() -> None:
    fading = weakref.ref(placed_class("gone", "Faded.Placed"))
    gc.collect()
    assert fading() is None
