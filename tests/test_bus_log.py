"""`bus.log`: the head, one event, and reading with every way to choose."""

import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from bus_stage import PATIENCE, Opened, Paid, Placed, at_once, elsewhere
from sums import sum_again

from eventbus import EventBus, EventDefinitionError, UnknownEvent, event
from eventbus.errors import BusClosed, EventBusError
from eventbus.store.reading import Selection, page
from eventbus.testing import FakeClock


@event(name="stage.Parent")
class Parent:
    number: int = 0


@event(name="stage.Child")
class Child(Parent):
    pass


@pytest.fixture(params=["file", "memory"])
def bus(request, tmp_path):
    clock = FakeClock(0.0)
    made = EventBus(tmp_path / "shop.db" if request.param == "file" else None, delivery="manual", clock=clock)
    for number in range(1, 11):
        made.publish(Placed(number) if number % 2 else Paid(number), stream=f"order-{number % 3}")
        clock.advance(60)
    yield made
    made.close()


def numbers(envelopes) -> list[int]:
    return [each.event.number for each in envelopes]


def test_an_empty_log_has_head_zero_and_nothing_to_read():
    with EventBus(delivery="manual") as bus:
        assert (bus.log.head, list(bus.log.read()), bus.log.get(1), bus.log.get("x")) == (0, [], None, None)


def test_one_event_by_id_or_position(bus):
    by_position = bus.log.get(4)
    assert bus.log.get(by_position.id) == by_position
    assert (by_position.event, by_position.position) == (Paid(4), 4)
    assert bus.log.get(11) is None
    assert bus.log.get("4") is None


@pytest.mark.parametrize("which", [None, 1.0, True, b"1", object()])
def test_what_is_neither_id_nor_position_is_refused(bus, which):
    with pytest.raises(EventBusError):
        bus.log.get(which)


def test_all_in_order_and_backward(bus):
    assert numbers(bus.log.read()) == list(range(1, 11))
    assert numbers(bus.log.read(backward=True)) == list(range(10, 0, -1))


def test_a_range_excludes_after_and_includes_until(bus):
    assert numbers(bus.log.read(after=3, until=6)) == [4, 5, 6]
    assert numbers(bus.log.read(after=3, until=6, backward=True)) == [6, 5, 4]
    assert numbers(bus.log.read(after=10)) == numbers(bus.log.read(after=6, until=5)) == []


def test_a_limit_counts_from_the_side_that_is_read_first(bus):
    assert numbers(bus.log.read(limit=2)) == [1, 2]
    assert numbers(bus.log.read(limit=2, backward=True)) == [10, 9]
    assert numbers(bus.log.read(limit=0)) == []
    assert len(list(bus.log.read(limit=100))) == 10


def test_one_stream(bus):
    assert numbers(bus.log.read(stream="order-1")) == [1, 4, 7, 10]
    assert [each.sequence for each in bus.log.read(stream="order-1", backward=True)] == [4, 3, 2, 1]
    assert numbers(bus.log.read(stream="nobody")) == []


def test_types_by_class_name_pattern_or_several(bus):
    assert numbers(bus.log.read(types=Placed)) == [1, 3, 5, 7, 9]
    assert numbers(bus.log.read(types="stage.Paid")) == [2, 4, 6, 8, 10]
    for types in ("stage.P*", [Placed, "stage.Paid"], (Placed, Paid), {"*"}):
        assert numbers(bus.log.read(types=types)) == list(range(1, 11))
    for types in (Opened, "nothing.*", []):
        assert numbers(bus.log.read(types=types)) == []


def test_a_base_class_stands_for_its_subclasses(bus):
    bus.publish_many([Parent(11), Child(12)])
    assert numbers(bus.log.read(types=Parent)) == [11, 12]
    assert numbers(bus.log.read(types=Child)) == [12]


def test_since_a_time(bus):
    since = datetime(1970, 1, 1, 0, 7, tzinfo=UTC)
    assert numbers(bus.log.read(since=since)) == [8, 9, 10]
    elsewhere = since.astimezone(tz=None) + timedelta(seconds=1)
    assert numbers(bus.log.read(since=elsewhere)) == [9, 10]


def test_everything_at_once(bus):
    found = bus.log.read(
        after=1,
        until=10,
        stream="order-1",
        types=[Placed, Paid],
        since=datetime(1970, 1, 1, 0, 3, tzinfo=UTC),
        limit=2,
        backward=True,
    )
    assert numbers(found) == [10, 7]


@pytest.mark.parametrize(
    "wrong",
    [
        {"after": "3"},
        {"after": -1},
        {"after": None},
        {"until": 2.5},
        {"limit": -1},
        {"limit": "all"},
        {"stream": 7},
        {"types": 7},
        {"types": [Placed, None]},
        {"types": int},
        {"since": datetime(2026, 1, 1)},
        {"since": "2026-01-01"},
        {"since": 0},
    ],
)
def test_wrong_arguments_are_refused_when_read_is_called(bus, wrong):
    with pytest.raises((EventBusError, EventDefinitionError)):
        bus.log.read(**wrong)


def test_reading_comes_to_an_end_while_others_publish(bus):
    seen = []
    for envelope in bus.log.read():
        seen.append(envelope.position)
        bus.publish(Placed(envelope.position))
    assert seen == list(range(1, 11))


