"""Two versions of one event type: a handler gets the version it names, and nothing of another one is skipped unseen."""

from __future__ import annotations

import asyncio
import sqlite3
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from delivery_stage import Notes, Oops, accounted, standing_still
from sums import sum_again

from eventbus import EventBus, EventDefinitionError, Projection, Retry, Table, Transaction, event, handles
from eventbus.events import event_type
from eventbus.retry import fixed
from eventbus.store import viewing
from eventbus.testing import FakeClock


@event(name="shop.Weighed", version=1, stream="scale")
class Pounds:
    pounds: float


@event(name="shop.Weighed", version=2, stream="scale")
class Kilograms:
    kilograms: float


@event(name="shop.WeighedTwice", stream="scale")
class Twice(Pounds):
    pass


_never_loaded = count(100)  # versions, each for one test


def forgotten(path: Path, *events: Any) -> int:
    """Store events of a version of Weighed whose class was changed in place, so that it is gone; returns it."""
    version = next(_never_loaded)
    with standing_still(path) as bus:
        bus.publish_many(events)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE eventbus_types SET version = ? WHERE version = 1", (version,))
        sum_again(connection)
    connection.close()
    return version


def load(version: int) -> type:
    """The class again, beside the one it was changed to."""

    @event(name="shop.Weighed", version=version, stream="scale")
    class Weighed:
        pounds: float

    return Weighed


def heard(path: Path, *targets: Any, publish: tuple[Any, ...] = (), **how: Any) -> list[Any]:
    """What a subscription of these targets hears in one run of a program."""
    notes = Notes(how.pop("fail", lambda event, ctx: None))
    with standing_still(path) as bus:
        bus.subscribe("scales", *targets, handler=notes, **how)
        if publish:
            bus.publish_many(publish)
        bus.drain()
    return notes.events


# --- side by side ---------------------------------------------------------------------------------------

ORDERS = pytest.mark.parametrize("order_by", ["stream", "log", None])


@ORDERS
def test_a_handler_gets_the_version_it_names_and_the_other_is_not_for_it(order_by: Any) -> None:
    one, two, both = Notes(), Notes(), Notes()
    with standing_still() as bus:
        bus.subscribe("one", Pounds, handler=one, order_by=order_by)
        bus.subscribe("two", Kilograms, handler=two, order_by=order_by)
        bus.subscribe("both", Pounds, Kilograms, handler=both, order_by=order_by)
        bus.publish_many([Pounds(1), Kilograms(2), Pounds(3)])
        assert bus.status(1) == {"one": "waiting", "two": "waiting", "both": "waiting"}
        bus.drain()
        assert one.events == [Pounds(1), Pounds(3)]
        assert two.events == [Kilograms(2)]
        assert both.events == [Pounds(1), Kilograms(2), Pounds(3)]
        assert bus.status(1) == {"one": "handled", "two": "not_applicable", "both": "handled"}
        assert bus.status(2) == {"one": "not_applicable", "two": "handled", "both": "handled"}
        assert [accounted(bus, name) for name in ("one", "two", "both")] == [2, 1, 3]
        assert bus.subscriptions["two"].cursor == 3


def test_the_cursor_passes_what_is_not_for_the_handler_although_nothing_else_comes() -> None:
    with EventBus() as bus:
        bus.subscribe("two", Kilograms, handler=Notes())
        receipts = bus.publish_many([Pounds(number) for number in range(3)])
        assert bus.wait_for(receipts[-1], "two", timeout=None) == "not_applicable"


def test_an_async_handler_gets_the_version_it_names() -> None:
    seen: list[Any] = []

    async def two(kilograms: Kilograms) -> None:
        seen.append(kilograms)

    async def main() -> None:
        async with EventBus() as bus:
            bus.subscribe("two", Kilograms, handler=two)
            await bus.publish_many_async([Pounds(1), Kilograms(2), Pounds(3)])
            await bus.drain_async()

    asyncio.run(main())
    assert seen == [Kilograms(2)]


def test_a_transactional_handler_gets_the_version_it_names() -> None:
    notes = Notes()
    with standing_still() as bus:
        bus.subscribe("two", Kilograms, handler=notes, transactional=True)
        bus.publish_many([Pounds(1), Kilograms(2), Pounds(3)])
        bus.drain()
        assert (notes.events, accounted(bus, "two")) == ([Kilograms(2)], 1)


