"""Definitions drift: classes come and go, handlers are replaced, subscriptions are paused, forgotten, orphaned."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from delivery_stage import Counted, Notes, Oops, Placed, accounted, failing, only, standing_still

from eventbus import Context, EventBus, EventBusError, EventDefinitionError, Handlers, Retry, event
from eventbus.errors import WouldDeadlock
from eventbus.retry import fixed
from eventbus.testing import FakeClock


@event(name="stock.Moved", stream="shelf-{shelf}")
class Moved:
    number: int
    shelf: str = "a"


@event(name="stock.Lost", stream="shelf-{shelf}")
class Lost:
    number: int
    shelf: str = "a"


def numbers_heard(path: Path, *targets: Any, publish: tuple[Any, ...] = (), **how: Any) -> list[int]:
    """What a subscription of these targets hears in one run of a program."""
    notes = Notes(how.pop("fail", lambda event, ctx: None))
    with standing_still(path) as bus:
        bus.subscribe("stock", *targets, handler=notes, **how)
        if publish:
            bus.publish_many(publish)
        bus.drain()
    return notes.numbers


# --- classes --------------------------------------------------------------------------------------------


def test_a_class_that_is_added_later_counts_from_now_on_and_a_warning_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log.db"
    assert numbers_heard(path, Moved, publish=(Moved(1), Lost(2))) == [1]
    assert caplog.text == ""
    assert numbers_heard(path, Moved, Lost, publish=(Moved(3), Lost(4))) == [3, 4]
    assert "stock: stock.Lost is new to this subscription; it counts from position 3 on" in caplog.text


def test_a_class_that_is_added_with_backfill_is_read_from_where_the_subscription_began(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log.db"
    with standing_still(path) as bus:
        bus.publish(Lost(0))
    assert numbers_heard(path, Moved, publish=(Moved(1), Lost(2), Moved(3), Lost(4))) == [1, 3]
    assert numbers_heard(path, Moved, Lost, publish=(Moved(5),), backfill=True) == [2, 4, 5]
    assert numbers_heard(path, Moved, Lost, publish=(Lost(6),), backfill=True) == [6]
    assert "stock" not in caplog.text
    with standing_still(path) as bus:
        assert accounted(bus, "stock") == 6


def test_a_backfill_that_is_interrupted_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    numbers_heard(path, Moved, publish=tuple(Moved(n) if n % 2 else Lost(n) for n in range(20)))
    seen = Notes()
    with standing_still(path) as bus:
        bus.subscribe("stock", Moved, Lost, handler=seen, backfill=True)
        assert bus.status(1)["stock"] == "waiting"
        assert bus.status(2)["stock"] == "handled"

    def stop(event: Any, ctx: Context) -> None:
        if event.number == 8:
            bus.subscriptions["stock"].pause()

    seen.fail = stop
    with standing_still(path) as bus:
        bus.subscribe("stock", Moved, Lost, handler=seen)
        bus.drain()
        bus.subscriptions["stock"].resume()
    assert seen.numbers == [0, 2, 4, 6, 8]
    with standing_still(path) as bus:
        bus.subscribe("stock", Moved, Lost, handler=seen)
        assert bus.status(11)["stock"] == "waiting"
        bus.publish(Moved(20))
        bus.drain()
        assert accounted(bus, "stock") == 21
    assert seen.numbers == [*range(0, 20, 2), 20]


def test_what_a_pattern_heard_already_is_not_heard_again_when_its_class_is_added_with_backfill(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    assert numbers_heard(path, "stock.M*", publish=(Moved(1), Lost(2))) == [1]
    assert numbers_heard(path, "stock.M*", "stock.*", publish=(Moved(3),), backfill=True) == [2, 3]


@pytest.mark.parametrize("order_by", ["stream", "log", None])
def test_a_backfill_beside_a_failing_delivery_loses_nothing(tmp_path: Path, order_by: Any) -> None:
    path, clock, notes = tmp_path / "log.db", FakeClock(), Notes(only(1))
    retry = Retry(attempts=9, backoff=fixed(10))
    with standing_still(path, clock) as bus:
        bus.subscribe("stock", Moved, handler=notes, order_by=order_by, retry=retry)
        bus.publish_many([Lost(0, "b"), Moved(1), Lost(2), Lost(3, "b"), Moved(4)])
        bus.drain()
    with standing_still(path, clock) as bus:
        bus.subscribe("stock", Moved, Lost, handler=notes, order_by=order_by, retry=retry, backfill=True)
        bus.drain()
        clock.advance(10)
        bus.drain()
        notes.fail = only()
        clock.advance(10)
        bus.drain()
        assert bus.subscriptions["stock"].counts == {}
        assert accounted(bus, "stock") == 5
    assert set(notes.numbers) == {0, 1, 2, 3, 4}
    assert notes.numbers.index(4) > notes.numbers.index(1)


def test_backfill_of_a_class_in_a_running_bus() -> None:
    notes = Notes()
    with EventBus() as bus:
        bus.subscribe("stock", Moved, handler=notes)
        bus.publish_many([Moved(1), Lost(2), Moved(3)])
        bus.drain()
        bus.subscribe("stock", Moved, Lost, handler=notes, backfill=True)
        receipt = bus.publish(Moved(4))
        assert bus.wait_for(receipt, "stock") == "handled"
    assert notes.numbers == [1, 3, 2, 4]


def test_a_class_that_is_taken_out_is_heard_no_more_and_a_warning_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log.db"
    assert numbers_heard(path, Moved, Lost, publish=(Moved(1), Lost(2))) == [1, 2]
    assert numbers_heard(path, Moved, publish=(Moved(3), Lost(4))) == [3]
    assert "stock: no longer subscribed to stock.Lost" in caplog.text


def test_two_classes_of_one_name_are_refused_by_the_bus_that_meets_both() -> None:
    def define() -> type:
        @event(name="shop.Twin")
        class Twin:
            number: int

        return Twin

    def define_another() -> type:
        @event(name="shop.Twin")
        class Twin:
            other: int

        return Twin

    one, other = define(), define_another()
    with standing_still() as bus:
        bus.subscribe("one", one, handler=Notes())
        with pytest.raises(EventDefinitionError, match=r"'shop.Twin' version 1 has 2 classes"):
            bus.publish(other(1))
        assert list(bus.subscriptions) == ["one"]
    with standing_still() as bus:
        bus.subscribe("other", other, handler=Notes())
        bus.publish(other(1))
        assert bus.drain() == 1


@pytest.mark.parametrize(("before", "after"), [("log", "stream"), ("stream", "log"), ("stream", None)])
def test_a_dead_letter_stays_one_when_the_order_changes(tmp_path: Path, before: Any, after: Any) -> None:
    path, once = tmp_path / "log.db", Retry(attempts=1)
    heard = numbers_heard(path, Moved, publish=(Moved(1), Moved(2)), fail=only(1), order_by=before, retry=once)
    assert heard == [1]
    numbers_heard(path, Moved, order_by=after, retry=once)
    with standing_still(path) as bus:
        assert bus.status(1)["stock"] == "dead"
        assert accounted(bus, "stock") <= 2


# --- handlers -------------------------------------------------------------------------------------------


def handler_of(kind: str, heard: list[str]) -> Any:
    def note(moved: Moved) -> None:
        heard.append(kind)

    return note


def test_subscribing_the_same_function_again_replaces_it_as_in_a_notebook() -> None:
    heard: list[str] = []
    with standing_still() as bus:
        for kind in ("first", "second"):
            bus.subscribe("stock", Moved, handler=handler_of(kind, heard))
            bus.publish(Moved(1))
            bus.drain()
    assert heard == ["first", "second"]


def test_another_function_under_the_same_name_is_refused_and_the_first_one_stays() -> None:
    def other(moved: Moved) -> None:
        raise AssertionError

    heard: list[str] = []
    with standing_still() as bus:
        first = bus.subscribe("stock", Moved, handler=handler_of("first", heard))
        with pytest.raises(EventDefinitionError, match=r"'stock' is declared twice: by .*note and by .*other"):
            bus.subscribe("stock", Moved, handler=other)
        bus.publish(Moved(1))
        bus.drain()
        first.close()
        bus.subscribe("stock", Moved, handler=other)
    assert heard == ["first"]


def test_a_name_is_that_of_a_subscription_or_of_a_projection_but_not_of_both() -> None:
    with standing_still() as bus:
        bus.subscribe("stock", Moved, handler=Notes())
        bus.publish(Moved(1))
        assert "stock" not in bus.projections
        with pytest.raises(KeyError, match="no projection 'stock' in this log; there are: none"):
            bus.projections["stock"]
        with pytest.raises(KeyError, match="no subscription 'stocks' in this log; there are: stock"):
            bus.subscriptions["stocks"]


def test_included_handlers_come_and_go_together_and_later_ones_follow() -> None:
    notes, later, handlers = Notes(), Notes(), Handlers()
    handlers.subscribe("early", Moved, handler=notes)
    with standing_still() as bus:
        with bus.include(handlers):
            handlers.subscribe("late", Moved, handler=later)
            bus.publish(Moved(1))
            bus.drain()
        handlers.subscribe("too late", Moved, handler=Notes())
        bus.publish(Moved(2))
        assert bus.drain() == 0
        assert {name: each.state for name, each in bus.subscriptions.items()} == {"early": "orphan", "late": "orphan"}
        bus.include(handlers)
        bus.drain()
    assert notes.numbers == later.numbers == [1, 2]


# --- pause, resume, forget, orphans ---------------------------------------------------------------------


def test_a_paused_subscription_loses_nothing(tmp_path: Path) -> None:
    path, notes = tmp_path / "log.db", Notes()
    with standing_still(path) as bus:
        bus.subscribe("stock", Moved, handler=notes)
        bus.publish(Moved(1))
        bus.drain()
        bus.subscriptions["stock"].pause("an audit")
        bus.publish(Moved(2))
        assert bus.drain() == 0
        assert bus.subscriptions["stock"].state == "paused"
        assert bus.subscriptions["stock"].reason == "an audit"
    with standing_still(path) as bus:
        bus.subscribe("stock", Moved, handler=notes)
        assert bus.drain() == 0
        bus.subscriptions["stock"].resume()
        assert bus.drain() == 1
    assert notes.numbers == [1, 2]


@pytest.mark.parametrize("transactional", [False, True])
def test_a_pause_takes_effect_after_the_event_that_is_being_handled(transactional: bool) -> None:
    def pause(moved: Moved, ctx: Context) -> None:
        heard.append(moved.number)
        if not transactional and moved.number == 2:
            bus.subscriptions["stock"].pause()

    heard: list[int] = []
    with standing_still() as bus:
        bus.subscribe("stock", Moved, handler=pause, transactional=transactional)
        bus.publish_many([Moved(number) for number in range(1, 6)])
        bus.drain()
        assert heard == ([1, 2, 3, 4, 5] if transactional else [1, 2])
        bus.subscriptions["stock"].resume()
        bus.drain()
    assert heard == [1, 2, 3, 4, 5]


def test_nothing_more_is_handled_once_a_registration_is_closed_by_its_own_handler() -> None:
    heard: list[int] = []

    def once(moved: Moved) -> None:
        heard.append(moved.number)
        registration.close()

    with standing_still() as bus:
        registration = bus.subscribe("stock", Moved, handler=once)
        bus.publish_many([Moved(1), Moved(2)])
        assert bus.drain() == 1
        assert bus.subscriptions["stock"].cursor == 1
    assert heard == [1]


def test_a_forgotten_subscription_starts_anew() -> None:
    with standing_still() as bus:
        bus.subscribe("stock", Moved, handler=failing(), retry=Retry(attempts=1))
        bus.publish_many([Moved(1), Moved(2)])
        bus.drain()
        bus.subscriptions["stock"].forget()
        assert "stock" not in bus.subscriptions
        assert bus.query("SELECT * FROM eventbus_deliveries UNION ALL SELECT * FROM eventbus_deliveries") == []
        assert bus.query("SELECT * FROM eventbus_attempts") == []
        notes = Notes()
        bus.subscribe("stock", Moved, handler=notes)
        bus.publish(Moved(3))
        bus.drain()
    assert notes.numbers == [3]


@pytest.mark.parametrize("verb", ["pause", "resume", "forget"])
def test_what_would_wait_for_its_own_transaction_raises_at_once(verb: str) -> None:
    with standing_still() as bus:
        bus.subscribe("stock", Moved, handler=Notes())
        bus.publish(Moved(1))
        subscription = bus.subscriptions["stock"]
        with bus.transaction(), pytest.raises(WouldDeadlock, match=f"{verb} was called inside an open transaction"):
            getattr(subscription, verb)()


def test_a_handler_cannot_forget_its_own_subscription() -> None:
    with EventBus() as bus:
        bus.subscribe("stock", Moved, handler=lambda e: bus.subscriptions["stock"].forget(), retry=Retry(attempts=1))
        receipt = bus.publish(Moved(1))
        status = bus.wait_for(receipt, "stock")
        assert "WouldDeadlock: forget was called by a handler" in str(status.error)


def test_an_orphan_is_visible_and_holds_what_it_has_not_seen(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    numbers_heard(path, Placed, publish=(Placed("1", 1),))
    with standing_still(path) as bus:
        bus.publish(Placed("1", 2))
        bus.drain()
        orphan = bus.subscriptions["stock"]
        assert (orphan.state, orphan.cursor) == ("orphan", 1)
        assert bus.status(2) == {"stock": "waiting"}
        orphan.forget()
        with pytest.raises(EventBusError, match="no subscription 'stock' in this log any more"):
            orphan.cursor  # noqa: B018
        assert bus.status(2) == {}


def test_the_log_says_nothing_of_an_ordinary_life(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with EventBus() as bus:
        bus.subscribe("stock", Moved, Counted, handler=Notes(lambda e, ctx: Oops("no")), retry=Retry(attempts=1))
        bus.publish_many([Moved(1), Counted(2)])
        bus.drain()
    assert {record.getMessage() for record in caplog.records} == {
        f"'stock', '{name}' at position {position}: is dead after attempt 1"
        for position, name in ((1, "stock.Moved"), (2, "stock.Counted"))
    }


def test_two_buses_on_one_file_do_not_share_a_name_for_different_handlers(tmp_path: Path) -> None:
    def one(event: object) -> None: ...

    def other(event: object) -> None: ...

    with EventBus(tmp_path / "shop.db") as first, EventBus(tmp_path / "shop.db") as second:
        registration = first.subscribe("invoices", "shop.*", handler=one)
        with pytest.raises(EventDefinitionError, match=r"declared twice.*one.*other"):
            second.subscribe("invoices", "shop.*", handler=other)
        second.subscribe("invoices", "shop.*", handler=one).close()
        registration.close()
        second.subscribe("invoices", "shop.*", handler=other)
