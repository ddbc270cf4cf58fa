"""Publishing from a thread: receipts, streams, versions, keys, metadata, causes, and what is refused."""

from datetime import UTC, datetime

import pytest
from bus_stage import Opened, Paid, Placed, at_once

from eventbus import (
    EventBus,
    EventDefinitionError,
    IdempotencyConflict,
    InvalidEvent,
    Receipt,
    WrongExpectedVersion,
    event,
)
from eventbus.errors import BusClosed, EventBusError
from eventbus.testing import FakeClock


@pytest.fixture(params=["file", "memory"])
def bus(request, tmp_path):
    made = EventBus(tmp_path / "shop.db" if request.param == "file" else None, errors="raise")
    yield made
    made.close()


def stored(bus: EventBus) -> list[object]:
    return [envelope.event for envelope in bus.log.read()]


# --- receipts ----------------------------------------------------------------------------------------------


def test_a_receipt_tells_where_the_event_is(bus):
    first = bus.publish(Placed(1), stream="order-1")
    second = bus.publish(Placed(2), stream="order-1")
    alone = bus.publish(Placed(3))
    assert (first.position, first.stream, first.sequence, first.duplicate) == (1, "order-1", 1, False)
    assert (second.position, second.sequence) == (2, 2)
    assert (alone.position, alone.stream, alone.sequence) == (3, None, None)
    assert len({first.id, second.id, alone.id}) == 3


def test_what_was_published_is_in_the_log_with_all_that_is_known_about_it(bus):
    receipt = bus.publish(Opened("7", "Ada"), metadata={"user": "ada", "tries": [1, None]})
    envelope = bus.log.get(receipt.id)
    assert envelope.event == Opened("7", "Ada")
    assert (envelope.type, envelope.version, envelope.kind) == ("stage.Opened", 1, "domain")
    assert (envelope.stream, envelope.sequence, envelope.position) == ("account-7", 1, receipt.position)
    assert envelope.metadata == {"user": "ada", "tries": [1, None]}
    assert (envelope.correlation_id, envelope.causation_id) == (receipt.id, None)
    assert envelope.source == ("memory" if bus.path is None else "shop")


def test_the_time_of_an_event_is_that_of_the_buss_clock():
    with EventBus(clock=FakeClock(0.0), delivery="manual") as bus:
        receipt = bus.publish(Placed())
        assert bus.log.get(receipt.id).time == datetime(1970, 1, 1, tzinfo=UTC)


def test_a_stream_template_of_the_class_names_the_stream_unless_the_caller_does(bus):
    assert bus.publish(Opened("7")).stream == "account-7"
    assert bus.publish(Opened("7"), stream="other").stream == "other"


def test_an_id_can_be_chosen(bus):
    assert bus.publish(Placed(), id="mine").id == "mine"
    assert bus.log.get("mine").event == Placed()


# --- several in one commit ---------------------------------------------------------------------------------


def test_many_are_stored_in_order_with_a_receipt_each(bus):
    receipts = bus.publish_many([Placed(1), Paid(2), Placed(3)], stream="order-1")
    assert [(each.position, each.sequence) for each in receipts] == [(1, 1), (2, 2), (3, 3)]
    assert stored(bus) == [Placed(1), Paid(2), Placed(3)]


def test_many_can_be_none_and_can_come_from_a_generator(bus):
    assert bus.publish_many([]) == []
    assert len(bus.publish_many(Placed(n) for n in range(3))) == 3


def test_if_one_of_many_is_refused_none_is_stored(bus):
    with pytest.raises(InvalidEvent):
        bus.publish_many([Placed(1), Placed("two")])  # type: ignore[arg-type]
    with pytest.raises(WrongExpectedVersion):
        bus.publish_many([Placed(1), Placed(2)], stream="order-1", expected_version=4)
    bus.publish(Placed(9), idempotency_key="taken")
    with pytest.raises(IdempotencyConflict):
        bus.publish_many([Placed(1), Placed(2)], idempotency_keys=["new", "taken"])
    assert stored(bus) == [Placed(9)]


