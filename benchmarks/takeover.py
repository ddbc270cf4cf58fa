"""How long several processes on one log wait for each other.

    python benchmarks/takeover.py [--kills 100] [--events 1000]

Takeover: from SIGKILL of the process that delivers to the first event handled by another one, which stood by.
Commit to handler: from before `publish` in one process to the handler in another. Prints p50 and p99 of both.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from eventbus import EventBus, event

STANDING_BY = 2  # processes beside the one that delivers


@event
class Said:
    """Carries when it was said, on the clock that all processes of a machine share."""

    at: float


def deliver(path: str) -> None:
    """One of the processes: tells on stdout what it handles, until it is killed."""
    with EventBus(path, durability="process") as bus:

        @bus.subscribe("listener", Said, after=0)
        def listener(said: Said) -> None:
            os.write(1, f"{os.getpid()} {said.at} {time.monotonic()}\n".encode())

        bus.drain()
        os.write(1, f"{os.getpid()} up\n".encode())
        sys.stdin.read()


class Crew:
    """The processes that deliver; all of them write to one pipe."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._read, self._write = os.pipe()
        self._lines = os.fdopen(self._read, encoding="ascii")
        self._members: dict[int, subprocess.Popen[bytes]] = {}

    def hire(self) -> None:
        """Start one more, and return when it delivers or stands by."""
        member = subprocess.Popen(
            [sys.executable, __file__, "--deliver", self._path], stdin=subprocess.PIPE, stdout=self._write
        )
        self._members[member.pid] = member
        assert self._lines.readline().split() == [str(member.pid), "up"]

    def handled(self) -> tuple[int, float, float]:
        """The next event that was handled: by which process, when it was said and when it was handled."""
        pid, said, heard = self._lines.readline().split()
        return int(pid), float(said), float(heard)

    def kill(self, pid: int) -> float:
        """SIGKILL; returns when."""
        began = time.monotonic()
        self._members[pid].kill()
        return began

    def bury(self, pid: int) -> None:
        """Collect what is left of it."""
        with self._members.pop(pid) as member:
            member.kill()

    def close(self) -> None:
        """End all."""
        for pid in list(self._members):
            self.bury(pid)
        self._lines.close()
        os.close(self._write)


def main(kills: int, events: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "events.db")
        crew = Crew(path)
        try:
            for _ in range(1 + STANDING_BY):
                crew.hire()
            with EventBus(path, durability="process", delivery="manual") as bus:
                told = [_told(bus, crew) for _ in range(events)]
                taken = [_taken_over(bus, crew) for _ in range(kills)]
        finally:
            crew.close()
    _print("commit to handler", told)
    _print("takeover after SIGKILL", taken)


def _told(bus: EventBus, crew: Crew) -> float:
    bus.publish(Said(time.monotonic()))
    _, said, heard = crew.handled()
    return heard - said


def _taken_over(bus: EventBus, crew: Crew) -> float:
    bus.publish(Said(time.monotonic()))
    owner, _, _ = crew.handled()
    killed = crew.kill(owner)
    bus.publish(Said(time.monotonic()))
    other, said, heard = crew.handled()
    while said < killed:  # what the killed one may have been in the middle of is handled again
        other, said, heard = crew.handled()
    assert other != owner
    crew.bury(owner)
    crew.hire()
    return heard - killed


def _print(what: str, seconds: list[float]) -> None:
    found = statistics.quantiles(seconds, n=100, method="inclusive") if len(seconds) > 1 else seconds * 99
    print(f"{what}: p50 {found[49] * 1000:.2f} ms, p99 {found[98] * 1000:.2f} ms, of {len(seconds)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--deliver", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.deliver:
        deliver(arguments.deliver)
    else:
        main(arguments.kills, arguments.events)
