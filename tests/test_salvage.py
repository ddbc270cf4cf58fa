"""Salvage: what is whole of a damaged log goes on in a new one, and what was lost is told."""

from __future__ import annotations

import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from cli_stage import contents, run
from delivery_stage import ONCE, Counted, Notes, failing, only, standing_still
from earlier import lay_out
from log_stage import raw, run_python

from eventbus import EventBus, LogError
from eventbus.doctor import examine, salvage
from eventbus.errors import LogCorrupt, LogTooNew, NotAnEventLog


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path / "log" / "shop.db"


@pytest.fixture
def new(tmp_path: Path) -> Path:
    (tmp_path / "new").mkdir(mode=0o700)
    return tmp_path / "new" / "saved.db"


@pytest.fixture
def log(path: Path) -> Path:
    """2,000 events, every second one on a stream, the last one with a key; a subscription that handled 1,500."""
    with standing_still(path) as bus:
        for first in range(1, 2001, 100):
            bus.publish_many([Counted(number) for number in range(first, first + 50)])
            bus.publish_many([Counted(number) for number in range(first + 50, first + 100)], stream="shelf")
        bus.subscribe("stock", Counted, handler=Notes(), after=0)
        bus.start()
        with bus.transaction() as tx:
            tx.execute("CREATE TABLE parcels (id)")
    with raw(path) as connection:
        connection.execute("UPDATE eventbus_subscriptions SET cursor = 1500, claim = 1500, handled = 1500")
    return path


def numbers(path: Path) -> dict[int, int]:
    with closing(EventBus(path, delivery="manual")) as bus:
        return {envelope.position: envelope.event.number for envelope in bus.log.read(types=Counted)}


def page_of(path: Path, sql: str) -> int:
    with raw(path) as connection:
        return int(connection.execute(sql).fetchone()[0])


def overwrite(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)


def leaves(path: Path, position: int) -> int:
    """The page that holds the event at a position: no index has its payload."""
    return path.read_bytes().index(b'{"number":%d}' % position) // 4096 + 1


def root(path: Path, name: str) -> int:
    return page_of(path, f"SELECT rootpage FROM sqlite_master WHERE name = '{name}'")


# --- what is whole ----------------------------------------------------------------------------------------


def test_a_whole_log_is_brought_over_whole_and_the_old_file_is_left_alone(log: Path, new: Path) -> None:
    before = contents(log.parent)
    seen: list[tuple[int, int]] = []
    saved = salvage(log, new, progress=lambda done, total: seen.append((done, total)))
    assert contents(log.parent) == before
    assert (saved.is_whole, saved.events, saved.head, saved.incarnation) == (True, 2000, 2000, 2)
    assert saved.left == ("parcels",)
    assert seen[-1] == (2000, 2000)
    assert [each.name for each in new.parent.iterdir()] == [new.name]
    assert new.stat().st_mode & 0o777 == 0o600
    assert numbers(new) == numbers(log)
    examined = examine(new)
    assert [each.code for each in examined.findings if each.severity != "note"] == []
    assert examined.facts["log_id"] == saved.log_id


def test_cursors_mean_in_the_new_log_what_they_meant(log: Path, new: Path) -> None:
    salvage(log, new)
    heard = Notes()
    with standing_still(new) as bus:
        bus.subscribe("stock", Counted, handler=heard, after=0)
        bus.drain()
        assert heard.numbers == list(range(1501, 2001))
        receipt = bus.publish(Counted(0), stream="shelf")
    assert (receipt.position, receipt.sequence) == (2001, 1001)


def test_all_rooms_of_a_log_are_brought_over(path: Path, new: Path) -> None:
    lay_out("version-2", path)
    saved = salvage(path, new)
    assert saved.is_whole
    tables = [
        name for name in rows(path) if name not in {"eventbus_log", "eventbus_listeners", "eventbus_subscriptions"}
    ]
    assert [name for name in tables if rows(path)[name] != rows(new)[name]] == []
    assert len([name for name in tables if rows(new)[name]]) >= 10


def rows(path: Path) -> dict[str, list[Any]]:
    with raw(path) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name LIKE 'eventbus%'")
        return {name: connection.execute(f"SELECT * FROM {name}").fetchall() for (name,) in names.fetchall()}


def test_a_log_of_an_earlier_release_is_brought_over_with_the_tables_of_this_one(path: Path, new: Path) -> None:
    lay_out("version-1", path)
    saved = salvage(path, new)
    assert (saved.is_whole, saved.carried["eventbus_deliveries"]) == (True, 3)
    assert list(numbers(new).values()) == [1, 2, 3]


