"""A long run at a steady pace, with kills, clocks that are set and backups: what must not grow does not grow.

The first of three processes lives from the beginning to the end, and is what memory and descriptors are measured in.
"""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
from accounts import Log, check_acknowledged, check_diary, check_order, check_projection, check_published
from fleet import Fleet
from soakers import PACE, set_clock, troubles
from workload import Deposited, declare, lines, make_app_tables

from eventbus import EventBus

PROCESSES = 3
LONG_LIVED = "0"  # the slot that is never killed
RATE = 200.0  # events per second
MOST_WAL = 16 << 20  # bytes
MORE_MEMORY = 8 << 20  # bytes that its peak may grow by from the second third of a run to the last one
MORE_DESCRIPTORS = 4
WARM = 0.2  # of a run, in which everything is opened and loaded
FEWEST = 40  # sizes, one a second; in a shorter run each reader that is opened for the first time would be growth
BETWEEN_BACKUPS = 30.0  # seconds
LONGEST = 600.0  # seconds for what the last processes left undone


@attrs.define
class Watch:
    """What is seen from outside while they work."""

    wal: list[int] = attrs.field(factory=list[int])
    jumps: int = 0
    backups: int = 0


def grew(sizes: Sequence[float], most: float) -> str:
    """What is wrong with a series that ought to be flat; "" if nothing is, or it is too short to tell.

    Once it has warmed up, the peak of the second half is compared with that of the first: loading late is no growth.
    """
    settled = sizes[int(len(sizes) * WARM) :] if len(sizes) >= FEWEST else []
    half = len(settled) // 2
    before, after = max(settled[:half], default=0), max(settled[half:], default=0)
    return f"grew from {before:g} to {after:g}" if after > before + most else ""


def work(folder: Path, seconds: float, seed: int, rate: float, watch: Watch) -> dict[str, float]:
    """Have them work so long; returns figures."""
    chance = random.Random(seed)
    (folder / PACE).write_text(str(rate))
    set_clock(folder, 0.0)
    with EventBus(folder / "events.db", durability="process", delivery="manual") as bus:
        make_app_tables(bus)
    began = time.monotonic()
    next_backup = began + BETWEEN_BACKUPS / 10
    with Fleet(folder, PROCESSES, "soakers.py") as fleet:
        while time.monotonic() < began + seconds:
            fleet.wait(chance.uniform(0.5, 1.5))
            watch.wal.append(_size(folder / "events.db-wal"))
            if chance.random() < 0.2:
                slot = chance.randrange(1, PROCESSES)
                fleet.wait_until_up(slot)
                fleet.kill(slot)
            if chance.random() < 0.05:
                set_clock(folder, chance.choice((-3600.0, -30.0, 0.0, 30.0, 3600.0)))
                watch.jumps += 1
            if time.monotonic() > next_backup:
                next_backup = time.monotonic() + BETWEEN_BACKUPS
                watch.backups += back_up(folder)
        fleet.kill(*range(PROCESSES), again=False)
        assert fleet.complaints() == "", fleet.complaints()
        return {"kills": fleet.kills, "clock set": watch.jumps, "backups": watch.backups}


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def back_up(folder: Path) -> int:
    """Back the log up while the others write, and look at the copy; how many were made."""
    if not hasattr(EventBus, "backup"):
        return 0
    copy = folder / "backup.db"
    copy.unlink(missing_ok=True)
    with EventBus(folder / "events.db", durability="process", delivery="manual") as bus:
        before = bus.log.head
        bus.backup(copy)  # type: ignore[attr-defined,unused-ignore]
    with EventBus(copy, durability="process", delivery="manual") as bus:
        events = list(bus.log.read(limit=1, backward=True))
        assert (events[0].position if events else 0) >= before, "the backup lacks what was stored before it"
    return 1


def judge(folder: Path, watch: Watch) -> dict[str, float]:
    """Nothing is lost, doubled or out of order, and nothing has grown; returns figures."""
    with EventBus(folder / "events.db", durability="process") as bus:
        diaries = declare(bus, folder)
        bus.drain(timeout=LONGEST)
        log = Log(bus)
        check_order(log)
        acknowledged = check_acknowledged(log, folder)
        check_published(log)
        check_diary(folder / "plain.txt", log.of(Deposited))
        check_projection(log, bus)
    for diary in diaries:
        diary.close()
    assert troubles(folder) == [], troubles(folder)[:3]
    found = lines(folder / f"sizes-{LONG_LIVED}.0.txt")
    memory, descriptors = ([float(line[column]) for line in found] for column in (1, 2))
    problems = {
        "memory": grew(memory, MORE_MEMORY),
        "descriptors": grew(descriptors, MORE_DESCRIPTORS),
        "the -wal": f"{max(watch.wal)} bytes" if max(watch.wal) > MOST_WAL else "",
    }
    assert not any(problems.values()), problems
    return {
        "events": len(log.all),
        "acknowledged": acknowledged,
        "memory at most, MiB": round(max(memory) / (1 << 20), 1),
        "memory at the end, MiB": round(memory[-1] / (1 << 20), 1),
        "descriptors at most": max(descriptors),
        "-wal at most, KiB": max(watch.wal) >> 10,
    }


def run(seconds: float, seed: int, say: Callable[[str], object], rate: float = RATE) -> dict[str, float]:
    """So many seconds of work, then the verdict; returns figures."""
    watch = Watch()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        figures = work(folder, seconds, seed, rate, watch)
        say("worked; now it is checked")
        return {**figures, **judge(folder, watch)}
