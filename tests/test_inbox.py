"""Events from outside: each is stored once, and in the order of its sender, whatever the order in which it comes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from delivery_stage import standing_still
from hypothesis import given, settings
from hypothesis import strategies as st
from inbox_stage import SOURCE, Moved, Noted, send, stored

from eventbus import Context, EventBus, IdempotencyConflict, InvalidEvent
from eventbus.errors import InboxFull, SequenceConflict
from eventbus.inbox import intake
from eventbus.ordering import Gap

UUID = "0197b0a6-3c6e-7d10-8a11-5f0c8b7e2d01"


@pytest.fixture
def bus() -> Iterator[EventBus]:
    with standing_still() as made:
        yield made


# --- once ---------------------------------------------------------------------------------------------------


def test_an_event_is_stored_once_for_each_source_and_id(bus: EventBus) -> None:
    first = bus.ingest(Noted("a"), source="mail", id="17")
    again = bus.ingest(Noted("a"), source="mail", id="17")
    other = bus.ingest(Noted("b"), source="chat", id="17")
    assert (first.state, again.state, other.state) == ("stored", "duplicate", "stored")
    assert first.receipt is not None
    assert again.receipt is not None
    assert (again.receipt.position, again.receipt.duplicate) == (first.receipt.position, True)
    assert [(each.source, each.event.text) for each in bus.log.read()] == [("mail", "a"), ("chat", "b")]


def test_the_same_id_with_other_content_is_refused(bus: EventBus) -> None:
    bus.ingest(Noted("a"), source="mail", id="17")
    with pytest.raises(IdempotencyConflict) as caught:
        bus.ingest(Noted("b"), source="mail", id="17")
    assert (caught.value.key, caught.value.position, bus.log.head) == ("17", 1, 1)


def test_the_senders_id_and_number_are_kept_in_the_metadata(bus: EventBus) -> None:
    bus.ingest(Noted("a"), source="mail", id="17", metadata={"to": "ada"})
    send(bus, 1)
    plain, numbered = bus.log.read()
    assert plain.metadata == {"to": "ada", "sender": {"id": "17", "received_at": "2026-01-01T00:00:00.000000Z"}}
    assert numbered.metadata["sender"]["sequence"] == 1
    with pytest.raises(InvalidEvent, match="sender"):
        bus.ingest(Noted("b"), source="mail", id="18", metadata={"sender": "me"})


def test_an_id_that_is_a_uuid_stays_the_events_and_any_other_is_its_sources(bus: EventBus) -> None:
    kept = bus.ingest(Noted("a"), source="mail", id=UUID).receipt
    made = bus.ingest(Noted("a"), source="mail", id="17").receipt
    other = bus.ingest(Noted("a"), source="chat", id="17").receipt
    assert kept is not None
    assert made is not None
    assert other is not None
    assert kept.id == UUID
    assert len({made.id, other.id, "17"}) == 3


def test_what_comes_back_from_a_broker_is_known_by_its_id(bus: EventBus) -> None:
    sent = bus.publish(Noted("a"))
    back = bus.ingest(Noted("a"), source="broker", id=sent.id)
    assert (back.state, bus.log.head) == ("duplicate", 1)


def test_an_id_of_the_apps_own_does_not_get_in_the_way_of_a_sender(bus: EventBus) -> None:
    bus.publish(Noted("mine"), id="17")
    assert bus.ingest(Noted("theirs"), source="mail", id="17").state == "stored"


def test_publishing_with_the_key_and_ingesting_agree(tmp_path: Path) -> None:
    with standing_still(tmp_path / "log.db", source="mail") as bus:
        bus.publish(Noted("a"), idempotency_key="17")
        assert bus.ingest(Noted("a"), source="mail", id="17").state == "duplicate"
        bus.ingest(Noted("b"), source="mail", id="18")
        assert bus.publish(Noted("b"), idempotency_key="18").duplicate
        assert bus.log.head == 2


def test_ids_are_remembered_over_a_restart(tmp_path: Path) -> None:
    for state in ("stored", "duplicate"):
        with standing_still(tmp_path / "log.db") as bus:
            assert bus.ingest(Noted("a"), source="mail", id="17").state == state


def test_causes_of_the_sender_are_kept(bus: EventBus) -> None:
    bus.ingest(Noted("a"), source="mail", id="17", correlation_id="c", causation_id="d")
    (envelope,) = bus.log.read()
    assert (envelope.correlation_id, envelope.causation_id) == ("c", "d")


# --- in order -----------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(st.permutations([1, 2, 3, 4, 5]), st.lists(st.integers(1, 5), max_size=5), st.data())
def test_every_order_of_arrival_gives_the_same_log(order: list[int], again: list[int], data: st.DataObject) -> None:
    arrivals = list(order)
    for number in again:
        arrivals.insert(data.draw(st.integers(arrivals.index(number) + 1, len(arrivals))), number)
    with standing_still() as bus:
        heard: list[int] = []
        bus.on(Moved, handler=lambda moved: heard.append(moved.number))
        results = [send(bus, number) for number in arrivals]
        assert stored(bus) == heard == [1, 2, 3, 4, 5]
        new = [
            receipt for result in results if result.state == "stored" for receipt in (result.receipt, *result.released)
        ]
        assert [receipt.sequence for receipt in new if receipt] == [1, 2, 3, 4, 5]
        assert [(sender.expected, sender.buffered, sender.missing) for sender in bus.inbox] == [(6, 0, None)]


def test_what_comes_too_early_waits_and_is_released_by_what_it_waits_for(bus: EventBus) -> None:
    early = send(bus, 2)
    assert (early.state, early.receipt, early.released) == ("buffered", None, ())
    assert (send(bus, 2).state, bus.log.head) == ("buffered", 0)
    filled = send(bus, 1)
    assert filled.state == "stored"
    assert [receipt.sequence for receipt in filled.released] == [2]
    assert send(bus, 2).state == "duplicate"


def test_streams_and_sources_are_counted_apart(bus: EventBus) -> None:
    send(bus, 2, shelf="a")
    assert send(bus, 1, shelf="b").state == "stored"
    assert send(bus, 1, source="other").state == "stored"
    assert [(each.source, each.stream, each.expected) for each in bus.inbox] == [
        ("other", "shelf-a", 2),
        (SOURCE, "shelf-a", 1),
        (SOURCE, "shelf-b", 2),
    ]


def test_what_belongs_to_no_stream_is_counted_for_its_source(bus: EventBus) -> None:
    assert bus.ingest(Noted("b"), source="mail", id="2", sequence=2).state == "buffered"
    assert bus.ingest(Noted("a"), source="mail", id="1", sequence=1).state == "stored"
    assert [each.event.text for each in bus.log.read()] == ["a", "b"]
    (sender,) = bus.inbox
    assert (sender.stream, sender.expected) == (None, 3)


def test_the_logs_own_sequence_goes_on_whoever_writes_to_the_stream(bus: EventBus) -> None:
    bus.publish(Moved("a", 0))
    send(bus, 7, first=7)
    bus.publish(Moved("a", 0))
    send(bus, 8)
    assert [each.sequence for each in bus.log.read(stream="shelf-a")] == [1, 2, 3, 4]
    assert [each.metadata.get("sender", {}).get("sequence") for each in bus.log.read()] == [None, 7, None, 8]


def test_counting_begins_where_first_says(bus: EventBus) -> None:
    assert send(bus, 7, first=7).state == "stored"
    assert send(bus, 6, first=7).state == "late"
    assert send(bus, 0, shelf="b", first=0).state == "stored"
    assert send(bus, 41, shelf="c", first="any").state == "stored"
    assert send(bus, 43, shelf="c", first="any").state == "buffered"
    assert send(bus, 40, shelf="c", first="any").state == "late"
    assert stored(bus, "c") == [41]


def test_an_event_that_is_known_by_other_ways_fills_its_number(bus: EventBus) -> None:
    bus.ingest(Moved("a", 1), source=SOURCE, id="a1")
    bus.ingest(Moved("a", 3), source=SOURCE, id="a3")
    assert send(bus, 3).state == "duplicate"
    assert send(bus, 1).state == "duplicate"
    assert [receipt.sequence for receipt in send(bus, 2).released] == []
    assert bus.inbox.get(SOURCE, "shelf-a").expected == 4  # type: ignore[union-attr]
    assert [each.event.number for each in bus.log.read()] == [1, 3, 2]


def test_a_broker_may_give_one_event_two_numbers(bus: EventBus) -> None:
    twice: dict[str, Any] = {"source": SOURCE, "id": "x"}
    assert bus.ingest(Moved("a", 9), sequence=2, **twice).state == "buffered"
    assert bus.ingest(Moved("a", 9), sequence=3, **twice).state == "buffered"
    send(bus, 1)
    assert [each.event.number for each in bus.log.read()] == [1, 9]
    assert bus.ingest(Moved("a", 9), sequence=4, **twice).state == "duplicate"
    assert send(bus, 5).state == "stored"


def test_without_a_number_an_event_that_waits_goes_on_waiting(bus: EventBus) -> None:
    send(bus, 2)
    assert bus.ingest(Moved("a", 2), source=SOURCE, id="a2").state == "buffered"
    with pytest.raises(IdempotencyConflict, match="inbox"):
        bus.ingest(Moved("a", 5), source=SOURCE, id="a2")
    assert bus.log.head == 0


def test_a_number_belongs_to_one_event(bus: EventBus) -> None:
    send(bus, 1)
    send(bus, 3)
    with pytest.raises(SequenceConflict) as caught:
        send(bus, 3, id="other")
    assert (caught.value.number, caught.value.id, caught.value.other) == (3, "other", "a3")
    with pytest.raises(SequenceConflict) as caught:
        send(bus, 1, id="other")
    assert (caught.value.stream, caught.value.other, bus.log.head) == ("shelf-a", None, 1)
    with pytest.raises(IdempotencyConflict):
        bus.ingest(Moved("a", 99), source=SOURCE, id="a3", sequence=3)


def test_what_was_published_with_the_id_of_one_that_waits_is_not_stored_again_nor_in_the_way(tmp_path: Path) -> None:
    with standing_still(tmp_path / "log.db", source=SOURCE) as bus:
        send(bus, 2)
        send(bus, 3)
        bus.publish(Moved("a", 77), idempotency_key="a2")
        assert [receipt.sequence for receipt in send(bus, 1).released] == [3]
        assert [each.event.number for each in bus.log.read(types=Moved)] == [77, 1, 3]
        (skipped,) = bus.log.read(types="eventbus.SequenceSkipped")
        assert (skipped.event.first, skipped.event.last, skipped.event.reason) == (2, 2, "conflict")


def test_the_buffer_is_bounded_and_what_fills_the_gap_is_always_taken(
    bus: EventBus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MOST_BUFFERED", 2)
    send(bus, 3)
    send(bus, 4)
    with pytest.raises(InboxFull) as caught:
        send(bus, 5)
    assert (caught.value.first, caught.value.last, caught.value.most, caught.value.stored) == (1, 2, 2, "not stored")
    assert send(bus, 6, shelf="b").state == "buffered"
    send(bus, 1)
    send(bus, 2)
    assert send(bus, 5).state == "stored"
    assert stored(bus) == [1, 2, 3, 4, 5]


def test_more_than_a_page_may_wait(bus: EventBus) -> None:
    for number in range(2, 302):
        send(bus, number)
    send(bus, 400)
    assert len(send(bus, 1).released) == 300
    assert bus.inbox.get(SOURCE, "shelf-a").missing == Gap(302, 399)  # type: ignore[union-attr]


def test_a_durable_subscription_is_given_the_senders_order(bus: EventBus) -> None:
    handled: list[int] = []
    bus.subscribe("shelves", Moved, handler=lambda moved: handled.append(moved.number))
    for number in (2, 3, 1):
        send(bus, number)
    bus.drain()
    assert handled == [1, 2, 3]


# --- who hears of it ----------------------------------------------------------------------------------------


def test_recorded_has_what_was_released(bus: EventBus) -> None:
    with bus.recorded() as seen:
        send(bus, 2)
        send(bus, 1)
        send(bus, 1)
    assert seen == [Moved("a", 1), Moved("a", 2)]


def test_a_handler_is_told_source_and_number(bus: EventBus) -> None:
    told: list[tuple[str, int]] = []

    @bus.on(Moved)
    def note(moved: Moved, ctx: Context) -> None:
        told.append((ctx.envelope.source, ctx.envelope.metadata["sender"]["sequence"]))

    send(bus, 1)
    assert told == [(SOURCE, 1)]


# --- looking ------------------------------------------------------------------------------------------------


def test_what_waits_can_be_looked_at(bus: EventBus) -> None:
    assert list(bus.inbox) == []
    assert bus.inbox.get(SOURCE, "shelf-a") is None
    send(bus, 1, shelf="b")
    send(bus, 3, metadata={"user": "ada"})
    send(bus, 5)
    (sender,) = bus.inbox.list(gaps=True)
    assert (sender.source, sender.stream, sender.expected, sender.buffered) == (SOURCE, "shelf-a", 1, 2)
    assert (sender.missing, sender.on_gap, sender.due, sender.is_overdue) == (Gap(1, 2), "wait", None, False)
    (first, _) = bus.inbox.waiting(SOURCE, "shelf-a")
    assert (first.number, first.id, first.type, first.payload) == (3, "a3", "inbox.Moved", '{"shelf":"a","number":3}')
    assert first.metadata["user"] == "ada"
    assert len(bus.inbox.waiting(SOURCE, "shelf-a", limit=1)) == 1
    assert bus.inbox.list("nobody") == []
