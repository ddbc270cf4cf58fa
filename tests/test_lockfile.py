"""Leases, which are bytes of a lock file, and the ear through which another process rings the bell."""

from __future__ import annotations

import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from eventbus.clock import Bell, SystemClock
from eventbus.store.location import Location
from eventbus.store.lockfile import Leases
from eventbus.worker.waking import SocketEar, connected

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
