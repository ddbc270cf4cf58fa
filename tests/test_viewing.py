"""What the program reads from a log: the right rows, in bounded pages, without the app's classes."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from samplelog import SampleLog, shop

from eventbus.store import overview, reading, stored_types, viewing
from eventbus.store.opening import look
from eventbus.store.reading import Selection
from eventbus.store.snapshot import data_version, snapshot


@pytest.fixture
def sample(tmp_path: Path) -> Iterator[SampleLog]:
    log = SampleLog(tmp_path / "sample.db")
    yield log
    log.db.close()


@pytest.fixture
def shop_log(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = look(shop(tmp_path / "shop.db"))
    yield connection
    connection.close()


def positions(events: list[viewing.StoredEvent]) -> list[int]:
    return [event.position for event in events]


def test_events_carry_names_instead_of_numbers(shop_log: sqlite3.Connection) -> None:
    first = viewing.page(shop_log, Selection())[0]
    assert (first.type.name, first.stream, first.sequence, first.source) == ("OrderPlaced", "order-1", 1, "shop")


def test_an_event_whose_type_and_source_are_missing_is_still_shown(sample: SampleLog) -> None:
    sample.event("Lost")
    sample.db.executescript("DELETE FROM eventbus_types; DELETE FROM eventbus_sources")
    (event,) = viewing.page(sample.db, Selection())
    assert (event.type.name, event.source) == ("(type 1)", "(source 1)")


def test_a_pattern_means_the_types_it_matches_and_those_derived_from_them(sample: SampleLog) -> None:
    order = sample.type("shop.Order", bases=("shop.Fact",))
    sample.type("mail.Sent")
    assert stored_types.type_ids(sample.db, ["shop.Fact"]) == (order,)
    assert stored_types.type_ids(sample.db, ["shop.*"]) == (order,)
    assert stored_types.type_ids(sample.db, ["Shop.*"]) == ()
    assert stored_types.type_ids(sample.db, []) is None


@pytest.mark.parametrize(
    ("count", "expected"), [(0, []), (2, [5, 6]), (6, [1, 2, 3, 4, 5, 6]), (99, [1, 2, 3, 4, 5, 6])]
)
def test_the_last_events_are_found_from_the_end(shop_log: sqlite3.Connection, count: int, expected: list[int]) -> None:
    after = viewing.before_last(shop_log, Selection(), count)
    assert positions(viewing.page(shop_log, Selection(after=after))) == expected


def test_the_last_events_of_a_stream_are_those_of_the_stream(shop_log: sqlite3.Connection) -> None:
    of_stream = Selection(stream="order-1")
    after = viewing.before_last(shop_log, of_stream, 2)
    assert positions(viewing.page(shop_log, Selection(stream="order-1", after=after))) == [2, 4]


def test_the_last_events_of_types_that_do_not_exist_are_none(shop_log: sqlite3.Connection) -> None:
    assert viewing.before_last(shop_log, Selection(after=2, type_ids=()), 5) == 2


@pytest.mark.parametrize("key", ["3", "00000003-0000-7000-8000-000000000000", "00000003-"])
def test_an_event_is_found_by_position_by_id_and_by_how_its_id_begins(shop_log: sqlite3.Connection, key: str) -> None:
    assert positions(viewing.find(shop_log, key)) == [3]


@pytest.mark.parametrize("key", ["99", "x", "9" * 40, "-1", "٣", "%", ""])
def test_what_is_no_event_is_not_found_or_not_alone(shop_log: sqlite3.Connection, key: str) -> None:
    assert len(viewing.find(shop_log, key)) != 1


def test_effects_are_the_events_that_name_this_one_as_their_cause(shop_log: sqlite3.Connection) -> None:
    first = viewing.page(shop_log, Selection())[0]
    count, effects = viewing.effects(shop_log, first.id, limit=1)
    assert (count, positions(effects)) == (2, [2])


def test_text_that_is_not_utf_8_is_shown_not_refused(sample: SampleLog) -> None:
    sample.event("Odd")
    sample.db.execute("UPDATE eventbus_events SET stream = CAST(x'6fff' AS TEXT), sequence = 1")
    with snapshot(sample.db):
        (event,) = viewing.page(sample.db, Selection())
    assert event.stream == "o\udcff"


def test_a_snapshot_sees_one_moment(sample: SampleLog) -> None:
    sample.event("First")
    reader = look(sample.path)
    with snapshot(reader):
        before = reading.last_position(reader)
        sample.event("Second")
        assert reading.last_position(reader) == before == 1
    assert reading.last_position(reader) == 2
    reader.close()


def test_data_version_changes_when_another_connection_commits(sample: SampleLog) -> None:
    reader = look(sample.path)
    before = data_version(reader)
    assert data_version(reader) == before
    sample.event("News")
    assert data_version(reader) != before
    reader.close()


def test_an_event_stands_somewhere_with_each_subscription_that_it_concerns(sample: SampleLog) -> None:
    for _ in range(3):
        sample.event("Placed")
    sample.subscription("handled", ("Placed", "pattern"), cursor=2)
    sample.subscription("handled out of order", ("Placed", "pattern"), ahead=(2,))
    sample.subscription("running", ("Placed", "pattern"), cursor=1, claim=3, owner="pid 7")
    sample.subscription("claimed by nobody", ("Placed", "pattern"), cursor=1, claim=3)
    sample.subscription("paused", ("Placed", "pattern"), state="paused", cursor=1, claim=3, owner="pid 7")
    sample.subscription("waiting", ("Placed", "pattern"), cursor=1)
    sample.subscription("not concerned", ("Other", "pattern"), cursor=3)
    sample.subscription("started later", ("Placed", "pattern"), start=2, cursor=3)
    for state in ("retrying", "held", "dead"):
        sample.delivery(sample.subscription(state, ("Placed", "pattern"), cursor=3), 2, state)
    event = viewing.find(sample.db, "2")[0]
    found = {standing.subscription.name: standing.disposition for standing in viewing.standings(sample.db, event)}
    assert found == {
        "handled": "handled",
        "handled out of order": "handled",
        "running": "running",
        "claimed by nobody": "waiting",
        "paused": "waiting",
        "waiting": "waiting",
        "retrying": "retrying",
        "held": "held",
        "dead": "dead",
    }


def test_dead_letters_come_in_pages_with_their_events_and_what_they_hold(sample: SampleLog) -> None:
    for _ in range(4):
        sample.event("Placed", "order-1")
    sick = sample.subscription("sick", ("Placed", "pattern"), cursor=4)
    sample.delivery(sick, 1, "dead", key="order-1", attempts=2, error="ValueError: no")
    sample.delivery(sick, 2, "held", key="order-1")
    sample.delivery(sick, 4, "dead")
    row = overview.everyone(sample.db)[0].row
    first = viewing.dead_letters(sample.db, row, limit=1)
    second = viewing.dead_letters(sample.db, row, after=1, limit=1)
    assert [(letter.delivery.position, letter.held) for letter in first + second] == [(1, 1), (4, 0)]
    assert first[0].event is not None
    assert viewing.dead_letter(sample.db, row, 2) is None
    assert [attempt.attempt for attempt in viewing.attempts(sample.db, row, 1)] == [1, 2]
