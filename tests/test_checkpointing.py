"""The -wal stays small, whoever writes and however much at once; nobody but the bus moves it into the file."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from bus_stage import Placed
from process_stage import HEAD, Child

from eventbus import EventBus
from eventbus.store import checkpoint

FRAME = 4096 + 24
A_COMMIT = 30  # frames that one event may take at most


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def bus(path: Path) -> Any:
    with EventBus(path, delivery="manual", durability="process") as bus:
        bus.publish(Placed(0))
        yield bus


def wal(path: Path) -> int:
    """Frames there is room for."""
    return checkpoint.wal_bytes(str(path)) // FRAME


class Looking:
    """Counts the checkpoints of a bus, and what each of them found."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: list[checkpoint.CheckpointResult] = []
        plain = checkpoint.run

        def run(writer: sqlite3.Connection, partner: sqlite3.Connection) -> checkpoint.CheckpointResult:
            self.found.append(plain(writer, partner))
            return self.found[-1]

        monkeypatch.setattr(checkpoint, "run", run)


def test_one_comes_at_about_400_frames_and_the_wal_grows_no_further(
    bus: EventBus, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking, most = Looking(monkeypatch), 0
    for number in range(600):
        bus.publish(Placed(number))
        most = max(most, wal(path))
    assert len(looking.found) >= 3
    assert all(result.complete for result in looking.found)
    assert all(400 <= result.frames <= 400 + A_COMMIT for result in looking.found)
    assert most <= 400 + A_COMMIT


def test_one_large_commit_is_moved_at_once_and_its_room_is_given_back(
    bus: EventBus, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = Looking(monkeypatch)
    bus.publish_many([Placed(number) for number in range(20_000)])
    assert wal(path) > 800
    assert [result.complete for result in looking.found] == [True]
    bus.publish(Placed(1))
    assert wal(path) <= 400 + A_COMMIT
    for number in range(20):
        bus.publish(Placed(number))
    assert len(looking.found) == 1


def test_transactions_of_the_app_count_as_well(bus: EventBus, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looking = Looking(monkeypatch)
    with bus.transaction() as tx:
        tx.execute("CREATE TABLE notes (text)")
    with bus.transaction() as tx:
        tx.executemany("INSERT INTO notes VALUES (?)", [("x" * 4000,)] * 600)
    assert [result.complete for result in looking.found] == [True]


def test_what_other_programs_write_is_moved_by_the_next_commit_here(
    bus: EventBus, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looking = Looking(monkeypatch)
    with closing(bus.connect()) as other:
        other.execute("CREATE TABLE notes (text)")
        for _ in range(300):
            other.execute("INSERT INTO notes VALUES (?)", ("x" * 8000,))
    assert wal(path) > 600
    bus.publish(Placed(1))
    assert [result.complete for result in looking.found] == [True]


def test_where_another_process_is_writing_each_time_it_is_done_under_the_own_lock(
    bus: EventBus, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = bus._attachment.engine().storage
    other = bus.connect()
    plain = type(storage.custody).is_due

    def is_due(custody: Any) -> bool:  # just after each commit of ours somebody else has begun
        due = plain(custody)
        if due:
            other.execute("BEGIN IMMEDIATE")
        return due

    monkeypatch.setattr(type(storage.custody), "is_due", is_due)
    looking = Looking(monkeypatch)
    for number in range(300):
        bus.publish(Placed(number))
        if other.in_transaction:
            other.execute("ROLLBACK")
    other.close()
    assert looking.found[0].busy
    assert any(result.complete for result in looking.found)
    assert wal(path) <= 400 + 2 * A_COMMIT


def test_an_open_reader_lets_it_grow_only_while_it_reads_and_is_not_asked_each_time(
    bus: EventBus, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = bus.connect()
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM eventbus_events").fetchone()
    looking = Looking(monkeypatch)
    for number in range(800):
        bus.publish(Placed(number))
    grown = wal(path)
    assert grown > 800
    assert 2 <= len(looking.found) <= grown // 400
    reader.execute("ROLLBACK")
    for number in range(200):
        bus.publish(Placed(number))
    assert looking.found[-1].complete
    assert wal(path) <= 400 + A_COMMIT
    reader.close()


def test_an_iterator_of_the_log_that_is_not_read_to_its_end_keeps_nothing_open(bus: EventBus, path: Path) -> None:
    bus.publish_many([Placed(number) for number in range(600)])
    halfway = iter(bus.log.read())
    next(halfway)
    for number in range(600):
        bus.publish(Placed(number))
        next(halfway, None)
    assert wal(path) <= 400 + A_COMMIT


def test_a_wal_that_a_reader_made_long_is_said_once(
    bus: EventBus, path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventbus.store.checkpointing._LARGE", 800 * FRAME)
    reader = bus.connect()
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM eventbus_events").fetchone()
    for _ in range(4):
        bus.publish_many([Placed(number) for number in range(5000)])
    assert caplog.text.count("something has been reading for long") == 1
    reader.close()


def test_several_processes_that_write_without_a_pause_keep_it_small(path: Path) -> None:
    code = HEAD + (
        "bus = EventBus(path, delivery='manual', durability='process')\nsay(bus.log.head)\nsys.stdin.readline()\n"
        "for n in range(1500): bus.publish(Counted(n))\nsay('done')\nsys.stdin.readline()\nbus.close()\n"
    )
    children = [Child(code, path) for _ in range(2)]
    for child in children:
        child.says()
    for child in children:
        child.tell("go")
    assert [child.says() for child in children] == ["done", "done"]
    frames = wal(path)
    for child in children:
        child.end()
    assert frames < 1000
    assert os.stat(path).st_size > 100 * 4096


def test_at_rest_the_file_alone_is_the_log(bus: EventBus, path: Path, tmp_path: Path) -> None:
    for number in range(5):
        bus.publish(Placed(number))
    bus._attachment.engine().storage.rest()
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as alone:
        assert alone.execute("SELECT max(position) FROM eventbus_events").fetchone() == (6,)


def test_no_connection_of_the_bus_checkpoints_by_itself(bus: EventBus) -> None:
    storage = bus._attachment.engine().storage
    with closing(bus.connect()) as lent, storage.reading() as reader, storage.writing() as writer:
        for connection in (lent, reader, writer):
            assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