# --- what is lost -----------------------------------------------------------------------------------------


def test_an_event_that_is_not_what_was_written_is_left_out_and_told(log: Path, new: Path) -> None:
    with raw(log) as connection:
        connection.execute("UPDATE eventbus_events SET payload = '{\"number\":0}' WHERE position IN (7, 8, 2000)")
    saved = salvage(log, new)
    assert [(lost.first, lost.last) for lost in saved.lost] == [(7, 8), (2000, 2000)]
    assert (saved.events, saved.lost_positions, saved.is_whole) == (1997, 3, False)
    expected = {number: number for number in range(1, 2001)}
    for position in (7, 8, 2000):
        del expected[position]
    assert numbers(new) == expected
    with closing(EventBus(new, delivery="manual")) as bus:
        assert bus.publish(Counted(1)).position == 2001, "a position is not given out twice"


def test_a_page_of_events_that_cannot_be_read_is_left_out_and_the_rest_is_saved(log: Path, new: Path) -> None:
    overwrite(log, leaves(log, 1000))
    saved = salvage(log, new)
    (lost,) = saved.lost
    assert lost.first <= 1000 <= lost.last
    assert lost.last - lost.first < 60, "what fits into one page"
    assert numbers(new) == {at: at for at in range(1, 2001) if not lost.first <= at <= lost.last}


def test_the_last_page_of_events_may_be_the_one_that_cannot_be_read(log: Path, new: Path) -> None:
    overwrite(log, leaves(log, 2000))
    saved = salvage(log, new)
    assert saved.lost[-1].last == saved.head == 2000
    assert saved.events + saved.lost_positions == 2000
    assert saved.events > 1900


