"""Rows of an outbox when several processes move them, or one dies in the middle: each becomes one event, in order."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bus_stage import Recorder
from delivery_stage import standing_still
from outbox_stage import ORDERED, Ordered, insert, numbers, other_database, row, waiting
from test_several_processes import LONGEST, Child

from eventbus import EventBus
from eventbus.clock import Bell, SystemClock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "shop.db"


@pytest.fixture
def bus(path: Path) -> Iterator[EventBus]:
    with standing_still(path) as made:
        assert made.log.head == 0
        yield made


@pytest.fixture(params=[False, True], ids=["rollback", "wal"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A database in each of SQLite's ways to commit."""
    return other_database(tmp_path, wal=request.param)


# --- at once ------------------------------------------------------------------------------------------------

MOVE = """
import sys
from outbox_stage import Ordered
from eventbus import EventBus
bus = EventBus(sys.argv[1], delivery="manual")
bus.outbox(poll=1) if len(sys.argv) < 3 else bus.outbox(sys.argv[2], name="app")
bus.log.head
print("up", flush=True)
for line in sys.stdin:
    bus.drain()
    print("drained", flush=True)
bus.close()
"""


def movers(path: Path, *other: Path) -> list[subprocess.Popen[str]]:
    """Two processes that have the log open and drain when they are let go."""
    pipe, folder = subprocess.PIPE, Path(__file__).parent
    command = [sys.executable, "-c", MOVE, str(path), *map(str, other)]
    started = [subprocess.Popen(command, cwd=folder, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    for each in started:
        assert each.stdout is not None
        assert each.stdout.readline() == "up\n"
    return started


def let_go(started: list[subprocess.Popen[str]]) -> None:
    for each in started:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()


def join(started: list[subprocess.Popen[str]]) -> None:
    for each in started:
        said, _ = each.communicate(timeout=LONGEST)
        assert said == "drained\n"


def test_two_processes_at_once_move_each_row_once(path: Path, bus: EventBus) -> None:
    children = movers(path)
    insert(path, *(row(number) for number in range(2000)))
    let_go(children)
    bus.drain()
    join(children)
    assert numbers(bus) == list(range(2000))
    assert bus.dead_letters.list() == []


def test_a_row_that_another_process_inserts_in_a_transaction_of_its_bus_wakes_this_one(path: Path) -> None:
    class WithoutTicks(SystemClock):
        def wait(self, bell: Bell, timeout: float | None) -> bool:
            return super().wait(bell, timeout if bell.ear is None else None)

    with EventBus(path, clock=WithoutTicks()) as bus:
        bus.subscribe("stock", Ordered, handler=(heard := Recorder()))
        bus.drain()
        text = (
            "import sys\nfrom outbox_stage import insert_into, row\nfrom eventbus import EventBus\n"
            'with EventBus(sys.argv[1], delivery="manual") as bus, bus.transaction() as tx:\n'
            "    insert_into(tx.connection, [row(1)])\n"
        )
        Child(text, path).end()
        assert heard.heard(1) == [Ordered("a", 1)]


# --- another application's file -------------------------------------------------------------------------------

CRASH = """
import os, sys
from outbox_stage import Ordered
from eventbus import EventBus
from eventbus.store.outbox import Elsewhere

def crash(self, rows):
    print("appended", flush=True)
    sys.stdin.readline()

Elsewhere.remove = crash
bus = EventBus(sys.argv[1], delivery="manual")
bus.outbox(os.path.join(os.path.dirname(sys.argv[1]), "app.db"))
bus.drain()
"""


@pytest.fixture
def crashed(path: Path, other: Path) -> Path:
    """A process was killed after it has appended rows, and before it has removed them over there."""
    with standing_still(path) as bus:
        bus.outbox(other)
        insert(other, row(1), {"event_type": ORDERED, "payload": "oops"}, row(2))
    child = Child(CRASH, path)
    assert child.says() == "appended"
    child.kill()
    child._process.__exit__(None, None, None)
    assert waiting(other) == 3
    return other


def test_what_a_crash_left_over_there_is_not_moved_again(path: Path, crashed: Path) -> None:
    insert(crashed, row(3))
    with standing_still(path) as bus:
        bus.outbox(crashed)
        bus.drain()
        assert numbers(bus) == [1, 2, 3]
        assert len(bus.dead_letters.list()) == 1
        assert waiting(crashed) == 0


def test_even_if_its_class_has_another_version_by_then(path: Path, tmp_path: Path) -> None:
    other = other_database(tmp_path)
    with standing_still(path) as bus:
        bus.outbox(other)
        insert(other, row(1))
    child = Child(CRASH, path)
    assert child.says() == "appended"
    child.kill()
    child._process.__exit__(None, None, None)
    again = (
        "import os, sys\nfrom eventbus import EventBus, event\n"
        f"@event(name='{ORDERED}', version=2)\nclass Ordered:\n    order_id: str\n    number: float\n"
        "with EventBus(sys.argv[1], delivery='manual') as bus:\n"
        "    bus.outbox(os.path.join(os.path.dirname(sys.argv[1]), 'app.db'))\n"
        "    bus.drain()\n"
        "    print(bus.log.head, len(bus.dead_letters.list()))\n"
    )
    assert Child(again, path).end() == "1 0\n"
    assert waiting(other) == 0


def test_a_backup_that_was_restored_over_there_publishes_nothing_twice(bus: EventBus, tmp_path: Path) -> None:
    other = other_database(tmp_path)
    bus.outbox(other)
    insert(other, row(1))
    backup = other.read_bytes()
    bus.drain()
    insert(other, row(2))
    bus.drain()
    other.unlink()
    other.write_bytes(backup)
    insert(other, row(3))
    bus.drain()
    assert numbers(bus) == [1, 2, 3]
    assert bus.dead_letters.list() == []
    assert waiting(other) == 0


def test_two_processes_at_once_move_each_row_of_another_file_once(path: Path, bus: EventBus, other: Path) -> None:
    bus.outbox(other)
    assert bus.log.head == 0
    children = movers(path, other)
    insert(other, *(row(number) for number in range(1500)))
    let_go(children)
    bus.drain()
    join(children)
    while waiting(other):  # whoever met a lock has left its rows for the next look
        bus.drain()
    assert numbers(bus) == list(range(1500))
    assert bus.dead_letters.list() == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_has_no_part_in_it(path: Path, tmp_path: Path) -> None:
    other = other_database(tmp_path)
    with standing_still(path) as bus:
        bus.outbox(other)
        insert(other, row(1))
        bus.drain()
        child = os.fork()
        if child == 0:
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        insert(other, row(2))
        bus.drain()
        assert numbers(bus) == [1, 2]
