"""Standing by for what another process delivers: without looking again and again, and at once when it ends."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from delivery_stage import Counted, standing_still
from process_stage import HEAD, LONGEST, Child, WithoutTicks, told

from eventbus import EventBus
from eventbus.clock import Bell, SystemClock
from eventbus.worker.ends import Ends
from eventbus.worker.pump import STANDBY_TICK, TICK
from eventbus.worker.waking import SETTLING_SECONDS

SLOW = (
    HEAD
    + """
import logging, threading
logging.basicConfig(stream=sys.stdout, format="%(message)s")
with EventBus(path) as bus:
    registration = bus.subscribe("count", Counted, after=0, handler=lambda counted: work(counted.number))
    def work(number):
        say("begin", number)
        order = sys.stdin.readline().strip()
        if order == "close":
            registration.close()
        say("end", number)
    bus.drain()
    say("up")
    threading.Event().wait()
"""
)

hears_ends = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="nobody tells of the end of a process")
stops = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="the system does not stop processes")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.db"


@pytest.fixture
def slow(path: Path) -> Iterator[Child]:
    """A process that delivers "count", and waits in its handler to be told to go on."""
    child = Child(SLOW, path)
    assert child.says() == "up"
    yield child
    child.kill()
    child.close()


class Counting(SystemClock):
    """Notes how long the pump of a bus with an ear is ready to wait."""

    def __init__(self) -> None:
        super().__init__()
        self.timeouts: list[float | None] = []

    def wait(self, bell: Bell, timeout: float | None) -> bool:
        if bell.ear is not None:
            self.timeouts.append(timeout)
        return super().wait(bell, timeout)


@hears_ends
def test_whoever_stands_by_looks_no_more_often_than_anybody_else(path: Path, slow: Child) -> None:
    with EventBus(path, clock=(clock := Counting())) as bus:
        told(bus)
        bus.drain()
        bus.publish(Counted(1))
        assert slow.says() == "begin 1"
    assert clock.timeouts
    assert set(clock.timeouts) <= {SETTLING_SECONDS, TICK}


@hears_ends
def test_the_end_of_the_process_that_delivers_is_heard(path: Path, slow: Child) -> None:
    with EventBus(path, clock=WithoutTicks()) as bus:
        numbers, told_here = told(bus)
        bus.drain()
        bus.publish(Counted(1))
        assert slow.says() == "begin 1"
        assert numbers == []
        slow.kill()
        assert told_here.wait(LONGEST)
        assert numbers == [1]


@hears_ends
def test_whatever_the_process_that_ended_delivered_is_taken_over(path: Path) -> None:
    text = HEAD + (
        "with EventBus(path) as bus:\n"
        "    for name in ('one', 'two', 'three'):\n"
        "        bus.subscribe(name, Counted, after=0, handler=lambda counted: None)\n"
        "    bus.drain()\n"
        "    say('up')\n"
        "    sys.stdin.readline()\n"
    )
    owner = Child(text, path)
    assert owner.says() == "up"
    with EventBus(path) as bus:
        for name in ("one", "two", "three"):
            bus.subscribe(name, Counted, after=0, handler=lambda counted: None)
        bus.drain()
        owner.kill()
        owner.close()
        receipt = bus.publish(Counted(1))
        for name in ("one", "two", "three"):
            assert bus.wait_for(receipt, name, timeout=LONGEST) == "handled"
            assert bus.subscriptions[name].owner == f"pid {os.getpid()}"


def test_a_process_that_takes_its_handler_out_hands_over(path: Path, slow: Child) -> None:
    with EventBus(path, clock=WithoutTicks()) as bus:
        numbers, told_here = told(bus)
        bus.drain()
        bus.publish(Counted(1))
        assert slow.says() == "begin 1"
        bus.publish(Counted(2))
        slow.tell("close")
        assert slow.says() == "end 1"
        assert told_here.wait(LONGEST)
        bus.drain()
        assert numbers == [2]
        assert bus.subscriptions["count"].row.handled == 2


@stops
def test_a_process_that_is_stopped_is_not_dead(path: Path, slow: Child) -> None:
    with standing_still(path) as bus:
        numbers, _ = told(bus)
        bus.publish(Counted(1))
        assert slow.says() == "begin 1"
        os.kill(slow.pid, signal.SIGSTOP)
        assert bus.drain() == 0
        os.kill(slow.pid, signal.SIGCONT)
        slow.tell("go on")
        assert slow.says() == "end 1"
        assert numbers == []


@stops
def test_a_process_that_was_stopped_and_replaced_cannot_commit_when_it_wakes(path: Path, slow: Child) -> None:
    with standing_still(path) as bus:
        numbers, _ = told(bus)
        bus.publish(Counted(1))
        assert slow.says() == "begin 1"
        os.kill(slow.pid, signal.SIGSTOP)
        bus.publish(Counted(2))
        (path.parent / "events.db-lock").unlink()  # as somebody might who tidies up
        assert bus.drain() == 2
        os.kill(slow.pid, signal.SIGCONT)
        slow.tell("go on")
        assert slow.says() == "end 1"
        assert "is delivered by another process" in slow.says()
        assert numbers == [1, 2]
        assert bus.subscriptions["count"].row.handled == 2
        assert bus.subscriptions["count"].owner == f"pid {os.getpid()}"


def test_where_nobody_tells_of_the_end_of_a_process_it_is_looked_for(
    path: Path, slow: Child, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "pidfd_open", raising=False)
    with EventBus(path) as bus:
        _, told_here = told(bus)
        bus.drain()
        assert bus._attachment.engine().pump._tick() in (SETTLING_SECONDS, STANDBY_TICK)
        bus.publish(Counted(1))
        assert slow.says() == "begin 1"
        slow.kill()
        assert told_here.wait(LONGEST)


@hears_ends
def test_a_process_that_is_gone_already_is_not_waited_for(path: Path, slow: Child) -> None:
    slow.kill()
    with pytest.raises(ProcessLookupError):
        Ends().watch({slow.pid})