def test_a_pattern_and_a_base_mean_all_versions() -> None:
    @event(name="shop.WeighedTwice", version=2)
    class TwiceInKilograms(Kilograms):
        pass

    @event(name="shop.Weighed", version=3)
    class Precisely(Pounds):
        pass

    pattern, base = Notes(), Notes()
    with standing_still() as bus:
        bus.subscribe("pattern", "shop.*", handler=pattern)
        bus.subscribe("base", Pounds, handler=base)
        published = [Pounds(1), Kilograms(2), Twice(3), TwiceInKilograms(4), Precisely(5)]
        bus.publish_many(published)
        bus.drain()
        assert pattern.events == published
        assert base.events == [Pounds(1), Twice(3), TwiceInKilograms(4), Precisely(5)]


def test_a_replay_is_of_the_version_that_the_handler_names() -> None:
    notes = Notes()
    with standing_still() as bus:
        bus.subscribe("two", Kilograms, handler=notes)
        bus.publish_many([Pounds(1), Kilograms(2)])
        replayed = list(bus.subscriptions["two"].replay(bus.log.read()))
        assert [each.envelope.position for each in replayed] == [2]
        assert notes.events == [Kilograms(2)]


def test_the_log_is_read_by_name_whatever_the_version() -> None:
    with standing_still() as bus:
        bus.publish_many([Pounds(1), Kilograms(2)])
        assert [envelope.version for envelope in bus.log.read(types=Kilograms)] == [1, 2]


def test_a_look_at_the_file_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    assert heard(path, Kilograms, publish=(Pounds(1), Kilograms(2))) == [Kilograms(2)]
    with standing_still(path) as bus:
        connection = bus.connect()
        found = [viewing.standings(connection, viewing.find(connection, key)[0]) for key in ("1", "2")]
        connection.close()
    assert [[standing.disposition for standing in standings] for standings in found] == [[], ["handled"]]


# --- a class that was changed in place ------------------------------------------------------------------


@ORDERS
def test_a_version_whose_class_is_gone_waits_for_it_and_is_passed_over_once_it_is_loaded_beside(
    tmp_path: Path, order_by: Any
) -> None:
    version, notes = forgotten(tmp_path / "log.db", Pounds(1), Pounds(2)), Notes()
    with standing_still(tmp_path / "log.db") as bus:
        bus.subscribe("two", Kilograms, handler=notes, after=0, order_by=order_by)
        bus.publish(Kilograms(3))
        bus.drain()
        status = bus.status(1)["two"]
        assert (status, status.error) == ("waiting", f"no class is loaded for 'shop.Weighed' version {version}")
        beside = load(version)
        bus.drain()
        assert [bus.status(position)["two"] for position in (1, 2, 3)] == ["not_applicable"] * 2 + ["handled"]
        assert (notes.events, accounted(bus, "two")) == ([Kilograms(3)], 1)
        assert event_type(beside).version == version


@pytest.mark.parametrize("how", ["plain", "async", "transactional"])
def test_a_handler_that_loads_the_other_version_itself_does_not_get_it(tmp_path: Path, how: str) -> None:
    version, seen = forgotten(tmp_path / "log.db", Kilograms(1), Pounds(2)), list[Any]()

    def two(kilograms: Kilograms) -> None:
        seen.extend([kilograms, load(version)])

    async def two_async(kilograms: Kilograms) -> None:
        two(kilograms)

    handler: Any = two_async if how == "async" else two
    with standing_still(tmp_path / "log.db") as bus:
        bus.subscribe("two", Kilograms, handler=handler, after=0, order_by=None, transactional=how == "transactional")
        bus.drain()
        assert seen[:1] == [Kilograms(1)]
        assert len(seen) == 2
        assert bus.subscriptions["two"].counts == {}


# --- what a subscription names changes ------------------------------------------------------------------


def test_a_class_that_became_another_version_is_not_a_class_added_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log.db"
    assert heard(path, Pounds, publish=(Pounds(1),)) == [Pounds(1)]
    with standing_still(path) as bus:
        bus.publish(Kilograms(2))  # by another process, before this subscription is declared anew
    assert heard(path, Kilograms, publish=(Kilograms(3),)) == [Kilograms(2), Kilograms(3)]
    assert caplog.text == ""


def test_a_version_that_is_named_as_well_counts_from_where_the_subscription_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log.db"
    assert heard(path, Pounds, publish=(Pounds(1), Kilograms(2))) == [Pounds(1)]
    with standing_still(path) as bus:
        bus.publish(Kilograms(3))
    assert heard(path, Pounds, Kilograms) == [Kilograms(3)]
    assert "scales: shop.Weighed version 2 is new to this subscription; it counts from position 3 on" in caplog.text
    with standing_still(path) as bus:
        assert [bus.status(n)["scales"] for n in (1, 2, 3)] == ["handled", "not_applicable", "handled"]


