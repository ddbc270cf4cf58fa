"""How long `eventbus subscriptions` takes on a log that many read.

    python benchmarks/many_subscriptions.py [--subscriptions 50] [--dead 1000] [--events 100000]

Half of the subscriptions stand at the end of the log and half anywhere in it; the dead letters are spread over all.
Prints the median of what the store needs to answer, with a connection that is open already, and of the whole program.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from eventbus import EventBus, Retry, event
from eventbus.store import overview
from eventbus.store.opening import look

BATCH = 1000
TRIES = 11


@event(stream="stock-{number}")
class Counted:
    """What all of them read."""

    number: int
    is_bad: bool = False
    text: str = "x" * 100


@event
class Moved:
    """What half of them read as well."""

    number: int


def fill(path: str, subscriptions: int, dead: int, events: int) -> None:
    """Make the log."""

    def handle(found: Counted | Moved) -> None:
        if isinstance(found, Counted) and found.is_bad:
            raise ValueError("a bad one")

    logging.getLogger("eventbus").setLevel(logging.CRITICAL)
    bad = dead // subscriptions
    with EventBus(path, durability="process", delivery="manual") as bus:
        for number in range(subscriptions):
            how = {"retry": Retry(attempts=1), "after": 0, "handler": handle}
            bus.subscribe(f"reader-{number}", Counted, **how)  # type: ignore[call-overload]
        bus.publish_many([Counted(number, is_bad=True) for number in range(bad)])
        bus.drain()
        for begin in range(bad, events, BATCH):
            end = min(begin + BATCH, events)
            bus.publish_many([Counted(number) if number % 2 else Moved(number) for number in range(begin, end)])
        with bus._attachment.engine().storage.writing() as connection:  # as if they had been read so far
            for number in range(subscriptions):
                cursor = events if number % 2 else random.randint(bad, events)
                values = (cursor, cursor, f"reader-{number}")
                connection.execute("UPDATE eventbus_subscriptions SET cursor = ?, claim = ? WHERE name = ?", values)


def median(action: Callable[[], object]) -> float:
    """In milliseconds."""
    found: list[float] = []
    for _ in range(TRIES):
        began = time.perf_counter()
        action()
        found.append((time.perf_counter() - began) * 1000)
    return statistics.median(found)


def main(subscriptions: int, dead: int, events: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "events.db"
        fill(str(path), subscriptions, dead, events)
        connection = look(path)
        views = overview.everyone(connection)
        assert sum(view.counts.get("dead", 0) for view in views) == dead // subscriptions * subscriptions
        print(f"{len(views)} subscriptions, {dead} dead letters, {events:,} events")
        print(f"the store: {median(lambda: overview.everyone(connection)):.1f} ms")
        connection.close()
        for words in ([], ["--json"]):
            command = [sys.executable, "-m", "eventbus", "subscriptions", *words, str(path)]
            print(f"{' '.join(command[2:-1])}: {median(lambda: _run(command)):.0f} ms")  # noqa: B023
        print(f"python -c pass: {median(lambda: _run([sys.executable, '-c', 'pass'])):.0f} ms")


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subscriptions", type=int, default=50)
    parser.add_argument("--dead", type=int, default=1000)
    parser.add_argument("--events", type=int, default=100_000)
    arguments = parser.parse_args()
    main(arguments.subscriptions, arguments.dead, arguments.events)
