"""What one process's writes wait for while another one publishes as fast as it can.

    python benchmarks/fairness.py [--seconds 10] [--durability power process]

The publisher: `publish` in a loop, on 1 thread and on 64, and `publish_many` of 100. The other process makes a write
every few milliseconds: `bus.publish`, or an INSERT on a plain connection of `bus.connect()` with SQLite's own waiting
(5 s). Prints the p50, p99 and the longest of the other's writes, how many failed, and what the publisher stored in a
second, beside that and with nobody there.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal, cast

from eventbus import EventBus, EventBusError, event

PAUSE = 0.03  # seconds between two writes of the other process, on average

Durability = Literal["power", "process"]


@event
class Noted:
    """As long as an event usually is."""

    number: int
    text: str = "x" * 100


def saturate(path: str, durability: Durability, how: str) -> None:
    """The publisher: says "up", publishes until its stdin closes, and says how many events it stored a second."""
    with EventBus(path, durability=durability, delivery="manual") as bus:
        counts, stop = itertools.count(), threading.Event()
        threads = [threading.Thread(target=_publish, args=(bus, how, counts, stop)) for _ in range(_threads(how))]
        bus.publish(Noted(0))
        began = time.monotonic()
        for thread in threads:
            thread.start()
        try:
            print("up", flush=True)
            sys.stdin.readline()
            print(next(counts) / (time.monotonic() - began), flush=True)
        finally:  # also where nobody reads any more
            stop.set()
            for thread in threads:
                thread.join()


def _threads(how: str) -> int:
    return 64 if how == "64 threads" else 1


def _publish(bus: EventBus, how: str, counts: itertools.count[int], stop: threading.Event) -> None:
    many = [Noted(number) for number in range(100)]
    while not stop.is_set():
        if how == "publish_many":
            bus.publish_many(many)
            for _ in many:
                next(counts)
        else:
            bus.publish(many[0])
            next(counts)


def measure(path: str, durability: Durability, how: str, what: str, seconds: float) -> None:
    """One line: what a writer of this process waits for beside a publisher."""
    publisher = subprocess.Popen(
        [sys.executable, __file__, "--saturate", path, durability, how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert publisher.stdout is not None
    with publisher:
        if what == "nobody":
            assert publisher.stdout.readline() == "up\n"
            time.sleep(seconds)
            waited: list[float] = []
            failed = 0
        else:
            with EventBus(path, durability=durability, delivery="manual") as bus:
                write = _writing(bus, what)
                write()
                assert publisher.stdout.readline() == "up\n"
                waited, failed = _waits(write, seconds)
        rate = float(publisher.communicate("stop\n")[0])
    told = f"{durability:8} {how:13} {what:8} publisher {rate:8,.0f} events/s"
    if waited:
        found = statistics.quantiles(waited, n=100, method="inclusive")
        told += f"   other: p50 {found[49] * 1000:7.1f} ms  p99 {found[98] * 1000:7.1f} ms"
        told += f"  longest {max(waited) * 1000:7.1f} ms  of {len(waited)}, {failed} failed"
    print(told, flush=True)


def _writing(bus: EventBus, what: str) -> Callable[[], object]:
    if what == "publish":
        return lambda: bus.publish(Noted(1))
    connection = bus.connect()
    connection.execute("CREATE TABLE IF NOT EXISTS notes (text TEXT)")
    return lambda: connection.execute("INSERT INTO notes VALUES ('x')")


def _waits(write: Callable[[], object], seconds: float) -> tuple[list[float], int]:
    """How long each write took, a failed one included, and how many failed."""
    waited: list[float] = []
    failed, until = 0, time.monotonic() + seconds
    while time.monotonic() < until or len(waited) < 2:
        time.sleep(random.uniform(0, 2 * PAUSE))
        began = time.monotonic()
        try:
            write()
        except (sqlite3.OperationalError, EventBusError):
            failed += 1
        waited.append(time.monotonic() - began)
    return waited, failed


def main(seconds: float, durabilities: list[Durability]) -> None:
    """Measure and print."""
    for durability in durabilities:
        for how in ("1 thread", "64 threads", "publish_many"):
            for what in ("nobody", "publish", "connect"):
                with tempfile.TemporaryDirectory() as folder:
                    measure(str(Path(folder) / "events.db"), durability, how, what, seconds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--durability", nargs="+", default=["power", "process"])
    parser.add_argument("--saturate", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.saturate:
        saturate(arguments.saturate[0], cast("Durability", arguments.saturate[1]), arguments.saturate[2])
    else:
        main(arguments.seconds, arguments.durability)
