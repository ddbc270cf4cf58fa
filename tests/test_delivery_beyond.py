"""What lies beyond the cursor and has a row, or is done: each is handled once and in its place, whatever the next
version of the app declares and whatever a person does about it."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path
from typing import Any

import pytest
from delivery_stage import ONCE, Notes, Oops, Paid, Placed, failing, only, standing_still
from process_stage import LONGEST, Child

from eventbus import Context, EventBus, Retry
from eventbus.errors import EventBusError
from eventbus.retry import fixed
from eventbus.technical import DeliveryRetrying
from eventbus.testing import FakeClock


def leave_a_row_beyond_the_cursor(path: Path) -> None:
    """1 still runs when the bus is closed, 3 has failed, and 4 is held behind it: the cursor stands before 1."""
    failed, go = threading.Event(), threading.Event()

    def handle(placed: Placed, ctx: Context) -> None:
        if placed.number == 1:
            go.wait(LONGEST)
        if placed.number == 3:
            raise Oops

    def drain() -> None:
        with contextlib.suppress(EventBusError):  # it is closed meanwhile
            bus.drain()

    bus = EventBus(path, delivery="manual")
    bus.on(DeliveryRetrying, handler=lambda retrying: failed.set())
    bus.subscribe("orders", Placed, handler=handle, concurrency=2, retry=Retry(attempts=5, backoff=fixed(60)))
    bus.publish_many([Placed("a", 1), Placed("a", 2), Placed("b", 3), Placed("b", 4)])
    thread = threading.Thread(target=drain)
    thread.start()
    assert failed.wait(LONGEST)
    bus.close(timeout=0)
    go.set()
    thread.join(LONGEST)


def leave_a_dead_letter_that_stops_the_cursor(path: Path, **how: Any) -> None:
    with standing_still(path) as bus:
        bus.subscribe("orders", Placed, handler=failing(), order_by="log", retry=ONCE, **how)
        bus.publish(Placed("a", 1))
        bus.drain()


@pytest.mark.parametrize("transactional", [False, True])
def test_in_strict_order_what_has_a_row_waits_for_what_is_before_it(tmp_path: Path, transactional: bool) -> None:
    leave_a_row_beyond_the_cursor(tmp_path / "log.db")
    notes, clock = Notes(), FakeClock()
    with standing_still(tmp_path / "log.db", clock) as bus:
        bus.subscribe("orders", Placed, handler=notes, order_by="log", transactional=transactional)
        bus.drain()
        clock.advance(60)
        bus.drain()
        assert notes.numbers == [1, 2, 3, 4]
        assert bus.subscriptions["orders"].row.handled == 4


def test_what_is_added_in_strict_order_goes_before_the_dead_letter_that_was_there(tmp_path: Path) -> None:
    path, notes = tmp_path / "log.db", Notes()
    with standing_still(path) as bus:
        bus.publish(Paid("k"))
    leave_a_dead_letter_that_stops_the_cursor(path, after=0)
    with standing_still(path) as bus:
        bus.dead_letters.edit(2, Placed("a", 100), reason="mended")
        bus.subscribe("orders", Placed, Paid, handler=notes, order_by="log", backfill=True, retry=ONCE)
        bus.drain()
        assert notes.events == [Paid("k")]
        assert [letter.edited for letter in bus.dead_letters.list()] == ['{"order_id":"a","number":100}']
        bus.dead_letters.retry()
        bus.publish(Placed("z", 3))
        bus.drain()
        assert notes.events == [Paid("k"), Placed("a", 100), Placed("z", 3)]


@pytest.mark.parametrize("order_by", ["stream", None])
@pytest.mark.parametrize("transactional", [False, True])
def test_what_a_person_gave_up_beyond_the_cursor_stays_given_up(
    tmp_path: Path, order_by: Any, transactional: bool
) -> None:
    path, notes = tmp_path / "log.db", Notes()
    leave_a_dead_letter_that_stops_the_cursor(path)
    for _ in range(2):
        with standing_still(path) as bus:
            bus.subscribe("orders", Placed, handler=notes, order_by=order_by, transactional=transactional)
            bus.drain()
            if bus.dead_letters.list():
                bus.dead_letters.discard(1, reason="void")
            bus.drain()
            assert notes.numbers == []
            assert bus.status(1) == {"orders": "discarded"}
            assert bus.subscriptions["orders"].lag.events == 0


DIES_IN_THE_SECOND = """
import os, sys
from delivery_stage import Placed
from eventbus import EventBus

def handle(placed, ctx):
    if placed.number == 2:
        print("dies", flush=True)
        os._exit(9)
    ctx.tx.execute("INSERT INTO effects VALUES (?)", (placed.number,))

bus = EventBus(sys.argv[1], delivery="manual")
bus.subscribe("orders", Placed, handler=handle, transactional=True)
bus.dead_letters.retry()
bus.drain()
"""


def test_an_effect_in_the_file_happens_once_though_the_process_dies_before_the_cursor_has_passed_it(
    tmp_path: Path,
) -> None:
    path = tmp_path / "log.db"
    leave_a_dead_letter_that_stops_the_cursor(path, transactional=True)
    with standing_still(path) as bus:
        with bus.transaction() as tx:
            tx.execute("CREATE TABLE effects (number INTEGER)")
        bus.publish(Placed("b", 2))
    child = Child(DIES_IN_THE_SECOND, path)
    assert child.says() == "dies"
    child.close()

    def note(placed: Placed, ctx: Context) -> None:
        assert ctx.tx is not None
        ctx.tx.execute("INSERT INTO effects VALUES (?)", (placed.number,))

    with standing_still(path) as bus:
        bus.subscribe("orders", Placed, handler=note, transactional=True)
        bus.drain()
        assert bus.query("SELECT number FROM effects") == [{"number": 1}, {"number": 2}]
        assert bus.subscriptions["orders"].row.handled == 2


def test_what_is_added_goes_before_a_dead_letter_of_its_key_and_not_behind_it(tmp_path: Path) -> None:
    path, notes = tmp_path / "log.db", Notes(only(2))
    with standing_still(path) as bus:
        bus.subscribe("orders", Placed, handler=notes, retry=ONCE)
        bus.publish_many([Paid("k"), Placed("k", 2)])
        bus.drain()
    later = Notes()
    with standing_still(path) as bus:
        bus.subscribe("orders", Placed, Paid, handler=later, backfill=True, retry=ONCE)
        bus.drain()
        assert later.events == [Paid("k")]
        bus.dead_letters.retry()
        bus.drain()
        assert later.events == [Paid("k"), Placed("k", 2)]


def test_what_is_counted_as_to_come_has_no_row_and_is_not_done(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with standing_still(path) as bus:
        bus.subscribe("orders", Placed, handler=Notes(), order_by="log")
        bus.publish_many([Paid("k"), Placed("z", 2)])
        bus.drain()
    with standing_still(path) as bus:
        bus.subscribe("orders", Placed, Paid, handler=failing(), order_by="log", backfill=True, retry=ONCE)
        bus.drain()
        subscription = bus.subscriptions["orders"]
        assert (subscription.row.handled, subscription.counts, subscription.lag.events) == (1, {"dead": 1}, 0)
