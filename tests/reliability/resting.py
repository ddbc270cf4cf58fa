"""A process with an idle bus that looks at itself, and prints as JSON what it found in seconds without work.

    python resting.py FOLDER few|many|standby

"few": the bus has handlers that work on its threads, and all of them have had work before: one event, with a retry. (A
bus that has run async handlers without being entered on a loop keeps a loop of its own, on one more sleeping thread.)
"many": 50 subscriptions have handled 100,000 events, 1,000 dead letters aside. "standby": another process delivers.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from workload import Balances, deposited

from eventbus import Context, EventBus, Retry, threads
from eventbus.clock import Bell, SystemClock
from eventbus.retry import fixed

SECONDS = 3.0
LONGEST = 60.0
SUBSCRIPTIONS, DEAD, EVENTS, BATCH = 50, 1000, 100_000, 1000


class TickingClock(SystemClock):
    """Notes how each of the pump's waits ended."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[bool] = []
        self._changed = threading.Condition()

    def wait(self, bell: Bell, timeout: float | None) -> bool:
        rang = super().wait(bell, timeout)
        with self._changed:
            self.waits.append(rang)
            self._changed.notify_all()
        return rang

    def wait_for_ticks(self, ticks: int) -> None:
        """Return when that many waits in a row have run out."""
        with self._changed:
            quiet = self._changed.wait_for(lambda: self.waits[-ticks:] == [False] * ticks, LONGEST)
        assert quiet, f"never at rest: {self.waits[-20:]}"


def set_to_work(bus: EventBus) -> None:
    """Declare handlers, and give each something to do and to fail at once."""
    retry = Retry(attempts=3, backoff=fixed(0.01))  # long enough to set an alarm

    @bus.subscribe("plain", "*", retry=retry)
    def plain(event: Any, ctx: Context) -> None:
        if ctx.attempt == 1:
            raise ValueError("not the first time")

    @bus.subscribe("transactional", "*", retry=retry, transactional=True)
    def transactional(event: Any, ctx: Context) -> None:
        plain(event, ctx)

    bus.project(Balances)
    bus.start()
    receipt = bus.submit(deposited("a")).result(LONGEST)
    for name in ("plain", "transactional", Balances):
        assert bus.wait_for(receipt, name, timeout=LONGEST) == "handled"


def fail(event: Any) -> None:
    """A handler."""
    raise ValueError("always")


def subscribe_many(bus: EventBus) -> None:
    """50 subscriptions."""
    for number in range(SUBSCRIPTIONS):
        bus.subscribe(f"reader-{number}", "*", handler=fail, retry=Retry(attempts=1), after=0, order_by=None)


def fill(path: Path) -> None:
    """What 50 subscriptions have left behind."""
    logging.getLogger("eventbus").setLevel(logging.CRITICAL)
    with EventBus(path, delivery="manual", durability="process") as bus:
        subscribe_many(bus)
        bus.publish_many([deposited(str(number)) for number in range(DEAD // SUBSCRIPTIONS)])
        bus.drain()
        while (head := bus.log.head) < EVENTS:
            bus.publish_many([deposited("a") for _ in range(min(BATCH, EVENTS - head))])
        with bus._attachment.engine().storage.writing() as connection:  # as if they had handled the rest
            connection.execute("UPDATE eventbus_subscriptions SET cursor = ?, claim = ?", (EVENTS, EVENTS))


def deliver(path: Path) -> None:
    """The other process."""
    with EventBus(path) as bus:
        subscribe_many(bus)
        bus.drain()
        print("up", flush=True)
        sys.stdin.readline()


@contextmanager
def another(path: Path) -> Iterator[None]:
    """While another process delivers."""
    command = [sys.executable, __file__, str(path.parent), "deliver"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield
        process.communicate("go on\n")


def switches() -> int:
    """How often threads of this process, this one aside, gave up the processor by themselves."""
    total = 0
    for task in Path("/proc/self/task").iterdir():
        if int(task.name) != threading.get_native_id():
            total += int((task / "status").read_text("ascii").partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return total


def switches_during(seconds: float) -> int:
    """The switches of a while in which nothing is asked of the bus."""
    before = switches()
    threading.Event().wait(seconds)
    return switches() - before


def traces(path: Path) -> list[tuple[str, int, int]]:
    """The files of the log: how long they are and when they were last written."""
    found = []
    for each in sorted(path.parent.glob(path.name + "*")):
        status = each.stat()
        found.append((each.name, status.st_size, status.st_mtime_ns))
    return found


def open_connections(path: Path) -> int:
    """How many connections this process has: each has the -wal open once.

    (The file itself stays open for closed ones too: SQLite keeps such descriptors for the locks they share.)
    """
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        try:
            found += os.readlink(each) == f"{path}-wal"
        except FileNotFoundError:  # that of the listing itself
            continue
    return found


def main(path: Path, kind: str) -> None:
    """Let a bus come to rest, and watch it rest."""
    threads.IDLE_SECONDS = 0.05  # the threads that helped go home early, to have the test done sooner
    match kind:
        case "few":
            watch(path, set_to_work)
        case "many":
            fill(path)
            watch(path, subscribe_many)
        case "standby":
            with another(path):
                watch(path, subscribe_many)
        case _:
            deliver(path)


def watch(path: Path, begin: Callable[[EventBus], None]) -> None:
    """Print what is found while a bus rests."""
    clock = TickingClock()
    with EventBus(path, clock=clock) as bus:
        begin(bus)
        clock.wait_for_ticks(3)
        connections = open_connections(path)
        with closing(sqlite3.connect(path)) as observer:
            version = observer.execute("PRAGMA data_version").fetchone()
            waits, files, began = len(clock.waits), traces(path), time.monotonic()
            # What else happens on the machine only ever adds to the count: the quietest of three looks is the truth.
            counted = [switches_during(SECONDS) for _ in range(3)]
            seconds = time.monotonic() - began
            found = {
                "seconds": seconds,
                "switches a second": min(counted) / SECONDS,
                "waits": len(clock.waits) - waits,
                "rang": sum(clock.waits[waits:]),
                "threads": sorted(thread.name for thread in threading.enumerate()),
                "connections": connections,
                "changed files": [each for each in traces(path) if each not in files],
                "was written": observer.execute("PRAGMA data_version").fetchone() != version,
                "owners": sorted({subscription.owner or "" for subscription in bus.subscriptions.values()}),
                "dead": sum(subscription.counts.get("dead", 0) for subscription in bus.subscriptions.values()),
                "me": f"pid {os.getpid()}",
            }
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve() / "events.db", sys.argv[2])
