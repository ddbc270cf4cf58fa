"""Durable subscriptions: where they begin, what they hear, and in which order."""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from delivery_stage import Counted, Notes, Placed, accounted, only, standing_still

from eventbus import Envelope, EventBus, EventDefinitionError, Retry, event
from eventbus.errors import LogBusy, LogFull, WaitTimeout
from eventbus.store import subscriptions
from eventbus.store.storage import Storage
from eventbus.testing import FakeClock
from eventbus.worker import rounds
from eventbus.worker.recording import Recorder

ONCE = Retry(attempts=1)


# --- where a subscription begins, and its cursor --------------------------------------------------------


def test_a_new_subscription_hears_what_is_published_after_its_registration() -> None:
    notes = Notes()
    with standing_still() as bus:
        bus.publish(Counted(1))
        bus.subscribe("stock", Counted, handler=notes)
        bus.publish(Counted(2))
        assert bus.drain() == 1
    assert notes.numbers == [2]


@pytest.mark.parametrize(("after", "heard"), [(0, [1, 2, 3]), (1, [2, 3]), (2, [3])])
def test_a_subscription_may_begin_after_a_position(after: int, heard: list[int]) -> None:
    notes = Notes()
    with standing_still() as bus:
        bus.publish_many([Counted(1), Counted(2)])
        bus.subscribe("stock", Counted, handler=notes, after=after)
        bus.publish(Counted(3))
        bus.drain()
    assert notes.numbers == heard


def test_a_beginning_beyond_the_end_of_the_log_is_refused_where_it_is_declared() -> None:
    with standing_still() as bus:
        with pytest.raises(EventDefinitionError, match="after=99, but the log ends at position 0"):
            bus.subscribe("bad", Counted, handler=Notes(), after=99)
        bus.publish(Counted(1))
        assert list(bus.subscriptions) == []


def test_of_what_is_declared_before_the_log_is_open_only_the_bad_is_refused() -> None:
    notes, bus = Notes(), standing_still()
    bus.subscribe("good", Counted, handler=notes)
    bus.subscribe("bad", Counted, handler=Notes(), after=99)
    bus.subscribe("good too", Counted, handler=notes)
    with pytest.raises(EventDefinitionError, match="'bad': after=99"):
        bus.publish(Counted(1))
    bus.publish(Counted(2))
    assert bus.drain() == 2
    assert list(bus.subscriptions) == ["good", "good too"]
    assert notes.numbers == [2, 2]
    bus.close()


def test_a_subscription_goes_on_where_it_was_when_the_file_is_opened_again(tmp_path: Path) -> None:
    notes = Notes()
    for number in (1, 2, 3):
        with standing_still(tmp_path / "log.db") as bus:
            bus.subscribe("stock", Counted, handler=notes)
            bus.publish(Counted(number))
            if number != 2:
                bus.drain()
    assert notes.numbers == [1, 2, 3]


def test_a_subscription_hears_what_was_published_while_its_handler_was_away(tmp_path: Path) -> None:
    with standing_still(tmp_path / "log.db") as bus:
        bus.subscribe("stock", Counted, handler=Notes())
        bus.publish(Counted(1))
        bus.drain()
    with standing_still(tmp_path / "log.db") as bus:
        bus.publish(Counted(2))
        assert bus.subscriptions["stock"].state == "orphan"
    notes = Notes()
    with standing_still(tmp_path / "log.db") as bus:
        bus.subscribe("stock", Counted, handler=notes)
        bus.drain()
    assert notes.numbers == [2]


def test_the_cursor_passes_events_that_are_not_meant_for_the_subscription() -> None:
    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=Notes())
        bus.publish_many([Placed("1"), Counted(1), Placed("2"), Counted(2)])
        bus.drain()
        assert bus.subscriptions["stock"].cursor == 4
        assert bus.subscriptions["stock"].row.handled == 2


def test_an_event_far_beyond_the_cursor_is_reached() -> None:
    notes = Notes()
    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=notes)
        bus.publish_many([Placed(str(number)) for number in range(3000)])
        bus.publish(Counted(1))
        assert bus.drain() == 1
        assert bus.subscriptions["stock"].cursor == 3001


def test_more_events_than_fit_into_a_batch_are_all_delivered_in_order() -> None:
    notes = Notes()
    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=notes)
        bus.publish_many([Counted(number) for number in range(1500)])
        assert bus.drain() == 1500
    assert notes.numbers == list(range(1500))


# --- what it hears --------------------------------------------------------------------------------------


