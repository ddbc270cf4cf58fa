"""Go through a whole log in one way and print the most memory that took, in MiB.

python -m benchmarks.peak read|replay|rebuild|open PATH
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.subjects.backlog import plain
from benchmarks.subjects.reading import Sales
from eventbus import EventBus


def read(bus: EventBus) -> None:
    """A loop over the log."""
    for envelope in bus.log.read():
        assert envelope.event


def replay(bus: EventBus) -> None:
    """A new subscription from the beginning."""
    plain(bus, "replay")
    bus.drain()
    bus.subscriptions["replay"].forget()


def rebuild(bus: EventBus) -> None:
    """A projection that is filled from the beginning."""
    bus.project(Sales)
    bus.drain()
    bus.projections[Sales].forget()


def only_open(bus: EventBus) -> None:
    """What the rest is to be compared with."""
    assert bus.log.head


def peak() -> float:
    """MiB that this process has had at the most."""
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says begins with what the parent had
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(line.split()[1]) / 1024
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / (1 << 20) if sys.platform == "darwin" else used / 1024


def main(way: str, path: str) -> None:
    """Do it and print."""
    ways = {"read": read, "replay": replay, "rebuild": rebuild, "open": only_open}
    with EventBus(path, delivery="manual") as bus:
        ways[way](bus)
    print(peak())


if __name__ == "__main__":
    main(*sys.argv[1:])
