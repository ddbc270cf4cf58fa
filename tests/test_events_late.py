"""Annotations whose names are there only later, or never: the codec is compiled at first use."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from eventbus import EventBus
from eventbus.codecs import JsonCodec, Scope
from eventbus.errors import EventDefinitionError
from eventbus.events import event
from eventbus.events.event_type import LazyCodec

if TYPE_CHECKING:
    from decimal import Decimal as Money


@event
class Priced:
    price: Money


def test_a_name_that_never_came_is_refused_at_publish_and_says_what_to_do():
    with EventBus(delivery="manual") as bus:
        for publish in (bus.publish, bus.submit, lambda priced: bus.publish_many([priced])):
            with pytest.raises(EventDefinitionError, match=r"Priced\.price: the name 'Money'") as caught:
                publish(Priced(1))
            assert caught.value.stored == "not stored"
            assert "not under TYPE_CHECKING alone" in caught.value.hint
        assert bus.log.head == 0


class Raced(LazyCodec):
    """Between the two things that `get` looks at, another thread compiles; `overtake` is when."""

    __slots__ = ("overtake",)

    @property
    def _scope(self) -> Any:
        scope: Any = LazyCodec._scope.__get__(self)
        if getattr(self, "overtake", False):
            self.overtake = False
            self._compile(scope)
        return LazyCodec._scope.__get__(self)

    @_scope.setter
    def _scope(self, scope: Any) -> None:
        LazyCodec._scope.__set__(self, scope)


def test_a_codec_that_another_thread_has_just_compiled_is_taken():
    @attrs.frozen
    class Shipped:
        parcel: Parcel

    codec = Raced(Shipped, "Shipped", Scope.of(sys._getframe(0)))

    @attrs.frozen
    class Parcel:
        weight: int

    codec.overtake = True
    made = codec.get()
    assert isinstance(made, JsonCodec)
    assert made is codec.get()
    assert made.encode(Shipped(Parcel(1)), 100) == '{"parcel":{"weight":1}}'