@event(name="shop.Thing")
class Thing:
    number: int = 0


@event(name="shop.Special")
class Special(Thing):
    pass


@event(name="shop.tick", kind="technical")
class Tick:
    number: int = 0


@pytest.mark.parametrize(
    ("target", "heard"),
    [
        (Thing, [1, 2]),
        (Special, [2]),
        ("shop.*", [1, 2, 3]),
        ("shop.S*", [2]),
        ("SHOP.*", []),
        ("*", [1, 2, 4]),
        (Tick, [3]),
    ],
)
def test_a_class_means_its_subclasses_and_a_star_leaves_out_technical_events(target: Any, heard: list[int]) -> None:
    notes = Notes()
    with standing_still() as bus:
        bus.subscribe("things", target, handler=notes)
        bus.publish_many([Thing(1), Special(2), Tick(3), Counted(4)])
        bus.drain()
    assert notes.numbers == heard


def test_the_first_event_of_a_new_subtype_is_not_missed() -> None:
    base, pattern = Notes(), Notes()
    with standing_still() as bus:
        bus.subscribe("base", Thing, handler=base)
        bus.subscribe("pattern", "shop.L*", handler=pattern)
        bus.publish(Thing(1))
        bus.drain()

        @event(name="shop.Late")
        class Late(Special):
            pass

        bus.publish(Late(2))
        bus.drain()
    assert base.numbers == [1, 2]
    assert pattern.numbers == [2]


def test_a_subscription_hears_what_another_bus_on_the_file_publishes(tmp_path: Path) -> None:
    notes = Notes()
    path = tmp_path / "log.db"
    clock = FakeClock()
    with standing_still(path, clock) as first, standing_still(path, clock) as second:
        first.subscribe("stock", Counted, handler=notes)
        second.publish(Counted(1))
        first.drain()
        second.publish(Counted(2))
        first.drain()
    assert notes.numbers == [1, 2]


# --- order ----------------------------------------------------------------------------------------------


def by_first_letter(envelope: Envelope) -> str | None:
    return str(envelope.event.order_id)[0]


def order_of_failure(bus: EventBus, notes: Notes, order_by: Any) -> list[int]:
    bus.subscribe("orders", Placed, handler=notes, order_by=order_by, retry=ONCE)
    bus.publish_many([Placed("a1", 1), Placed("a2", 2), Placed("a1", 3), Placed("b1", 4)])
    bus.drain()
    return notes.numbers


@pytest.mark.parametrize(
    ("order_by", "tried", "held"),
    [("stream", [1, 2, 4], 1), (None, [1, 2, 3, 4], 0), (by_first_letter, [1, 4], 2), ("log", [1], 0)],
)
def test_a_failing_event_blocks_only_its_own_order_key(order_by: Any, tried: list[int], held: int) -> None:
    notes = Notes(only(1))
    with standing_still() as bus:
        assert order_of_failure(bus, notes, order_by) == tried
        counts = bus.subscriptions["orders"].counts
    assert counts == {"dead": 1} | ({"held": held} if held else {})


def test_events_without_a_stream_stand_alone() -> None:
    notes = Notes(only(1))
    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=notes, retry=ONCE)
        bus.publish_many([Counted(1), Counted(2)])
        bus.drain()
        assert bus.subscriptions["stock"].counts == {"dead": 1}
    assert notes.numbers == [1, 2]


def test_order_by_log_stops_its_cursor_before_the_failing_event() -> None:
    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=Notes(only(2)), order_by="log", retry=ONCE)
        bus.publish_many([Counted(number) for number in (1, 2, 3)])
        bus.drain()
        assert bus.subscriptions["stock"].cursor == 1
        assert bus.status(3)["stock"] == "held"


@pytest.mark.parametrize("answer", [KeyError("no"), 7, "\ud800", "a\0b", "x" * 1001])
def test_an_order_key_that_cannot_be_told_is_a_failure_of_that_delivery_alone(answer: object) -> None:
    def order_by(envelope: Envelope) -> Any:
        if envelope.event.number == 1:
            if isinstance(answer, Exception):
                raise answer
            return answer
        return "same"

    notes = Notes()
    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=notes, order_by=order_by, retry=ONCE)
        bus.publish_many([Counted(number) for number in (1, 2, 3)])
        bus.drain()
        (status,) = bus.status(1).values()
        assert status == "dead"
        assert type(answer).__name__ in (status.error or "") or "which cannot be a key" in (status.error or "")
    assert notes.numbers == [2, 3]


# --- trouble that is not the handler's ------------------------------------------------------------------


