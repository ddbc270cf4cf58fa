"""The processes of the soak run: each publishes at a steady pace and delivers, until it is killed.

    python soakers.py FOLDER

understands what lives.py does. The wall clock of all of them is put forward and back through a file that they share.
"""

from __future__ import annotations

import itertools
import mmap
import os
import struct
import sys
import threading
import time
from pathlib import Path

from lives import main, say
from workload import Diary, declare, deposited, lines

from eventbus import EventBus
from eventbus.clock import SystemClock
from eventbus.errors import BusClosed, EventBusError

SHARE = 3  # of the events per second, one for each process
CLOCK = "clock.bin"
PACE = "pace.txt"


class SetClock(SystemClock):
    """The machine's clock, set by as many seconds as the file says."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        with (folder / CLOCK).open("r+b") as file:
            self._by = mmap.mmap(file.fileno(), 8)

    def time(self) -> float:
        (by,) = struct.unpack_from("d", self._by)
        return time.time() + float(by)


def set_clock(folder: Path, seconds: float) -> None:
    """Put the clocks of all of them forward, or back, from what the machine's says."""
    with (folder / CLOCK).open("r+b" if (folder / CLOCK).exists() else "w+b") as file:
        file.write(struct.pack("d", seconds))


def live(folder: Path, slot: str, number: int) -> None:
    """Work until killed."""
    life = f"{slot}.{number}"
    bus = EventBus(folder / "events.db", durability="process", clock=SetClock(folder))
    declare(bus, folder)
    bus.start()
    rate = float((folder / PACE).read_text()) / SHARE
    threading.Thread(target=_publish, args=(bus, folder, life, rate), daemon=True).start()
    say("up", slot)
    _measure(folder, life)


def _publish(bus: EventBus, folder: Path, life: str, rate: float) -> None:
    """At so many a second: what could not be said in time is said at once."""
    said, stored = Diary(folder / f"said-{life}.txt"), Diary(folder / "stored.txt")
    began = time.monotonic()
    for number in itertools.count():
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        key = f"{life}.{number}"
        said.write(key)
        try:
            receipt = bus.publish(deposited(key), idempotency_key=key)
        except BusClosed:
            return
        except EventBusError as error:
            said.write("trouble", repr(error))
            continue
        stored.write(key, receipt.id, receipt.position, receipt.stream, receipt.sequence)


def _measure(folder: Path, life: str) -> None:
    """Once a second: memory that is in use, in bytes, and descriptors and threads that there are."""
    sizes = Diary(folder / f"sizes-{life}.txt")
    page = os.sysconf("SC_PAGE_SIZE")
    while True:
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * page
        sizes.write(time.monotonic(), resident, len(os.listdir("/proc/self/fd")), threading.active_count())
        time.sleep(1.0)


def troubles(folder: Path) -> list[str]:
    """What publishing raised, in all lives."""
    return [line[1] for path in folder.glob("said-*.txt") for line in lines(path) if line[0] == "trouble"]


if __name__ == "__main__":
    main(Path(sys.argv[1]), live)
