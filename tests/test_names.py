"""The integers that stand for type names: what is rolled back is not remembered, what changes is noticed."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from delivery_stage import Counted
from process_stage import run

from eventbus import EventBus, event


class Undone(Exception):
    pass


def named(name: str, *bases: type) -> Any:
    """An event class of its own with this type name."""
    return event(name=name)(type("Named", bases, {"__annotations__": {"number": "int"}, "__module__": name}))


First, Second, Third = named("names.First"), named("names.Second"), named("names.Third")


def recorded(path: Path) -> list[tuple[str, int]]:
    """What a bus that knows nothing yet reads."""
    with EventBus(path, delivery="manual") as bus:
        return [(envelope.type, envelope.event.number) for envelope in bus.log.read()]


@pytest.mark.parametrize("reads", [True, False])
def test_a_rolled_back_type_leaves_no_number_behind(tmp_path: Path, reads: bool) -> None:
    path = tmp_path / "shop.db"
    with EventBus(path, delivery="manual") as bus:
        bus.publish(First(0))
        with contextlib.suppress(Undone), bus.transaction() as tx:
            tx.publish(Second(1))
            tx.publish(Third(1))
            if reads:
                assert len(list(bus.log.read())) == 1
            raise Undone
        bus.publish(Third(2))
        bus.publish(Second(3))
    assert recorded(path) == [("names.First", 0), ("names.Third", 2), ("names.Second", 3)]


def test_a_type_that_a_savepoint_took_back_is_written_again() -> None:
    with EventBus(delivery="manual") as bus:
        with bus.transaction() as tx:
            with contextlib.suppress(Undone), tx.db.atomic():
                tx.publish(Second(1))
                raise Undone
            assert list(bus.log.read()) == []
            tx.publish(Third(2))
            tx.publish(Second(3))
        assert [(e.type, e.event.number) for e in bus.log.read()] == [("names.Third", 2), ("names.Second", 3)]


def test_a_class_that_gains_a_base_is_heard_by_whoever_listens_to_the_base(tmp_path: Path) -> None:
    path, heard = tmp_path / "shop.db", list[int]()
    with EventBus(path, delivery="manual") as before:
        before.publish(named("names.Growing")(1))
    base = named("names.Base")
    grown = event(name="names.Growing")(type("Grown", (base,), {"__module__": "names.Growing"}))
    with EventBus(path, delivery="manual") as listening, EventBus(path, delivery="manual") as bus:
        listening.subscribe("all", base, handler=lambda event: heard.append(event.number))
        listening.drain()
        bus.publish(base(2))
        bus.publish(grown(3))
        listening.drain()
    assert heard == [2, 3]


ELSEWHERE = """
with EventBus(path, delivery="manual", source="elsewhere") as bus:
    bus.publish(Counted(1))
"""


def test_a_type_that_another_process_adds_just_before_this_one_adds_its_own_is_delivered(tmp_path: Path) -> None:
    path, counted = tmp_path / "shop.db", list[int]()
    with EventBus(path, delivery="manual") as bus:
        bus.subscribe("stock", Counted, handler=lambda event: counted.append(event.number))
        assert bus.drain() == 0
        run(ELSEWHERE, path)
        bus.publish(First(2))
        bus.drain()
        assert counted == [1]
        assert [(e.type, e.source) for e in bus.log.read()] == [("stock.Counted", "elsewhere"), ("names.First", "shop")]