def test_a_long_log_is_read_whole_in_both_directions(bus):
    bus.publish_many([Placed(n) for n in range(11, 1001)], stream="order-1")
    assert numbers(bus.log.read()) == list(range(1, 1001))
    assert numbers(bus.log.read(backward=True)) == list(range(1000, 0, -1))
    assert numbers(bus.log.read(stream="order-1", backward=True, limit=600)) == list(range(1000, 400, -1))
    assert numbers(bus.log.read(types=Paid)) == [2, 4, 6, 8, 10]


def test_a_reader_that_was_not_finished_is_in_nobodys_way(bus):
    reader = bus.log.read()
    next(reader)
    assert bus.publish(Placed(11)).position == 11
    with bus.transaction() as tx:
        tx.execute("CREATE TABLE notes (text TEXT)")
    assert len(list(reader)) == 9


def test_readers_of_many_threads_see_whole_commits(bus):
    stop = threading.Event()

    def write() -> None:
        for n in range(20):
            bus.publish_many([Placed(n)] * 5)
        stop.set()

    def read() -> None:
        while not stop.is_set():
            assert bus.log.head % 5 == 0
            positions = [each.position for each in bus.log.read(after=10)]
            assert positions == list(range(11, 11 + len(positions)))

    at_once(write, read, read)


def test_an_event_whose_class_is_not_loaded_is_read_all_the_same(tmp_path):
    with EventBus(tmp_path / "shop.db", delivery="manual") as bus:
        bus.publish(Placed(3))
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("UPDATE eventbus_types SET name = 'stage.Forgotten'")
        sum_again(connection)
    connection.close()
    with EventBus(tmp_path / "shop.db", delivery="manual") as bus:
        envelope = bus.log.get(1)
        assert (envelope.type, envelope.payload) == ("stage.Forgotten", '{"number":3}')
        with pytest.raises(UnknownEvent) as caught:
            _ = envelope.event
        assert (caught.value.type_name, caught.value.version, caught.value.loaded) == ("stage.Forgotten", 1, ())


def test_a_class_that_is_loaded_while_a_page_is_read_makes_the_rest_of_its_events(tmp_path):
    path = tmp_path / "shop.db"
    with EventBus(path, delivery="manual") as bus:
        bus.publish_many([Parent(1), Parent(2)])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE eventbus_types SET name = 'stage.Late' WHERE name = 'stage.Parent'")
        sum_again(connection)
    with EventBus(path, delivery="manual") as bus:
        first, second = bus.log.read()
        with pytest.raises(UnknownEvent):
            _ = first.event

        @event(name="stage.Late")
        class Late:
            number: int

        assert (first.event, second.event) == (Late(1), Late(2))


def test_a_version_that_is_not_loaded_is_told_together_with_those_that_are(tmp_path):
    with EventBus(tmp_path / "shop.db", delivery="manual") as bus:
        bus.publish(Placed(3))
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("UPDATE eventbus_types SET version = 7")
        sum_again(connection)
    connection.close()
    with (
        EventBus(tmp_path / "shop.db", delivery="manual") as bus,
        pytest.raises(UnknownEvent, match="Version 1 is loaded; keep a class for version 7, too") as caught,
    ):
        _ = bus.log.get(1).event
    assert caught.value.loaded == (1,)


def test_a_closed_log_is_not_read(bus):
    reader = bus.log.read()
    next(reader)
    bus.close()
    for use in (
        lambda: bus.log.head,
        lambda: bus.log.get(1),
        lambda: list(bus.log.read()),
        lambda: bus.query("SELECT 1"),
    ):
        with pytest.raises(BusClosed):
            use()


@pytest.mark.parametrize("backward", [False, True])
def test_a_stream_is_read_in_pages_in_either_direction(bus, backward, monkeypatch):
    monkeypatch.setattr("eventbus.bus.log_view.PAGE", 2)
    expected = [number for number in range(1, 11) if number % 3 == 1]
    assert numbers(bus.log.read(stream="order-1", backward=backward)) == expected[:: -1 if backward else 1]
    assert (
        numbers(bus.log.read(stream="order-1", after=1, until=9, backward=backward, limit=5))
        == [4, 7][:: -1 if backward else 1]
    )


@pytest.mark.parametrize("backward", [False, True])
def test_a_page_late_in_a_stream_costs_no_more_than_an_early_one(bus, backward):
    bus.publish_many([Placed(n) for n in range(3000)], stream="long")
    costs: list[int] = []
    selection = Selection(stream="long", until=bus.log.head, backward=backward)
    with bus._attachment.engine().storage.reading() as connection:

        def count() -> int:
            costs[-1] += 1
            return 0

        connection.set_progress_handler(count, 10)
        for _ in range(30):
            costs.append(0)
            rows = page(connection, selection, 100)
            selection = selection.beyond(rows[-1][0], rows[-1][4])
        connection.set_progress_handler(None, 0)
    assert max(costs) < 2 * min(costs)


def test_a_query_that_takes_long_holds_up_nobody_who_wants_to_close_its_connection(bus):
    storage = bus._attachment.engine().storage
    asker, asked, answer = storage._asker, threading.Event(), threading.Event()

    def hold() -> int:
        asked.set()
        return int(answer.wait(PATIENCE))

    bus.query("SELECT 1")
    asker._connection.create_function("hold", 0, hold)
    rows: list[dict[str, object]] = []
    asking = threading.Thread(target=lambda: rows.extend(asker.ask("SELECT hold() AS held", ())), daemon=True)
    asking.start()
    assert asked.wait(PATIENCE)
    elsewhere(asker.close)
    answer.set()
    asking.join(PATIENCE)
    assert rows == [{"held": 1}]
    assert asker._connection is None
    assert bus.query("SELECT 1 AS one") == [{"one": 1}]