def test_a_version_that_is_named_as_well_with_backfill_is_read_from_the_beginning(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    assert heard(path, Pounds, publish=(Pounds(1), Kilograms(2), Pounds(3))) == [Pounds(1), Pounds(3)]
    assert heard(path, Pounds, Kilograms, publish=(Pounds(4),), backfill=True) == [Kilograms(2), Pounds(4)]


def test_a_version_that_is_named_no_more_is_heard_no_more_and_a_warning_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "log.db"
    assert heard(path, Pounds, Kilograms, publish=(Pounds(1), Kilograms(2))) == [Pounds(1), Kilograms(2)]
    assert heard(path, Pounds, publish=(Pounds(3), Kilograms(4))) == [Pounds(3)]
    assert "scales: no longer subscribed to shop.Weighed version 2; what of it" in caplog.text


def test_what_was_to_be_tried_again_is_passed_over_once_its_version_is_named_no_more(tmp_path: Path) -> None:
    path, clock = tmp_path / "log.db", FakeClock()
    failing, notes = Notes(lambda event, ctx: Oops("no")), Notes()
    with standing_still(path, clock) as bus:
        bus.subscribe("scales", Pounds, handler=failing, retry=Retry(backoff=fixed(10)))
        bus.publish_many([Pounds(1), Kilograms(2), Pounds(3)])
        bus.drain()
        assert bus.subscriptions["scales"].counts == {"retrying": 1, "held": 1}
    clock.advance(60)
    with standing_still(path, clock) as bus:
        bus.subscribe("scales", Kilograms, handler=notes)
        bus.publish(Kilograms(4))
        bus.drain()
        assert notes.events == [Kilograms(4)]
        assert bus.subscriptions["scales"].counts == {}


# --- projections ----------------------------------------------------------------------------------------


class Weights(Projection):
    weights = Table("kilograms REAL")

    @handles(Pounds)
    def in_pounds(self, pounds: Pounds, tx: Transaction) -> None:
        self.add(pounds.pounds / 2, tx)

    @handles(Kilograms)
    def in_kilograms(self, kilograms: Kilograms, tx: Transaction) -> None:
        self.add(kilograms.kilograms, tx)

    def add(self, kilograms: float, tx: Transaction) -> None:
        tx.execute(f"INSERT INTO {self.weights} VALUES (?)", (kilograms,))


class NewWeights(Projection):
    name = "weights"
    weights = Table("kilograms REAL")

    @handles(Kilograms)
    def in_kilograms(self, kilograms: Kilograms, tx: Transaction) -> None:
        tx.execute(f"INSERT INTO {self.weights} VALUES (?)", (kilograms.kilograms,))


def weights(bus: EventBus) -> list[float]:
    return [row["kilograms"] for row in bus.query("SELECT * FROM weights")]


def test_a_projection_may_have_a_method_for_each_version() -> None:
    with standing_still() as bus:
        bus.project(Weights)
        bus.publish_many([Pounds(2), Kilograms(2), Twice(6)])
        bus.drain()
        assert weights(bus) == [1, 2, 3]


def test_a_projection_of_one_version_passes_over_the_other_and_is_built_anew_when_it_takes_both(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with standing_still(path) as bus:
        bus.project(NewWeights)
        bus.publish_many([Pounds(2), Kilograms(2), Pounds(2)])
        bus.drain()
        assert weights(bus) == [2]
        assert [bus.status(n)["weights"] for n in (1, 2, 3)] == ["not_applicable", "handled", "not_applicable"]
    with standing_still(path) as bus:
        bus.project(Weights)
        bus.drain()
        assert weights(bus) == [1, 2, 1]


def test_a_projection_waits_for_the_class_of_a_version_that_was_changed_in_place(tmp_path: Path) -> None:
    version = forgotten(tmp_path / "log.db", Pounds(1), Pounds(1))
    with standing_still(tmp_path / "log.db") as bus:
        bus.project(NewWeights)
        bus.publish(Kilograms(2))
        bus.drain()
        assert weights(bus) == []
        assert bus.projections["weights"].counts == {"waiting": 1}
        beside = load(version)
        bus.drain()
        assert weights(bus) == [2]
        assert event_type(beside).version == version


def test_two_methods_for_one_version_are_refused() -> None:
    class Twofold(Weights):
        @handles(Kilograms)
        def again(self, kilograms: Kilograms, tx: Transaction) -> None: ...

    with pytest.raises(EventDefinitionError, match=r"are both for 'shop\.Weighed' version 2"):
        EventBus().project(Twofold)
