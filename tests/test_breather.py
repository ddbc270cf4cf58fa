"""A process that writes without a pause rests now and then, while somebody else may wait to write."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from delivery_stage import Counted

from eventbus import EventBus
from eventbus.clock import Bell
from eventbus.store.breather import BUSY_SECONDS, REST_SECONDS, Breather
from eventbus.store.company import Company
from eventbus.store.holders import is_shared
from eventbus.testing import FakeClock

SQLITE_LOOKS = (0, 1, 3, 8, 18, 33, 53, 78, 103, 128, 178, 228)  # milliseconds since it began to wait

linux = pytest.mark.skipif(not Path("/proc/locks").exists(), reason="the system does not tell who has a file open")


class Passing(FakeClock):
    """A clock on which a wait lasts as long as it says."""

    def wait(self, bell: Bell, timeout: float | None) -> bool:
        self.advance(timeout or 0.0)
        return False


def rests(clock: Passing, breather: Breather, *, busy: float, free: float, seconds: float, lent: bool) -> list[float]:
    """When the rests begin, with transactions of `busy` seconds and `free` ones between them."""
    found: list[float] = []
    while clock.monotonic() < seconds:
        before = breather.rests
        breather.begin(lent=lent)
        if breather.rests > before:
            found.append(clock.monotonic() - REST_SECONDS)
        clock.advance(busy)
        breather.end()
        clock.advance(free)
    return found


def a_breather(path: Path | None) -> tuple[Passing, Breather]:
    clock = Passing()
    return clock, Breather(None if path is None else str(path), clock)


@pytest.mark.parametrize("busy", [0.0001, 0.002, 0.03, 0.05, 0.07])
def test_whoever_writes_without_a_pause_rests_often_enough_for_sqlite_s_own_waiting(
    tmp_path: Path, busy: float
) -> None:
    clock, breather = a_breather(tmp_path / "events.db")
    found = rests(clock, breather, busy=busy, free=0.00001, seconds=2.0, lent=True)
    for arrival in range(1, 1500):  # wherever between two rests somebody begins to wait, one look falls into a rest
        looks = [(arrival + look) / 1000 for look in SQLITE_LOOKS]
        assert any(rest <= look < rest + REST_SECONDS for look in looks for rest in found)


def test_whoever_lets_go_of_the_log_often_enough_never_rests(tmp_path: Path) -> None:
    clock, breather = a_breather(tmp_path / "events.db")
    assert rests(clock, breather, busy=0.002, free=0.002, seconds=2.0, lent=True) == []
    assert rests(clock, breather, busy=BUSY_SECONDS / 2, free=2 * REST_SECONDS, seconds=4.0, lent=True) == []


def test_in_memory_nobody_rests() -> None:
    clock, breather = a_breather(None)
    assert rests(clock, breather, busy=0.002, free=0.0, seconds=2.0, lent=True) == []


@pytest.fixture
def bus(tmp_path: Path) -> Iterator[EventBus]:
    with EventBus(tmp_path / "events.db", delivery="manual") as bus:
        bus.publish(Counted(1))
        yield bus


@linux
def test_a_process_that_has_the_log_for_itself_never_rests(tmp_path: Path, bus: EventBus) -> None:
    clock, breather = a_breather(tmp_path / "events.db")
    assert not is_shared(str(tmp_path / "events.db"))
    assert not Company(str(tmp_path / "events.db")).is_there()
    assert rests(clock, breather, busy=0.002, free=0.0, seconds=2.0, lent=False) == []


@linux
def test_another_process_that_has_the_log_open_makes_this_one_rest(tmp_path: Path, bus: EventBus) -> None:
    text = (
        "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('SELECT * FROM eventbus_log').fetchall();"
        "print('open', flush=True); sys.stdin.read()"
    )
    path = tmp_path / "events.db"
    company = Company(str(path))
    command = [sys.executable, "-c", text, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        clock, breather = a_breather(path)
        assert company.is_there()
        assert rests(clock, breather, busy=0.002, free=0.0, seconds=2.0, lent=False) != []
        other.communicate()
    assert not is_shared(str(path))
    assert not company.is_there()


@linux
def test_to_ask_who_has_the_log_open_drops_none_of_its_locks(tmp_path: Path, bus: EventBus) -> None:
    path = tmp_path / "events.db"
    assert not Company(str(path)).is_there()
    text = "import sys; from eventbus.store.holders import is_live; print(is_live(sys.argv[1]))"
    answer = subprocess.run([sys.executable, "-c", text, str(path)], capture_output=True, text=True, check=True)
    assert answer.stdout == "True\n"


@linux
def test_a_log_that_is_not_open_here_is_asked_about_in_the_list_of_all_locks(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with EventBus(path, delivery="manual") as bus:
        bus.publish(Counted(1))
    assert Company(str(path)).is_there() == is_shared(str(path))


def test_a_connection_that_was_lent_makes_this_process_rest_until_it_is_gone(bus: EventBus) -> None:
    loans = bus._attachment.engine().storage._loans
    connection = bus.connect()
    with closing(connection):
        assert loans
    del connection
    assert not loans
