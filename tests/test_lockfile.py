"""Leases, which are bytes of a lock file, and the ear through which another process rings the bell."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from eventbus.clock import Bell, SystemClock
from eventbus.store.location import Location
from eventbus.store.lockfile import Leases, is_delivered
from eventbus.worker.ear import SocketEar, connected

LONGEST = 60.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def test_two_engines_of_one_process_do_not_share_a_lease(path: Path) -> None:
    one, two = Leases(Location.of(path)), Leases(Location.of(path))
    assert one.take(1)
    assert one.take(1)
    assert not two.take(1)
    assert two.take(2)
    two.give_up(1)
    assert not two.take(1)
    two.close()
    assert one.take(2)
    one.give_up(1)
    assert two.take(1)
    one.close()
    two.close()


def test_the_holder_of_a_lease_is_told(path: Path) -> None:
    mine = Leases(Location.of(path))
    assert mine.take(1)
    with held_elsewhere(path, 2) as pid:
        assert not mine.take(2)
        assert [mine.holder(row_id) for row_id in (1, 2, 3)] == [os.getpid(), pid, None]
    mine.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who has a lock")
def test_whether_a_lease_is_held_is_told_by_the_lock_and_nothing_is_dropped_by_asking(path: Path) -> None:
    name = str(path)
    assert is_delivered(name, 1) is False  # not even a file
    mine = Leases(Location.of(path))
    assert mine.take(1)
    with held_elsewhere(path, 2):
        assert [is_delivered(name, row_id) for row_id in (1, 2, 3)] == [True, True, False]
    assert is_delivered(name, 2) is False
    with asking_elsewhere(path) as told:
        assert [told(row_id) for row_id in (1, 2)] == [True, False]
        mine.close()
        assert told(1) is False


@contextmanager
def asking_elsewhere(path: Path) -> Iterator[Callable[[int], bool]]:
    """Whether a lease is held, as a process sees it that has nothing to do with the log."""
    text = (
        "import sys\nfrom eventbus.store.lockfile import is_delivered\n"
        "for line in sys.stdin: print(is_delivered(sys.argv[1], int(line)), flush=True)\n"
    )
    command = [sys.executable, "-c", text, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def told(row_id: int) -> bool:
            stdin.write(f"{row_id}\n")
            stdin.flush()
            return {"True\n": True, "False\n": False}[stdout.readline()]

        yield told
        process.communicate()


@contextmanager
def held_elsewhere(path: Path, byte: int) -> Iterator[int]:
    """While another process has a lease; on Linux with its number."""
    text = (
        "import sys\nfrom eventbus.store.location import Location\nfrom eventbus.store.lockfile import Leases\n"
        "leases = Leases(Location.of(sys.argv[1]))\nassert leases.take(int(sys.argv[2]))\n"
        "print('held', flush=True)\nsys.stdin.read()\n"
    )
    command = [sys.executable, "-c", text, str(path), str(byte)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process.pid if sys.platform == "linux" else 0
        process.communicate()


def test_leases_outlive_the_lock_file(path: Path) -> None:
    one, two = Leases(Location.of(path)), Leases(Location.of(path))
    assert one.take(1)
    (path.parent / "events.db-lock").unlink()
    assert two.take(2)
    assert not two.take(1)
    one.close()
    two.close()


def test_in_memory_everything_is_ours() -> None:
    leases = Leases(Location.of(None))
    assert leases.take(1)
    leases.give_up(1)
    leases.close()


@pytest.mark.parametrize("loopback", [True, False])
def test_a_bell_with_an_ear_is_rung_from_inside_and_outside(loopback: bool) -> None:
    if not loopback and sys.platform != "linux":
        pytest.skip("names that are in no folder are Linux's")
    ear, bell, clock = SocketEar(loopback=loopback), Bell(), SystemClock()
    bell.ear = ear
    assert clock.wait(bell, 0) is False
    bell.ring()
    assert clock.wait(bell, None) is True
    with closing(connected(ear.address)) as outside:
        outside.send(b"!")
        outside.send(b"!")
    assert clock.wait(bell, LONGEST) is True
    assert clock.wait(bell, 0) is False
    heard: list[bool] = []
    waiting = threading.Thread(target=lambda: heard.append(clock.wait(bell, LONGEST)))
    waiting.start()
    bell.ring()
    waiting.join()
    assert heard == [True]
    ear.close()
