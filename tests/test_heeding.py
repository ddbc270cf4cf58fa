"""What is for nobody wakes nobody, and what is for somebody does so however new it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from bus_stage import Paid, Placed, Recorder
from delivery_stage import standing_still

from eventbus import EventBus, event
from eventbus.events import TypeName
from eventbus.worker.heeding import Heeding

TYPES = {1: TypeName("A", 1, "domain"), 2: TypeName("B", 1, "domain")}


def lane(*type_ids: int, **work: Any) -> Any:
    """As much of a lane as is looked at."""
    matching = SimpleNamespace(since=dict.fromkeys(type_ids, 0), resolve=lambda types: None)
    return SimpleNamespace(matching=matching, work=SimpleNamespace(**work))


def stored(*type_ids: int | None) -> Any:
    """Events of these types; None is one that was there before."""
    return [SimpleNamespace(row=None if type_id is None else (7, "id", type_id)) for type_id in type_ids]


def test_until_the_types_are_known_all_is_heeded():
    heeding = Heeding()
    assert not heeding.ignores(stored(1))
    heeding.learn([lane(1)], TYPES)
    assert heeding.ignores(stored(2))
    assert not heeding.ignores(stored(1))
    assert not heeding.ignores(stored(3))  # nobody has seen it yet
    heeding.begin_anew()
    assert not heeding.ignores(stored(2))


def test_one_that_is_heeded_is_enough():
    heeding = Heeding()
    heeding.learn([lane(), lane(1)], TYPES)
    assert not heeding.ignores(stored(2, 2, 1))
    assert heeding.ignores(stored(2, None))


def test_where_nobody_is_nothing_is_heeded_until_somebody_comes():
    heeding = Heeding()
    heeding.desert()
    assert heeding.ignores(stored(1, 3))
    heeding.begin_anew()
    assert not heeding.ignores(stored(1))


def test_a_projection_that_is_built_anew_heeds_all():
    heeding = Heeding()
    heeding.learn([lane(building=True), lane(1)], TYPES)
    assert not heeding.ignores(stored(2))
    heeding.learn([lane(building=False), lane(1)], TYPES)
    assert heeding.ignores(stored(2))


# --- on a bus ---------------------------------------------------------------------------------------------


@pytest.fixture
def rings(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each commit, whether it was for nobody."""
    found: list[bool] = []
    ignores = Heeding.ignores

    def noting(heeding: Heeding, appended: Any) -> bool:
        found.append(ignores(heeding, appended))
        return found[-1]

    monkeypatch.setattr(Heeding, "ignores", noting)
    return found


def publish_until_ignored(bus: EventBus, rings: list[bool]) -> None:
    """Have the pump learn that nobody waits for these."""
    while True not in rings:
        bus.publish(Placed())
        bus.drain()


def test_a_class_that_was_never_stored_before_wakes_who_waits_for_its_pattern(rings):
    handler = Recorder()
    with EventBus() as bus:
        bus.subscribe("all", "heeding.*", handler=handler)
        publish_until_ignored(bus, rings)

        @event(name="heeding.New")
        class New:
            pass

        bus.publish(New())
        assert handler.heard(1) == [New()]
    assert rings[-2:] == [True, False]


def test_who_comes_later_is_woken_by_what_was_for_nobody_before(rings):
    handler = Recorder()
    with EventBus() as bus:
        bus.subscribe("paid", Paid, handler=lambda paid: None)
        publish_until_ignored(bus, rings)
        bus.subscribe("placed", Placed, handler=handler)
        bus.publish(Placed(3))
        assert handler.heard(1) == [Placed(3)]
        bus.subscriptions["placed"].pause()
        bus.publish(Placed(4))
        bus.subscriptions["placed"].resume()
        assert handler.heard(2) == [Placed(3), Placed(4)]


def test_cursors_are_moved_over_what_was_for_nobody(tmp_path):
    with EventBus(tmp_path / "log.db") as bus:
        bus.subscribe("paid", Paid, handler=lambda paid: None)
        bus.publish(Placed(1))
        bus.drain()
        last = bus.publish(Placed(2))
        assert bus.wait_for(last, "paid") == "not_applicable"
        assert bus.drain() == 0
    with standing_still(tmp_path / "log.db") as bus:
        bus.subscribe("paid", Paid, handler=lambda paid: None)
        assert bus.drain() == 0
        assert bus.status(last)["paid"] == "not_applicable"