def test_live_handlers_of_many_run_after_all_of_them_are_stored(bus):
    heads = []
    bus.on(Placed, handler=lambda placed: heads.append((placed.number, bus.log.head)))
    bus.publish_many([Placed(1), Placed(2)])
    assert heads == [(1, 2), (2, 2)]


def test_many_keys_must_be_as_many_as_the_events(bus):
    for keys in (["one"], "ab"):
        with pytest.raises(EventBusError, match="one key for each"):
            bus.publish_many([Placed(1), Placed(2)], idempotency_keys=keys)
    assert bus.log.head == 0


def test_the_expected_version_of_many_is_that_before_the_first(bus):
    bus.publish_many([Placed(1), Placed(2)], stream="order-1", expected_version=0)
    bus.publish_many([Placed(3), Placed(4)], stream="order-1", expected_version=2)
    assert bus.log.head == 4


# --- expected versions -------------------------------------------------------------------------------------


def test_an_expected_version_that_is_past_is_refused_with_both_numbers(bus):
    bus.publish_many([Placed(1), Placed(2)], stream="order-1")
    with pytest.raises(WrongExpectedVersion) as caught:
        bus.publish(Placed(3), stream="order-1", expected_version=1)
    error = caught.value
    assert (error.stream, error.expected, error.actual, error.stored) == ("order-1", 1, 2, "not stored")
    assert bus.publish(Placed(3), stream="order-1", expected_version=2).sequence == 3


def test_zero_expects_a_new_stream(bus):
    assert bus.publish(Placed(), stream="order-1", expected_version=0).sequence == 1
    with pytest.raises(WrongExpectedVersion):
        bus.publish(Placed(), stream="order-1", expected_version=0)


def test_an_expected_version_needs_a_stream(bus):
    with pytest.raises(EventBusError, match="no stream"):
        bus.publish(Placed(), expected_version=0)


def test_of_writers_that_race_for_one_version_one_wins(bus):
    won, lost = [], []

    def race() -> None:
        try:
            won.append(bus.publish(Placed(), stream="order-1", expected_version=0))
        except WrongExpectedVersion as error:
            lost.append(error)

    at_once(*[race] * 8)
    assert (len(won), len(lost), bus.log.head) == (1, 7, 1)


# --- idempotency keys --------------------------------------------------------------------------------------


def test_a_key_is_stored_once_and_gives_the_first_receipt_again(bus):
    first = bus.publish(Placed(1), stream="order-1", idempotency_key="k")
    again = bus.publish(Placed(1), stream="order-1", idempotency_key="k")
    assert again == Receipt(first.id, first.position, "order-1", 1, duplicate=True)
    assert bus.log.head == 1


def test_a_duplicate_tells_nobody(bus):
    heard = []
    bus.on("*", handler=heard.append)
    with bus.recorded() as seen:
        bus.publish(Placed(1), idempotency_key="k")
        bus.publish(Placed(1), idempotency_key="k")
        bus.publish_many([Placed(1), Placed(2)], idempotency_keys=["k", "l"])
    assert heard == seen == [Placed(1), Placed(2)]


@pytest.mark.parametrize(
    "other",
    [(Placed(2), {}), (Paid(1), {}), (Placed(1), {"stream": "order-1"})],
    ids=["other payload", "other type", "other stream"],
)
def test_a_key_that_stands_for_other_content_is_a_conflict(bus, other):
    bus.publish(Placed(1), idempotency_key="k")
    with pytest.raises(IdempotencyConflict) as caught:
        bus.publish(other[0], idempotency_key="k", **other[1])
    assert (caught.value.key, caught.value.position, caught.value.stored) == ("k", 1, "not stored")
    assert bus.log.head == 1


def test_metadata_and_causes_are_not_part_of_what_a_key_stands_for(bus):
    bus.publish(Placed(1), idempotency_key="k", metadata={"try": 1})
    assert bus.publish(Placed(1), idempotency_key="k", metadata={"try": 2}, causation_id="x").duplicate


def test_keys_are_scoped_by_source(tmp_path):
    for source in ("web", "import"):
        with EventBus(tmp_path / "shop.db", source=source, delivery="manual") as bus:
            assert not bus.publish(Placed(1), idempotency_key="k").duplicate
            assert bus.publish(Placed(1), idempotency_key="k").duplicate
            assert bus.log.get(bus.log.head).source == source