def as_far_as_it_goes(bus: EventBus) -> None:
    """Deliver what can be delivered without waiting."""
    for _ in range(10):
        with suppress(WaitTimeout):
            bus.drain(timeout=0)


def test_what_cannot_be_recorded_for_one_subscription_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    record = Recorder.record

    def refusing(self: Any, item: Any, outcome: Any) -> Any:
        if self._lane.name == "bad":
            raise UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed")
        return record(self, item, outcome)

    clock, bad, good = FakeClock(), Notes(), Notes()
    with standing_still(clock=clock) as bus:
        bus.subscribe("bad", Counted, handler=bad)
        bus.subscribe("good", Counted, handler=good)
        bus.publish(Counted(1))
        with monkeypatch.context() as patch:
            patch.setattr(Recorder, "record", refusing)
            as_far_as_it_goes(bus)
            bus.publish(Counted(2))
            as_far_as_it_goes(bus)
        assert good.numbers == [1, 2]
        assert bus.status(1) == {"bad": "waiting", "good": "handled"}
        clock.advance(2)
        bus.drain()
        assert bad.numbers == [1, 1, 2]
        assert accounted(bus, "bad") == accounted(bus, "good") == 2


def test_a_bus_closes_though_an_outcome_cannot_be_recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refusing(self: Any, item: Any, outcome: Any) -> Any:
        raise TypeError("odd")

    thunks: list[Any] = []
    with standing_still(tmp_path / "events.db") as bus:
        bus.subscribe("stock", Counted, handler=Notes(), via=thunks.append)
        bus.publish(Counted(1))
        as_far_as_it_goes(bus)
        thunks.pop()()
        with monkeypatch.context() as patch:
            patch.setattr(Recorder, "record", refusing)
            bus.close()
    notes = Notes()
    with standing_still(tmp_path / "events.db") as bus:
        bus.subscribe("stock", Counted, handler=notes)
        bus.drain()
    assert notes.numbers == [1]


def test_drain_is_not_done_while_a_subscription_rests_after_trouble_with_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def busy(self: Any, *args: Any, **how: Any) -> Any:
        raise LogBusy("events.db", "could not begin.")

    clock, notes = FakeClock(), Notes()
    with standing_still(clock=clock) as bus:
        bus.subscribe("stock", Counted, handler=notes, transactional=True)
        bus.publish(Counted(1))
        with monkeypatch.context() as patch:
            patch.setattr(Storage, "begin_guest", busy)
            as_far_as_it_goes(bus)
        with pytest.raises(WaitTimeout):
            bus.drain(timeout=0)
        clock.advance(2)
        assert bus.drain() == 1
    assert notes.numbers == [1]


def test_a_pause_that_comes_while_a_subscription_is_taken_over_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    writing, moments = Storage.writing, ["now"]

    @contextmanager
    def then_paused(self: Storage, *, synced: bool = True) -> Any:
        with writing(self, synced=synced) as connection:
            yield connection
        if not synced and moments:
            moments.clear()
            bus.subscriptions["stock"].pause()

    notes = Notes()
    with standing_still() as bus:
        bus.subscribe("stock", Counted, handler=notes)
        bus.publish(Counted(1))
        monkeypatch.setattr(Storage, "writing", then_paused)
        assert bus.drain() == 0
        assert moments == []
        bus.subscriptions["stock"].resume()
        assert bus.drain() == 1


def test_a_subscription_that_holds_too_much_is_paused_and_others_are_counted_once_if_that_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    set_state, failures = subscriptions.set_state, ["first"]

    def full(*args: Any) -> None:
        if failures:
            failures.clear()
            raise LogFull("events.db", "no room.")
        set_state(*args)

    monkeypatch.setattr(rounds, "MOST_HELD", 3)
    monkeypatch.setattr(subscriptions, "set_state", full)
    clock, notes = FakeClock(), Notes()
    with standing_still(clock=clock) as bus:
        bus.subscribe("bad", Placed, handler=Notes(only(0)), retry=ONCE)
        bus.subscribe("good", Placed, handler=notes)
        bus.publish_many([Placed("one", number) for number in range(6)])
        bus.drain()
        assert accounted(bus, "bad") == accounted(bus, "good") == 6
        assert (failures, bus.subscriptions["bad"].state) == ([], "active")
        clock.advance(2)
        bus.drain()
        assert bus.subscriptions["bad"].row.state_reason is not None
        assert bus.subscriptions["bad"].state == "paused"
    assert notes.numbers == list(range(6))