def test_a_file_that_was_cut_off_gives_what_is_left_of_it(log: Path, new: Path) -> None:
    os.truncate(log, log.stat().st_size * 2 // 3)
    saved = salvage(log, new)
    assert 100 < saved.events < 2000
    absent = sum(last - first + 1 for first, last in saved.absent)
    assert saved.events + saved.lost_positions + absent == saved.head == 2000
    assert set(numbers(new).items()) < {(at, at) for at in range(1, 2001)}


@pytest.mark.parametrize("name", ["eventbus_types", "eventbus_sources", "eventbus_events_stream", "eventbus_log"])
def test_events_are_saved_without_a_page_that_only_names_or_finds_them(log: Path, new: Path, name: str) -> None:
    overwrite(log, root(log, name))
    assert salvage(log, new).events == 2000
    assert len(numbers(new)) == 2000


def test_what_is_known_of_deliveries_is_told_to_be_missing_where_it_cannot_be_read(log: Path, new: Path) -> None:
    overwrite(log, root(log, "eventbus_deliveries"))
    saved = salvage(log, new)
    assert saved.incomplete == ("eventbus_deliveries",)
    assert saved.carried["eventbus_subscriptions"] == 1


def test_a_subscription_that_cannot_be_read_is_named(log: Path, new: Path) -> None:
    with raw(log) as connection:
        connection.execute("UPDATE eventbus_subscriptions SET types = 'x'")
    assert salvage(log, new).unreadable == ("stock",)
    assert len(numbers(new)) == 2000


def test_the_key_of_an_event_that_was_lost_may_be_used_again(path: Path, new: Path) -> None:
    with standing_still(path, source="shop") as bus:
        bus.publish(Counted(1), idempotency_key="one")
        bus.publish(Counted(2), idempotency_key="two")
    with raw(path) as connection:
        connection.execute("UPDATE eventbus_events SET payload_crc = 1 WHERE position = 2")
    assert salvage(path, new).dropped == {"eventbus_keys": 1}
    with standing_still(new, source="shop") as bus:
        assert bus.publish(Counted(1), idempotency_key="one").duplicate
        assert bus.publish(Counted(2), idempotency_key="two").position == 3


def test_what_was_held_behind_an_event_that_was_lost_is_delivered(path: Path, new: Path) -> None:
    with standing_still(path) as bus:
        bus.subscribe("stock", Counted, handler=Notes(only(1)), retry=ONCE)
        bus.publish_many([Counted(1), Counted(2)], stream="shelf")
        bus.drain()
        assert bus.subscriptions["stock"].counts == {"dead": 1, "held": 1}
    with raw(path) as connection:
        connection.execute("UPDATE eventbus_events SET payload_crc = 1 WHERE position = 1")
    saved = salvage(path, new)
    assert saved.dropped == {"eventbus_deliveries": 1, "eventbus_attempts": 1}
    heard = Notes()
    with standing_still(new) as bus:
        bus.subscribe("stock", Counted, handler=heard, retry=ONCE)
        bus.drain()
    assert heard.numbers == [2]


def test_positions_that_were_empty_before_are_told_apart_from_lost_ones(log: Path, new: Path) -> None:
    with raw(log) as connection:
        connection.execute("DELETE FROM eventbus_events WHERE position BETWEEN 10 AND 12")
    saved = salvage(log, new)
    assert (saved.lost, saved.absent) == ((), ((10, 12),))


def test_the_program_tells_what_was_saved_and_what_was_lost(log: Path, new: Path) -> None:
    with raw(log) as connection:
        connection.execute("UPDATE eventbus_events SET payload_crc = 1 WHERE position IN (7, 8)")
    ran = run("salvage", log, new)
    assert (ran.code, ran.err) == (1, "")
    assert "7 to 8" in ran.lines[1]
    assert f"Saved 1,998 events in {new}; lost 2 positions." in ran.out
    (record,) = run("salvage", new, new.with_name("again.db"), "--json").records
    assert (record["events"], record["absent"], record["is_whole"]) == (1998, [[7, 8]], False)


# --- what is refused --------------------------------------------------------------------------------------


def test_a_key_whose_name_is_no_text_any_more_is_not_asked_for(log: Path, new: Path) -> None:
    with closing(sqlite3.connect(log)) as connection:
        connection.execute("PRAGMA journal_mode = DELETE")
    damaged = log.read_bytes().replace(b"PRIMARY KEY (subscription_id,", b"PRIMARY KEY (subscr\xf3ption_id,")
    log.write_bytes(damaged.replace(b"subscription_id INTEGER", b"subscr\xf3ption_id INTEGER"))
    assert damaged != log.read_bytes()
    assert salvage(log, new).events == 2000


def test_a_file_that_is_there_is_never_replaced(log: Path, new: Path) -> None:
    new.write_text("precious")
    for name in (new, log):
        with pytest.raises(LogError, match="of this name already"):
            salvage(log, name)
    assert new.read_text() == "precious"


def no_database(path: Path) -> None:
    path.write_text("Dear diary, " * 1000)


def another_application(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("CREATE TABLE notes (text)")


def a_log_without_events(path: Path) -> None:
    EventBus(path, delivery="manual").start()
    with raw(path) as connection:
        connection.execute("DROP TABLE eventbus_events")


def a_later_log(path: Path) -> None:
    with closing(EventBus(path, delivery="manual")) as bus:
        bus.start()
    with raw(path) as connection:
        connection.execute("UPDATE eventbus_log SET schema_version = 99")


def an_endless_view(path: Path) -> None:
    a_log_without_events(path)
    with raw(path) as connection:
        connection.execute(
            "CREATE VIEW eventbus_events AS WITH RECURSIVE n(position) AS"
            " (SELECT 1 UNION ALL SELECT position + 1 FROM n) SELECT * FROM n"
        )


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (no_database, NotAnEventLog),
        (another_application, NotAnEventLog),
        (a_log_without_events, LogCorrupt),
        (an_endless_view, LogCorrupt),
        (a_later_log, LogTooNew),
    ],
)
def test_where_nothing_can_be_saved_nothing_is_made(
    path: Path, new: Path, make: Callable[[Path], None], error: type[LogError]
) -> None:
    make(path)
    with pytest.raises(error):
        salvage(path, new)
    assert list(new.parent.iterdir()) == []
    assert run("salvage", path, new).code == 2


def test_an_end_that_nobody_can_have_written_is_not_looked_for(log: Path, new: Path) -> None:
    overwrite(log, leaves(log, 2000))
    with raw(log) as connection:
        connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'eventbus_events'", (1 << 47,))
    saved = salvage(log, new)
    assert saved.events > 1900
    assert saved.lost[-1].last == 1 << 47


def test_a_salvage_that_is_killed_leaves_nothing_under_the_new_name(log: Path, new: Path) -> None:
    code = (
        "from eventbus.doctor import salvage\n"
        "salvage(sys.argv[1], sys.argv[2], progress=lambda done, total: os.kill(os.getpid(), signal.SIGKILL))"
    )
    assert run_python(code, log, new).returncode == -signal.SIGKILL
    assert not new.exists()
    assert salvage(log, new).is_whole


def test_a_log_is_salvaged_while_a_bus_has_it_open(path: Path, new: Path) -> None:
    with standing_still(path) as bus:
        bus.subscribe("stock", Counted, handler=failing())
        bus.publish_many([Counted(1), Counted(2)])
        saved = salvage(path, new)
        assert bus.publish(Counted(3)).position == 3
    assert saved.is_whole
    assert saved.events == 2