def test_a_key_is_looked_at_before_the_expected_version(bus):
    first = bus.publish(Placed(1), stream="order-1", expected_version=0, idempotency_key="k")
    again = bus.publish(Placed(1), stream="order-1", expected_version=0, idempotency_key="k")
    assert again.duplicate
    assert again.position == first.position


def test_a_chosen_id_is_a_key_too(bus):
    bus.publish(Placed(1), stream="order-1", id="mine")
    assert bus.publish(Placed(1), stream="order-1", id="mine").duplicate
    with pytest.raises(IdempotencyConflict):
        bus.publish(Placed(2), stream="order-1", id="mine")
    assert bus.log.head == 1


def test_the_id_of_an_event_serves_as_its_key(bus):
    first = bus.publish(Placed(1))
    again = bus.publish(Placed(1), idempotency_key=first.id)
    assert (again.duplicate, again.position) == (True, first.position)
    with pytest.raises(IdempotencyConflict):
        bus.publish(Placed(2), idempotency_key=first.id)


def test_a_key_given_twice_within_one_commit_is_stored_once(bus):
    receipts = bus.publish_many([Placed(1), Placed(1), Placed(2)], idempotency_keys=["a", "a", "b"])
    assert [each.duplicate for each in receipts] == [False, True, False]
    assert receipts[0].id == receipts[1].id
    assert stored(bus) == [Placed(1), Placed(2)]


def test_a_key_given_twice_within_one_call_for_other_content_is_a_conflict(bus):
    with pytest.raises(IdempotencyConflict, match="used twice in this call") as caught:
        bus.publish_many([Placed(1), Placed(2)], idempotency_keys=["k", "k"])
    assert (caught.value.key, caught.value.position, bus.log.head) == ("k", None, 0)


def test_a_key_survives_a_restart(tmp_path):
    for duplicate in (False, True):
        with EventBus(tmp_path / "shop.db", delivery="manual") as bus:
            assert bus.publish(Placed(1), idempotency_key="k").duplicate is duplicate


def test_one_key_published_from_many_threads_is_stored_once(bus):
    receipts = []
    at_once(*[lambda: receipts.append(bus.publish(Placed(1), idempotency_key="k"))] * 8)
    assert sorted(each.duplicate for each in receipts) == [False] + [True] * 7
    assert len({each.id for each in receipts}) == bus.log.head == 1


# --- causes ------------------------------------------------------------------------------------------------


def test_causes_can_be_told(bus):
    envelope = bus.log.get(bus.publish(Placed(), correlation_id="c", causation_id="because").id)
    assert (envelope.correlation_id, envelope.causation_id) == ("c", "because")


def test_what_a_live_handler_publishes_is_caused_by_what_it_handles(bus):
    bus.on(Placed, handler=lambda placed: bus.publish(Paid(placed.number)))
    bus.on(Paid, handler=lambda paid, ctx: ctx.publish(Opened(str(paid.number))))
    root = bus.publish(Placed(7))
    placed, paid, opened = bus.log.read()
    assert (paid.causation_id, opened.causation_id) == (placed.id, paid.id)
    assert {placed.correlation_id, paid.correlation_id, opened.correlation_id} == {root.id}


def test_after_a_handler_nothing_is_caused_by_its_event_any_more(bus):
    bus.on(Placed, handler=lambda placed: None)
    bus.publish(Placed())
    assert bus.log.get(bus.publish(Paid()).id).causation_id is None


@pytest.mark.parametrize("form", ["plain", "context", "async", "async context", "transactional"])
def test_what_a_durable_handler_publishes_is_caused_by_what_it_handles(bus, form):
    def plain(placed):
        bus.publish(Paid(placed.number))

    def context(placed, ctx):
        ctx.publish(Paid(placed.number))

    async def asynchronous(placed):
        await bus.publish_async(Paid(placed.number))

    async def async_context(placed, ctx):
        ctx.publish(Paid(placed.number))

    def transactional(placed, ctx):
        ctx.tx.publish(Paid(placed.number))

    handler = {
        "plain": plain,
        "context": context,
        "async": asynchronous,
        "async context": async_context,
        "transactional": transactional,
    }[form]
    bus.subscribe("payments", Placed, handler=handler, transactional=form == "transactional")
    root = bus.publish(Placed(3), correlation_id="story")
    assert bus.drain(60) == 1
    paid = bus.log.get(2)
    assert paid.event == Paid(3)
    assert (paid.causation_id, paid.correlation_id) == (root.id, "story")


