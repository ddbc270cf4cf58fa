"""Each run is published once: whatever process is killed, and however many look at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from schedule_stage import Ticked, a_bus, seconds_of, ticking
from test_several_processes import Child

from eventbus.schedules.publishing import Publisher
from eventbus.store import schedules
from eventbus.testing import FakeClock

HEAD = """
import os, signal, sys
from schedule_stage import Due, Ticked, a_bus, at, seconds_of, ticking
from eventbus import EventBus
from eventbus.store import schedules
from eventbus.testing import FakeClock

path, clock = sys.argv[1], FakeClock(seed=os.getpid())

def say(*words):
    print(*words, flush=True)
"""
RACE = (
    HEAD
    + """
with a_bus(path, clock) as bus:
    bus.publish_every(ticking, every=1, name="tick", catch_up="all")
    bus.publish_every(ticking, cron={"second": "*"}, timezone="UTC", name="cron", catch_up="all")
    bus.drain()
    say("up")
    sys.stdin.readline()
    clock.advance(1000)
    bus.drain()
"""
)
KILLED = (
    HEAD
    + """
change, delete = schedules.change, schedules.delete

def kill(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

with a_bus(path, clock) as bus:
    bus.publish_every(ticking, every=60, name="tick", catch_up="all")
    bus.publish_at(Ticked(1.0), 60, id="once")
    bus.drain()
    clock.advance(60)
    if sys.argv[2] == "change":
        schedules.change = kill
    else:
        schedules.delete = kill
    bus.drain()
"""
)
AFTER = (
    HEAD
    + """
with a_bus(path, clock) as bus:
    bus.publish_every(ticking, every=60, name="tick", catch_up="all")
    bus.publish_at(Ticked(1.0), 60, id="once")
    bus.drain()
    clock.advance(60)
    bus.drain()
    os.kill(os.getpid(), signal.SIGKILL)
"""
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


def test_processes_that_look_at_once_publish_each_run_once(path: Path) -> None:
    with a_bus(path) as bus:
        bus.publish_every(ticking, every=1, name="tick", catch_up="all")
        bus.publish_every(ticking, cron={"second": "*"}, timezone="UTC", name="cron", catch_up="all")
        bus.publish_at(Ticked(0.5), 500)
        bus.drain()
        children = [Child(RACE, path) for _ in range(3)]
        assert [child.says() for child in children] == ["up"] * 3
        for child in children:
            assert child._process.stdin is not None
            child._process.stdin.write("go on\n")
            child._process.stdin.flush()
        for child in children:
            child.end()
        expected = [float(number) for number in range(1, 1001)]
        assert sorted(seconds_of(bus)) == sorted([*expected, *expected, 0.5])


@pytest.mark.parametrize("where", ["change", "delete"])
def test_a_kill_between_an_event_and_its_row_leaves_neither_or_both(path: Path, where: str) -> None:
    killed(KILLED, path, where)
    clock = FakeClock(seed=5)
    clock.advance(60)
    with a_bus(path, clock) as bus:
        bus.publish_every(ticking, every=60, name="tick", catch_up="all")
        bus.drain()
        assert sorted(seconds_of(bus)) == [1.0, 60.0]


def test_a_kill_after_the_commit_brings_nothing_again(path: Path) -> None:
    killed(AFTER, path)
    clock = FakeClock(seed=5)
    clock.advance(60)
    with a_bus(path, clock) as bus:
        bus.publish_every(ticking, every=60, name="tick", catch_up="all")
        bus.drain()
        assert sorted(seconds_of(bus)) == [1.0, 60.0]


def killed(text: str, path: Path, *arguments: str) -> None:
    """Run a text that kills its own process."""
    command = [sys.executable, "-c", text, str(path), *arguments]
    done = subprocess.run(command, cwd=Path(__file__).parent, env=os.environ, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL


def test_what_somebody_else_has_published_meanwhile_is_dropped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = FakeClock()
    publish = Publisher.made

    def too_late(self: Publisher, made: object) -> bool:
        with a_bus_of_another_process() as connection:
            row = schedules.one(connection, "tick")
            assert row is not None
            connection.execute("UPDATE eventbus_schedules SET runs = runs + 1, run = NULL, due = NULL")
        return publish(self, made)  # type: ignore[arg-type]

    with a_bus(path, clock) as bus:
        a_bus_of_another_process = bus._attachment.engine().storage.writing
        bus.publish_every(ticking, every=60, name="tick")
        bus.drain()
        clock.advance(60)
        monkeypatch.setattr(Publisher, "made", too_late)
        bus.drain()
        assert seconds_of(bus) == []


def test_a_cancellation_in_another_process_counts_here(path: Path) -> None:
    clock = FakeClock()
    with a_bus(path, clock) as bus:
        bus.publish_every(ticking, every=60, name="tick")
        schedule = bus.publish_at(Ticked(1.0), 60)
        bus.drain()
        cancel = (
            'with a_bus(path, clock) as bus:\n    bus.schedules.cancel("tick")\n    bus.schedules.cancel(sys.argv[2])'
        )
        command = [sys.executable, "-c", HEAD + cancel, str(path), schedule.name]
        subprocess.run(command, cwd=Path(__file__).parent, timeout=60, check=True)
        clock.advance(60)
        bus.drain()
        assert seconds_of(bus) == []


def test_what_another_process_schedules_is_published_here(path: Path) -> None:
    clock = FakeClock()
    with a_bus(path, clock) as bus:
        bus.drain()
        add = "with a_bus(path, clock) as bus:\n    bus.publish_at(Ticked(1.0), 60)\n"
        subprocess.run([sys.executable, "-c", HEAD + add, str(path)], cwd=Path(__file__).parent, timeout=60, check=True)
        clock.advance(60)
        bus.drain()
        assert seconds_of(bus) == [1.0]
