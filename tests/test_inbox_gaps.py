"""Gaps that are open for too long: wait, skip with a record, or ask a person; over restarts and in any process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bus_stage import Recorder
from delivery_stage import standing_still
from inbox_stage import SOURCE, Moved, send, skips, stored

from eventbus import EventBus, EventBusError
from eventbus.inbox import GAPS, Intake, Sender
from eventbus.ordering import Gap
from eventbus.testing import FakeClock

SKIP: dict[str, Any] = {"gap_timeout": 10, "on_gap": "skip"}
DEAD: dict[str, Any] = {"gap_timeout": 10, "on_gap": "dead"}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bus(clock: FakeClock) -> Iterator[EventBus]:
    with standing_still(clock=clock) as made:
        yield made


def shelf(bus: EventBus, name: str = "a") -> Sender:
    found = bus.inbox.get(SOURCE, f"shelf-{name}")
    assert found is not None
    return found


def after(bus: EventBus, clock: FakeClock, seconds: float) -> list[int]:
    clock.advance(seconds)
    bus.drain()
    return stored(bus)


# --- wait ---------------------------------------------------------------------------------------------------


def test_with_wait_a_gap_stays_open_and_can_be_seen(bus: EventBus, clock: FakeClock) -> None:
    send(bus, 2, gap_timeout=10)
    assert not shelf(bus).is_overdue
    assert after(bus, clock, 1_000_000) == []
    assert (shelf(bus).is_overdue, shelf(bus).missing, shelf(bus).on_gap) == (True, Gap(1, 1), "wait")
    assert skips(bus) == []
    send(bus, 1)
    assert stored(bus) == [1, 2]


def test_a_person_can_go_on_without_what_is_missing(bus: EventBus) -> None:
    heard: list[int] = []
    bus.on(Moved, handler=lambda moved: heard.append(moved.number))
    send(bus, 3)
    assert bus.inbox.skip(SOURCE, "shelf-a", reason="lost in the move", who="ada") == Gap(1, 2)
    assert stored(bus) == [3]
    (record,) = bus.log.read(types="eventbus.SequenceSkipped")
    assert (record.event.who, record.event.reason, record.position) == ("ada", "lost in the move", 1)
    with pytest.raises(EventBusError, match="Nothing is missing"):
        bus.inbox.skip(SOURCE, "shelf-a", reason="again")
    with pytest.raises(EventBusError, match="reason="):
        bus.inbox.skip(SOURCE, "shelf-a", reason="")


# --- skip ---------------------------------------------------------------------------------------------------


def test_with_skip_what_waits_is_delivered_after_the_timeout_with_a_record_before_it(
    bus: EventBus, clock: FakeClock
) -> None:
    send(bus, 1, **SKIP)
    send(bus, 4)
    assert after(bus, clock, 9.9) == [1]
    assert after(bus, clock, 0.1) == [1, 4]
    assert skips(bus) == [(2, 3, "timeout")]
    assert [each.type for each in bus.log.read()] == ["inbox.Moved", "eventbus.SequenceSkipped", "inbox.Moved"]
    assert (shelf(bus).expected, shelf(bus).since, shelf(bus).due) == (5, None, None)


def test_what_comes_after_it_was_skipped_is_late_and_dropped(bus: EventBus, clock: FakeClock) -> None:
    send(bus, 3, **SKIP)
    after(bus, clock, 10)
    head = bus.log.head
    assert (send(bus, 2).state, send(bus, 2).receipt) == ("late", None)
    assert (send(bus, 3).state, bus.log.head) == ("duplicate", head)
    assert send(bus, 4).state == "stored"


def test_a_gap_that_fills_in_time_is_forgotten(bus: EventBus, clock: FakeClock) -> None:
    send(bus, 2, **SKIP)
    clock.advance(5)
    send(bus, 1)
    assert after(bus, clock, 20) == [1, 2]
    send(bus, 4)
    assert after(bus, clock, 9) == [1, 2]
    assert after(bus, clock, 1) == [1, 2, 4]
    assert skips(bus) == [(3, 3, "timeout")]


def test_nothing_waits_longer_than_the_timeout_however_many_gaps_there_are(bus: EventBus, clock: FakeClock) -> None:
    send(bus, 2, **SKIP)
    send(bus, 4)
    clock.advance(4)
    send(bus, 6)
    assert after(bus, clock, 6) == [2, 4]
    assert after(bus, clock, 4) == [2, 4, 6]
    assert skips(bus) == [(1, 1, "timeout"), (3, 3, "timeout"), (5, 5, "timeout")]


def test_the_policy_is_kept_until_another_is_given(bus: EventBus, clock: FakeClock) -> None:
    send(bus, 2, **SKIP)
    send(bus, 4)
    assert (shelf(bus).on_gap, shelf(bus).gap_timeout) == ("skip", 10)
    send(bus, 4, gap_timeout=60)
    assert (shelf(bus).on_gap, shelf(bus).gap_timeout) == ("skip", 60)
    assert after(bus, clock, 30) == []
    send(bus, 4, on_gap="wait")
    assert (shelf(bus).on_gap, shelf(bus).gap_timeout, shelf(bus).due) == ("wait", None, None)
    assert after(bus, clock, 100) == []


def test_an_open_gap_outlives_a_restart(tmp_path: Path) -> None:
    with standing_still(tmp_path / "log.db") as bus:
        send(bus, 2, **SKIP)
    with standing_still(tmp_path / "log.db", FakeClock(seed=77)) as bus:
        bus.drain()
        assert (stored(bus), shelf(bus).buffered) == ([], 1)
    late = FakeClock(FakeClock().time() + 3600, seed=78)
    with standing_still(tmp_path / "log.db", late) as bus:
        bus.drain()
        assert (stored(bus), skips(bus)) == ([2], [(1, 1, "timeout")])


def test_a_bus_that_delivers_in_the_background_looks_by_itself(tmp_path: Path) -> None:
    heard = Recorder()
    with EventBus(tmp_path / "log.db") as bus:
        bus.on(Moved, handler=heard)
        send(bus, 2, gap_timeout=0, on_gap="skip")
        assert heard.heard(1) == [Moved("a", 2)]


def test_a_timeout_that_is_over_is_decided_again_by_whoever_writes(bus: EventBus, clock: FakeClock) -> None:
    """Two processes that found the same gap due: the second finds it gone."""
    bus.drain()
    send(bus, 2, **SKIP)
    clock.advance(10)
    watch = bus._ingesting()._watch
    assert watch is not None
    assert len(watch._follow(1)) == 2
    assert watch._follow(1) == []
    assert skips(bus) == [(1, 1, "timeout")]


def test_a_bus_that_closes_leaves_the_gaps_to_the_others_on_its_file(tmp_path: Path) -> None:
    clock = FakeClock()
    first, second = (standing_still(tmp_path / "log.db", clock) for _ in range(2))
    with second:
        send(first, 2, **SKIP)
        send(first, 2, shelf="b", **DEAD)
        second.start()
        first.close()
        assert after(second, clock, 10) == [2]
        assert [letter.subscription for letter in second.dead_letters.list()] == [GAPS]


def test_what_goes_wrong_with_one_gap_delays_no_other_and_no_delivery(
    bus: EventBus, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    give_up = Intake.give_up

    def fail_on_the_first(self: Intake, connection: Any, row: Any, *rest: Any, **how: Any) -> Any:
        if row.id == 1:
            raise EventBusError("no luck")
        return give_up(self, connection, row, *rest, **how)

    send(bus, 2, **SKIP)
    send(bus, 2, shelf="b", **SKIP)
    with monkeypatch.context() as patch:
        patch.setattr(Intake, "give_up", fail_on_the_first)
        assert after(bus, clock, 10) == []
        assert stored(bus, "b") == [2]
        assert "no luck" in caplog.text
    assert after(bus, clock, 1) == [2]


def test_what_is_given_up_is_delivered_to_durable_subscriptions(bus: EventBus, clock: FakeClock) -> None:
    handled: list[str] = []
    bus.subscribe("all", Moved, "eventbus.Sequence*", handler=lambda each: handled.append(type(each).__name__))
    send(bus, 2, **SKIP)
    clock.advance(10)
    assert bus.drain() == 2
    assert handled == ["SequenceSkipped", "Moved"]


# --- dead ---------------------------------------------------------------------------------------------------


def test_with_dead_a_gap_becomes_a_dead_letter(bus: EventBus, clock: FakeClock) -> None:
    send(bus, 1, **DEAD)
    assert list(bus.subscriptions) == []
    send(bus, 4)
    assert after(bus, clock, 10) == [1]
    (letter,) = bus.dead_letters.list()
    assert (letter.subscription, letter.attempts, shelf(bus).gap_event) == (GAPS, 1, letter.position)
    assert letter.error is not None
    assert "numbers 2 to 3" in letter.error.lower()
    assert letter.envelope is not None
    gap = letter.envelope.event
    assert (gap.source, gap.stream, gap.first, gap.last, gap.buffered) == (SOURCE, "shelf-a", 2, 3, 1)
    assert after(bus, clock, 1000) == [1]
    assert len(bus.dead_letters.list()) == 1


def test_a_gap_is_logged_without_a_traceback(bus: EventBus, clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    send(bus, 2, **DEAD)
    after(bus, clock, 10)
    (told,) = [record for record in caplog.records if record.name == "eventbus.delivery"]
    assert (told.levelname, told.exc_info) == ("ERROR", None)
    assert "is missing; 1 event waits" in told.getMessage()


def test_to_retry_it_is_to_look_again(bus: EventBus, clock: FakeClock) -> None:
    send(bus, 2, **DEAD)
    after(bus, clock, 10)
    bus.dead_letters.retry(*bus.dead_letters.list())
    bus.drain()
    assert len(bus.dead_letters.list()) == 1
    assert stored(bus) == []


def test_to_discard_it_is_to_go_on_without(bus: EventBus, clock: FakeClock) -> None:
    send(bus, 2, **DEAD)
    after(bus, clock, 10)
    (letter,) = bus.dead_letters.list()
    bus.dead_letters.discard(letter, reason="the sender lost it")
    bus.drain()
    assert (stored(bus), skips(bus), shelf(bus).gap_event) == ([2], [(1, 1, "discarded")], None)
    (record,) = bus.log.read(types="eventbus.SequenceSkipped")
    assert letter.envelope is not None
    assert record.causation_id == letter.envelope.id
    assert send(bus, 1).state == "late"


def test_a_gap_that_fills_takes_its_dead_letter_away(bus: EventBus, clock: FakeClock) -> None:
    send(bus, 3, **DEAD)
    after(bus, clock, 10)
    send(bus, 1)
    bus.drain()
    assert len(bus.dead_letters.list()) == 1
    send(bus, 2)
    assert bus.drain() == 1
    assert (bus.dead_letters.list(), stored(bus), skips(bus)) == ([], [1, 2, 3], [])
    assert shelf(bus).gap_event is None


def test_a_gap_that_fills_in_part_is_given_up_in_the_rest(bus: EventBus, clock: FakeClock) -> None:
    send(bus, 6, **DEAD)
    after(bus, clock, 10)
    send(bus, 3)
    bus.dead_letters.discard(*bus.dead_letters.list(), reason="lost")
    bus.drain()
    assert (stored(bus), skips(bus)) == ([3, 6], [(1, 2, "discarded"), (4, 5, "discarded")])


def test_the_next_gap_is_asked_about_again(bus: EventBus, clock: FakeClock) -> None:
    send(bus, 2, **DEAD)
    send(bus, 4)
    after(bus, clock, 10)
    bus.dead_letters.discard(*bus.dead_letters.list(), reason="lost")
    bus.drain()
    assert stored(bus) == [2]
    (letter,) = bus.dead_letters.list()
    assert letter.envelope is not None
    assert letter.envelope.event.first == 3


def test_a_gap_skipped_by_hand_takes_its_dead_letter_away(bus: EventBus, clock: FakeClock) -> None:
    send(bus, 2, **DEAD)
    after(bus, clock, 10)
    bus.inbox.skip(SOURCE, "shelf-a", reason="told by phone")
    assert bus.drain() == 1
    assert bus.dead_letters.list() == []


def test_a_dead_letter_of_a_gap_outlives_a_restart(tmp_path: Path) -> None:
    clock = FakeClock()
    with standing_still(tmp_path / "log.db", clock) as bus:
        send(bus, 2, **DEAD)
        after(bus, clock, 10)
    with standing_still(tmp_path / "log.db", clock) as bus:
        bus.drain()
        assert bus.subscriptions[GAPS].state == "active"
        bus.dead_letters.discard(*bus.dead_letters.list(), reason="lost")
        bus.drain()
        assert (stored(bus), bus.dead_letters.list()) == ([2], [])


def test_a_person_is_asked_again_where_the_subscription_was_forgotten(bus: EventBus, clock: FakeClock) -> None:
    send(bus, 2, **DEAD)
    after(bus, clock, 10)
    bus.subscriptions[GAPS].forget()
    assert bus.dead_letters.list() == []
    for _ in range(3):
        after(bus, clock, 2)
    assert len(bus.dead_letters.list()) == 1
    assert stored(bus) == []


def test_a_policy_that_changes_while_a_person_is_asked_is_followed(bus: EventBus, clock: FakeClock) -> None:
    send(bus, 2, **DEAD)
    after(bus, clock, 10)
    send(bus, 3, **SKIP)
    assert after(bus, clock, 1) == [2, 3]
    assert (skips(bus), bus.dead_letters.list()) == ([(1, 1, "timeout")], [])


# --- clocks that are set ------------------------------------------------------------------------------------


@pytest.mark.parametrize("moved", [-3600.0, 0.0, 3600.0])
def test_a_gap_is_open_for_its_timeout_however_the_clock_is_set(bus: EventBus, clock: FakeClock, moved: float) -> None:
    send(bus, 2, **SKIP)
    assert after(bus, clock, 2) == []
    clock.jump(moved)
    assert after(bus, clock, 2) == []
    assert after(bus, clock, 10) == [2]


def test_two_processes_that_notice_it_put_a_gap_off_once(tmp_path: Path, clock: FakeClock) -> None:
    with standing_still(tmp_path / "log.db", clock) as one, standing_still(tmp_path / "log.db", clock) as other:
        send(one, 2, **SKIP)
        one.drain()
        other.drain()
        clock.jump(3600)
        clock.advance(1)
        one.drain()
        other.drain()
        assert after(one, clock, 10) == [2]
