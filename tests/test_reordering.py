"""Another `order_by` in a later version of the app: it is noticed, and what waits is put in the new order."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from delivery_stage import ONCE, Notes, accounted, failing, only, standing_still

from eventbus import Envelope, EventBus, Retry, event
from eventbus.retry import fixed
from eventbus.store.deliveries import DeliveryRow
from eventbus.testing import FakeClock
from eventbus.worker.reordering import in_order

AGAIN = Retry(attempts=20, backoff=fixed(10))


@event(name="shop.Packed", stream="shelf-{shelf}")
class Packed:
    number: int
    shelf: str = "a"
    region: str = "north"


def by_region(envelope: Envelope) -> str:
    return str(envelope.event.region)


def nobody_knows(envelope: Envelope) -> str:
    raise LookupError(envelope.id)


ORDERS: dict[str, Any] = {"stream": "stream", "log": "log", "none": None, "function": by_region}


def key(order: str, packed: Packed) -> str | None:
    """What an order keeps together."""
    return {"stream": packed.shelf, "log": "all", "none": None, "function": packed.region}[order]


def run_once(
    path: Path, handler: Any, order_by: Any, *events: Packed, clock: FakeClock | None = None, **how: Any
) -> None:
    """One run of a version of the app."""
    with standing_still(path, clock or FakeClock()) as bus:
        bus.subscribe("stock", Packed, handler=handler, order_by=order_by, **how)
        if events:
            bus.publish_many(events)
        bus.drain()


# --- it is noticed ----------------------------------------------------------------------------------------


def test_a_warning_says_what_the_order_was_and_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "log.db"
    run_once(path, failing(), "stream", Packed(1), Packed(2), retry=AGAIN)
    assert "order_by" not in caplog.text
    run_once(path, Notes(), by_region, retry=AGAIN)
    function = f"function {__name__}:by_region"
    assert f"order_by was 'stream' and is '{function}'; 2 deliveries that wait are in the new order" in caplog.text
    with standing_still(path) as bus:
        assert bus.subscriptions["stock"].row.order_by == function
    caplog.clear()
    run_once(path, Notes(), by_region, retry=AGAIN)
    assert "order_by" not in caplog.text


def test_until_somebody_takes_it_over_the_order_is_that_of_who_delivers(tmp_path: Path) -> None:
    run_once(tmp_path / "log.db", Notes(), "stream", Packed(1))
    with EventBus(tmp_path / "log.db", delivery="manual") as bus:
        bus.subscribe("stock", Packed, handler=Notes(), order_by=None)
        bus.publish(Packed(2))
        assert bus.subscriptions["stock"].row.order_by == "stream"
        bus.drain()
        assert bus.subscriptions["stock"].row.order_by == "none"


def test_in_a_running_bus_a_subscription_declared_again_goes_on_in_its_new_order() -> None:
    notes = Notes(only(1))
    clock = FakeClock()
    with standing_still(clock=clock) as bus:
        bus.subscribe("stock", Packed, handler=notes, retry=AGAIN)
        bus.publish_many([Packed(1, "a"), Packed(2, "a"), Packed(3, "b")])
        bus.drain()
        assert notes.numbers == [1, 3]
        bus.subscribe("stock", Packed, handler=notes, retry=AGAIN, order_by=None)
        bus.drain()
        assert notes.numbers == [1, 3, 2]


# --- what waits -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transactional", [False, True])
@pytest.mark.parametrize("retry", [AGAIN, ONCE], ids=["retried", "dead"])
@pytest.mark.parametrize(("before", "after"), list(permutations(ORDERS, 2)))
def test_what_waits_is_handled_once_and_in_the_new_order(
    tmp_path: Path, before: str, after: str, retry: Retry, transactional: bool
) -> None:
    path, clock, how = tmp_path / "log.db", FakeClock(), {"retry": retry, "transactional": transactional}
    chance = random.Random(f"{before} {after} {transactional}")
    events = [Packed(number, chance.choice("ab"), chance.choice(("north", "south"))) for number in range(24)]
    bad = set(chance.sample(range(1, 24), 4)) | {1}
    first, second = Notes(only(*bad)), Notes(only(*chance.sample(sorted(bad), 2)))
    run_once(path, first, ORDERS[before], *events[:12], clock=clock, **how)
    done = set(first.numbers) - bad
    with standing_still(path, clock) as bus:
        bus.subscribe("stock", Packed, handler=second, order_by=ORDERS[after], **how)
        bus.publish_many(events[12:])
        bus.drain()
        second.fail = only()
        while bus.subscriptions["stock"].counts:
            bus.dead_letters.retry(type="*")
            clock.advance(10)
            bus.drain()
        assert accounted(bus, "stock") == bus.subscriptions["stock"].row.handled == 24
        assert {bus.status(position)["stock"] for position in range(1, 25)} == {"handled"}
    last = {number: place for place, number in enumerate(second.numbers)}
    assert sorted(last) == sorted(set(range(24)) - done), "each of those that were left, and no other"
    groups: dict[str, list[int]] = {}
    for number in sorted(last):
        if (group := key(after, events[number])) is not None:
            groups.setdefault(group, []).append(number)
    for group in groups.values():
        assert [last[number] for number in group] == sorted(last[number] for number in group)


def test_where_the_log_becomes_one_order_nothing_passes_what_waits(tmp_path: Path) -> None:
    path, notes = tmp_path / "log.db", Notes()
    run_once(path, failing(), None, Packed(1), Packed(2), retry=ONCE)
    with standing_still(path) as bus:
        bus.subscribe("stock", Packed, handler=notes, retry=ONCE, order_by="log")
        later = bus.publish(Packed(3))
        for left in (2, 1):
            bus.drain()
            assert notes.numbers == list(range(1, 3 - left))
            status = bus.status(later)["stock"]
            assert (status, status.final) == ("held", True)
            (letter, *_) = bus.dead_letters.list()
            bus.dead_letters.retry(letter)
        bus.drain()
        assert notes.numbers == [1, 2, 3]


def test_a_discard_lets_the_next_one_go_on_in_the_new_order(tmp_path: Path) -> None:
    path, notes = tmp_path / "log.db", Notes()
    run_once(path, failing(), "stream", Packed(1), Packed(2), Packed(3, "b"), retry=ONCE)
    with standing_still(path) as bus:
        bus.subscribe("stock", Packed, handler=notes, retry=ONCE, order_by="log")
        bus.drain()
        bus.dead_letters.discard(1, reason="no use")
        bus.drain()
        assert notes.numbers == [2]
        bus.dead_letters.discard(3, reason="no use")
        bus.publish(Packed(4))
        bus.drain()
        assert notes.numbers == [2, 4]
        assert [bus.status(position)["stock"] for position in (1, 3)] == ["discarded", "discarded"]


def test_an_order_key_that_cannot_be_told_fails_its_delivery_as_ever(tmp_path: Path) -> None:
    path, clock = tmp_path / "log.db", FakeClock()
    run_once(path, failing(), "stream", Packed(1), Packed(2), retry=AGAIN, clock=clock)
    clock.advance(10)
    run_once(path, Notes(), nobody_knows, retry=AGAIN, clock=clock)
    with standing_still(path, clock) as bus:
        assert "LookupError" in str(bus.status(1)["stock"].error)
        assert "LookupError" in str(bus.status(2)["stock"].error)


def test_an_edited_dead_letter_stays_edited(tmp_path: Path) -> None:
    path, notes = tmp_path / "log.db", Notes()
    with standing_still(path) as bus:
        bus.subscribe("stock", Packed, handler=failing(), retry=ONCE)
        bus.publish(Packed(1))
        bus.drain()
        bus.dead_letters.edit(1, Packed(9))
        bus.dead_letters.retry(1)
    run_once(path, notes, "log", retry=ONCE)
    assert notes.numbers == [9]


# --- the rule ---------------------------------------------------------------------------------------------


def row(position: int, key: str | None, state: Any) -> DeliveryRow:
    return DeliveryRow(position, key, state, 1, 1, "later" if state == "retrying" else None, "Oops", "then")


def states(place: Callable[..., list[DeliveryRow]], *rows: DeliveryRow) -> list[tuple[str, str | None]]:
    return [(each.state, each.due) for each in place(rows, "now")]


def test_the_first_of_a_key_is_tried_and_those_behind_it_wait() -> None:
    rows = [row(1, "a", "held"), row(2, "a", "retrying"), row(3, "b", "retrying"), row(4, "a", "waiting")]
    assert states(in_order, *rows) == [("retrying", "now"), ("held", None), ("retrying", "later"), ("held", None)]


def test_what_stands_alone_waits_for_nobody_and_what_is_dead_stays_so() -> None:
    rows = [row(1, None, "held"), row(2, None, "held"), row(3, "a", "dead"), row(4, "a", "dead"), row(5, "a", "held")]
    assert [state for state, _ in states(in_order, *rows)] == ["retrying", "retrying", "dead", "dead", "held"]


def test_a_row_that_keeps_its_place_is_as_it_was() -> None:
    rows = [row(1, "a", "retrying"), row(2, "a", "held"), row(3, "b", "waiting")]
    assert in_order(rows, "now") == rows
