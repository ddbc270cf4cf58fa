"""Rows are written many to a statement: each comes back as if it had been written alone."""

import itertools

import pytest
from bus_stage import Opened, Paid, Placed

from eventbus import EventBus, IdempotencyConflict, InvalidEvent, WrongExpectedVersion

NUMBERS = (1, 2, 7, 8, 9, 63, 64, 65, 72, 73, 200)  # around the sizes of the statements
OPTIONS = {
    "nothing": {},
    "a stream": {"stream": "order-1"},
    "metadata": {"metadata": {"by": "anna"}},
    "everything": {
        "stream": "order-1",
        "metadata": {"by": "anna"},
        "correlation_id": "story",
        "causation_id": "cause",
        "expected_version": 0,
    },
}


@pytest.fixture
def bus(tmp_path):
    with EventBus(tmp_path / "shop.db", errors="raise", delivery="manual") as bus:
        yield bus


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_events_published_at_once_are_stored_as_each_of_them_alone_would_be(bus, number, options):
    receipts = bus.publish_many([Placed(each) for each in range(number)], **options)
    read = list(bus.log.read())
    assert [each.event for each in read] == [Placed(each) for each in range(number)]
    assert [each.position for each in receipts] == [each.position for each in read] == list(range(1, number + 1))
    assert [each.id for each in receipts] == [each.id for each in read] == sorted({each.id for each in read})
    sequences = list(range(1, number + 1)) if "stream" in options else [None] * number
    assert [each.sequence for each in receipts] == [each.sequence for each in read] == sequences
    for each in read:
        assert (each.stream, each.causation_id) == (options.get("stream"), options.get("causation_id"))
        assert each.correlation_id == options.get("correlation_id", each.id)
        assert each.metadata == options.get("metadata", {})  # which compares the checksums
        assert each.payload is not None


def test_kinds_of_events_in_turn_and_duplicates_between_them_keep_their_order(bus):
    first = bus.publish(Paid(0), idempotency_key="k-0")
    keys = [f"k-{each}" for each in (1, 0, 2, 2, 3)]
    events = [Placed(1), Paid(0), Placed(2), Placed(2), Paid(3)]
    receipts = bus.publish_many(events, idempotency_keys=keys)
    assert [each.duplicate for each in receipts] == [False, True, False, True, False]
    assert [each.position for each in receipts] == [2, first.position, 3, 3, 4]
    assert [each.event for each in bus.log.read()] == [Paid(0), Placed(1), Placed(2), Paid(3)]
    again = bus.publish_many(events, idempotency_keys=keys)
    assert [each.position for each in again] == [each.position for each in receipts]


def test_streams_of_a_template_are_numbered_each_by_itself(bus):
    ids = [f"{number % 3}" for number in range(100)]
    receipts = bus.publish_many([Opened(each) for each in ids])
    for stream, group in itertools.groupby(sorted(receipts, key=lambda each: each.stream), lambda each: each.stream):
        assert [each.sequence for each in group] == list(range(1, ids.count(stream[-1]) + 1))


@pytest.mark.parametrize(
    ("events", "options", "error"),
    [
        ([Placed(1), Placed("one")], {}, InvalidEvent),
        ([Placed(1), Placed(2)], {"idempotency_keys": ["one", ""]}, InvalidEvent),
        ([Placed(1), Placed(2)], {"stream": "s", "expected_version": 1}, WrongExpectedVersion),
        ([Placed(1), Placed(2)], {"idempotency_keys": ["one", "one"]}, IdempotencyConflict),
    ],
)
def test_what_one_of_them_is_refused_for_keeps_all_of_them_out(bus, events, options, error):
    with pytest.raises(error):
        bus.publish_many(events, **options)
    assert list(bus.log.read()) == []
    assert bus.publish(Placed(3)).position == 1


def test_who_connects_while_the_first_is_told_hears_of_the_others(bus):
    heard = []

    @bus.on(Placed)
    def first(placed: Placed) -> None:
        if placed == Placed(1):
            bus.on(Paid)(heard.append)

    bus.publish_many([Placed(1), Paid(2)])
    assert heard == [Paid(2)]


def test_a_position_that_another_connection_has_taken_meanwhile_is_not_given_out(bus):
    bus.publish(Placed(1))
    with bus.transaction() as tx:
        tx.publish(Placed(2))
    assert bus.publish(Placed(3)).position == 3
