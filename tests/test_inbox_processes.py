"""The inbox when processes die, meet and differ: one ingest is one commit, whoever does it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from bus_stage import Faulty
from delivery_stage import standing_still
from inbox_stage import SOURCE, Moved, send, skips, stored

from eventbus import EventBus, PublishInDoubt, UnknownEvent
from eventbus.store import connection as connections
from eventbus.testing import FakeClock

LONGEST = 60.0

HEAD = """
import os, random, signal, sys
from eventbus import EventBus, event
from eventbus.testing import FakeClock
from inbox_stage import SOURCE, Moved, send
path = sys.argv[1]
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def begin(text: str, path: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HEAD + text, str(path), *map(str, arguments)]
    return subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True)


def run(text: str, path: Path, *arguments: object) -> str:
    process = begin(text, path, *arguments)
    said, _ = process.communicate(timeout=LONGEST)
    assert process.returncode == 0
    return said.strip()


def test_a_process_that_dies_while_a_gap_fills_leaves_nothing_half_done(path: Path) -> None:
    died = begin(
        """
from eventbus.store import inbox
bus = EventBus(path)
for number in (4, 2, 3):
    send(bus, number)
inbox.save = lambda connection, row: os.kill(os.getpid(), signal.SIGKILL)
send(bus, 1)
""",
        path,
    )
    died.communicate(timeout=LONGEST)
    assert died.returncode == -signal.SIGKILL
    with standing_still(path) as bus:
        assert (stored(bus), [(each.expected, each.buffered) for each in bus.inbox]) == ([], [(1, 3)])
        assert [receipt.sequence for receipt in send(bus, 1).released] == [2, 3, 4]
        assert stored(bus) == [1, 2, 3, 4]


def test_two_processes_that_ingest_one_stream_store_each_event_once_and_in_order(path: Path) -> None:
    text = """
numbers = list(range(1, 41))
random.Random(int(sys.argv[2])).shuffle(numbers)
with EventBus(path, delivery="manual", durability="process") as bus:
    for number in numbers:
        send(bus, number)
"""
    both = [begin(text, path, seed) for seed in (1, 2)]
    for process in both:
        process.communicate(timeout=LONGEST)
        assert process.returncode == 0
    with standing_still(path) as bus:
        assert stored(bus) == list(range(1, 41))
        assert [(each.expected, each.buffered) for each in bus.inbox] == [(41, 0)]


def test_a_gap_is_skipped_by_whichever_process_delivers_and_once(path: Path) -> None:
    clock = FakeClock()
    with standing_still(path, clock) as bus:
        send(bus, 2, gap_timeout=10, on_gap="skip")
        run(
            """
later = FakeClock(FakeClock().time() + 10, seed=9)
with EventBus(path, clock=later, delivery="manual") as bus:
    bus.drain()
""",
            path,
        )
        clock.advance(60)
        bus.drain()
        assert (stored(bus), skips(bus)) == ([2], [(1, 1, "timeout")])
        assert send(bus, 1).state == "late"


def test_what_waits_is_stored_by_a_process_that_does_not_have_its_class(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(
        """
@event(name="inbox.Strange", stream="shelf-a")
class Strange:
    number: int
with EventBus(path, delivery="manual") as bus:
    bus.ingest(Strange(2), source=SOURCE, id="a2", sequence=2)
""",
        path,
    )
    with standing_still(path) as bus:
        heard: list[object] = []
        bus.on("*", handler=heard.append)
        handled: list[object] = []
        bus.subscribe("all", "inbox.*", handler=handled.append)
        filled = send(bus, 1)
        assert [receipt.sequence for receipt in filled.released] == [2]
        assert stored(bus) == [1, 2]
        assert heard == [Moved("a", 1)]
        assert "no live handler hears" in caplog.text
        envelope = bus.log.get(2)
        assert envelope is not None
        assert (envelope.type, envelope.payload) == ("inbox.Strange", '{"number":2}')
        with pytest.raises(UnknownEvent):
            envelope.event  # noqa: B018
        bus.drain()
        assert (handled, bus.status(2)["all"]) == ([Moved("a", 1)], "waiting")


def test_a_commit_that_fails_leaves_the_ingest_in_doubt_and_ingesting_again_is_safe(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Disk(Faulty):
        pass

    plain = connections.connect_as
    monkeypatch.setattr(
        connections,
        "connect_as",
        lambda kind, location, **how: plain(Disk if kind is connections.sqlite3.Connection else kind, location, **how),
    )
    with EventBus(path, delivery="manual") as bus:
        send(bus, 2)
        Disk.fails = staticmethod(lambda sql: "SQLITE_IOERR_FSYNC" if sql.startswith("COMMIT") else None)
        with pytest.raises(PublishInDoubt, match="source=") as caught:
            send(bus, 1)
        assert caught.value.idempotency_key == "a1"
        Disk.fails = staticmethod(lambda sql: None)
        assert send(bus, 1).state in ("stored", "duplicate")
        assert stored(bus) == [1, 2]


def test_a_source_is_the_senders_name(path: Path) -> None:
    with standing_still(path) as bus:
        send(bus, 1)
        (envelope,) = bus.log.read()
        assert envelope.source == SOURCE != bus.source
