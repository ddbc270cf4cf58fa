"""An envelope spells out the row of an event; a receipt says where the row stands."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from eventbus.clock import iso
from eventbus.errors import EventBusError
from eventbus.events import Envelope, Receipt, TypeName, event, event_type


@event(name="shop.ParcelSent", version=2, kind="integration")
class ParcelSent:
    order_id: str


class Spelled:
    """Names as a log gives them."""

    def __init__(self) -> None:
        self.decoded = 0

    def type_named(self, type_id: int) -> TypeName:
        return TypeName("shop.ParcelSent", 2, "integration", ())

    def source_named(self, source_id: int) -> str:
        return "shop"

    def decode(self, type: TypeName, codec: str | None, payload: str | bytes) -> Any:
        self.decoded += 1
        return event_type(ParcelSent).decode(payload)


ROW = (5, "id-5", 1, "order-1", 2, iso(0.0), 1, "id-1", "id-4", '{"who":"me"}', None, '{"order_id":"1"}')


def test_an_envelope_spells_out_its_row() -> None:
    names = Spelled()
    envelope = Envelope(ROW, names)
    assert (envelope.position, envelope.id, envelope.stream, envelope.sequence) == (5, "id-5", "order-1", 2)
    assert (envelope.type, envelope.version, envelope.kind) == ("shop.ParcelSent", 2, "integration")
    assert envelope.time == datetime(1970, 1, 1, tzinfo=UTC)
    assert (envelope.source, envelope.correlation_id, envelope.causation_id) == ("shop", "id-1", "id-4")
    assert envelope.metadata == {"who": "me"}
    assert envelope.payload == '{"order_id":"1"}'
    assert envelope.event == ParcelSent("1")
    assert envelope.event is envelope.event
    assert names.decoded == 1
    assert "shop.ParcelSent v2 position=5" in repr(envelope)


def test_a_root_correlates_with_itself() -> None:
    envelope = Envelope((*ROW[:7], None, None, None, None, None), Spelled())
    assert (envelope.correlation_id, envelope.causation_id, envelope.metadata) == ("id-5", None, {})
    with pytest.raises(EventBusError, match="erased"):
        _ = envelope.event


def test_envelopes_are_equal_by_id_and_position_and_cannot_be_changed() -> None:
    one, same = Envelope(ROW, Spelled()), Envelope(ROW, Spelled())
    assert one == same
    assert len({one, same}) == 1
    assert one != Envelope((6, *ROW[1:]), Spelled())
    for name in ("position", "colour"):
        with pytest.raises(AttributeError):
            setattr(one, name, 1)


def test_the_envelope_of_a_published_event_holds_the_very_event() -> None:
    shipped = ParcelSent("1")
    assert Envelope.around(shipped, ROW, Spelled()).event is shipped


def test_a_receipt_says_where_the_event_stands() -> None:
    receipt = Receipt("id", 1, "order-1", 1)
    assert receipt == Receipt("id", 1, "order-1", 1, duplicate=False)