# --- what is refused ---------------------------------------------------------------------------------------


def test_what_is_no_event_is_refused(bus):
    for thing in (object(), "text", None, Placed):
        with pytest.raises(EventBusError):
            bus.publish(thing)
    assert bus.log.head == 0


@pytest.mark.parametrize(
    ("thing", "says"),
    [
        (Placed, r"Placed is a class: publish an instance, Placed\(...\)"),
        ([Placed()], "use publish_many"),
        ("hello", "str is not an event class"),
        (None, "NoneType is not an event class"),
        ({}, "dict is not an event class"),
    ],
)
def test_what_is_published_instead_of_an_event_is_told_what_it_is_and_that_nothing_was_stored(bus, thing, says):
    for publish in (bus.publish, bus.submit, lambda thing: bus.publish_many([thing])):
        with pytest.raises(EventDefinitionError, match=says) as caught:
            publish(thing)
        assert caught.value.stored == "not stored"


@pytest.mark.parametrize("thing", [Placed(1), Placed, None])
def test_many_are_a_list(bus, thing):
    with pytest.raises(EventBusError, match=r"takes a list of events.* use publish\.") as caught:
        bus.publish_many(thing)
    assert caught.value.stored == "not stored"


def test_a_payload_over_the_limit_is_refused_and_one_at_the_limit_is_not(tmp_path):
    payload = len('{"account":"","owner":""}')
    with EventBus(tmp_path / "shop.db", max_payload=payload + 5, delivery="manual") as bus:
        bus.publish(Opened("12345"))
        with pytest.raises(InvalidEvent):
            bus.publish(Opened("123456"))
        with pytest.raises(InvalidEvent):
            bus.submit(Opened("123456"))
        assert bus.log.head == 1


@pytest.mark.parametrize(
    "metadata", [{"when": datetime.now(UTC)}, {1: "one"}, {"pair": (1, 2)}, {"nan": float("nan")}, {"set": {1}}]
)
def test_metadata_that_would_not_come_back_is_refused(bus, metadata):
    with pytest.raises(InvalidEvent, match="metadata"):
        bus.publish(Placed(), metadata=metadata)
    assert bus.log.head == 0


@pytest.mark.parametrize("name", ["stream", "idempotency_key", "id", "correlation_id", "causation_id"])
@pytest.mark.parametrize("value", ["", "x" * 1001, "a\0b", "\ud800", 7])
def test_names_that_could_not_be_stored_are_refused(bus, name, value):
    with pytest.raises(InvalidEvent, match=name):
        bus.publish(Placed(), **{name: value})
    assert bus.log.head == 0


@pytest.mark.parametrize("version", [-1, True, "1", 1.0])
def test_an_expected_version_is_a_whole_number(bus, version):
    with pytest.raises(InvalidEvent, match="expected_version"):
        bus.publish(Placed(), stream="order-1", expected_version=version)


def test_two_classes_of_one_name_are_refused_by_the_bus_that_meets_both(bus):
    @event(name="stage.Twin")
    class Twin:
        number: int = 0

    @event(name="stage.Twin")
    class Another:
        text: str = ""

    bus.publish(Twin())
    with pytest.raises(EventBusError, match=r"stage\.Twin"):
        bus.publish(Another())
    assert bus.log.head == 1


def test_a_closed_bus_takes_nothing(bus):
    bus.publish(Placed())
    bus.close()
    for verb in (bus.publish, bus.submit, bus.emit, lambda each: bus.publish_many([each])):
        with pytest.raises(BusClosed):
            verb(Placed())
    with pytest.raises(BusClosed), bus.transaction():
        pass
    with pytest.raises(BusClosed):
        _ = bus.log.head
