"""Whoever delivers is killed again and again while others stand by: nothing is lost, doubled or out of order."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from workload import Deposited, deposited, lines

from eventbus import EventBus

PROCESSES = 3
KILLS = 30
EACH = 40  # events published before each kill
LONGEST = 60.0

DELIVER = """
import os, sys
from pathlib import Path
from eventbus import Context, EventBus
from workload import Balances, Deposited, Diary

folder = Path(sys.argv[1])
plain_saw = Diary(folder / "plain.txt")
with EventBus(folder / "events.db", durability="process") as bus:

    @bus.subscribe("plain", Deposited, after=0)
    def plain(deposited, ctx):
        plain_saw.write(deposited.account, ctx.envelope.position)

    @bus.subscribe("booked", Deposited, after=0, transactional=True)
    def booked(deposited, ctx):
        row = (ctx.envelope.position, deposited.account)
        ctx.tx.execute("INSERT INTO booked (position, account) VALUES (?, ?)", row)

    bus.project(Balances)
    bus.start()
    print("up", flush=True)
    sys.stdin.readline()
"""


def start(folder: Path) -> subprocess.Popen[str]:
    """One more process that delivers or stands by; returns once it does."""
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", DELIVER, str(folder)],
        cwd=Path(__file__).parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[dict[int, subprocess.Popen[str]]]:
    with EventBus(tmp_path / "events.db", delivery="manual", durability="process") as bus, bus.transaction() as tx:
        tx.execute("CREATE TABLE booked (number INTEGER PRIMARY KEY AUTOINCREMENT, position INTEGER, account INTEGER)")
    crew = {process.pid: process for process in (start(tmp_path) for _ in range(PROCESSES))}
    yield crew
    for process in crew.values():
        with process:
            process.kill()


def until(is_so: Callable[[], bool]) -> None:
    """Return once it is so; it happens in other processes, which nobody but the log tells of."""
    deadline = time.monotonic() + LONGEST
    while not is_so():
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def kill_the_owner(bus: EventBus, crew: dict[int, subprocess.Popen[str]], name: str, folder: Path) -> None:
    """SIGKILL whoever delivers `name`, while it has work; another process starts in its place."""
    members = {f"pid {pid}": pid for pid in crew}
    until(lambda: bus.subscriptions[name].owner in members)
    with crew.pop(members[bus.subscriptions[name].owner or ""]) as process:
        process.kill()
    new = start(folder)
    crew[new.pid] = new


def test_killing_whoever_delivers_loses_doubles_and_reorders_nothing(
    tmp_path: Path, crew: dict[int, subprocess.Popen[str]]
) -> None:
    count = 0
    with EventBus(tmp_path / "events.db", delivery="manual", durability="process") as bus:
        for kill in range(KILLS):
            for _ in range(EACH):
                last, count = bus.publish(deposited(str(count))), count + 1
            kill_the_owner(bus, crew, ("plain", "booked")[kill % 2], tmp_path)
        until(lambda: set(bus.status(last).values()) == {"handled"})
        until(lambda: not any(subscription.counts for subscription in bus.subscriptions.values()))
        events = list(bus.log.read(types=[Deposited]))
        check_transactional(bus, [envelope.position for envelope in events])
        assert sum(row["deposits"] for row in bus.query("SELECT deposits FROM balances")) == len(events) == count
        for name in ("plain", "booked"):
            assert bus.subscriptions[name].row.handled == count
            assert bus.subscriptions[name].counts == {}
    check_plain(tmp_path, {envelope.position for envelope in events})


def check_transactional(bus: EventBus, positions: list[int]) -> None:
    """Each once, and those of one account in their order."""
    rows = bus.query("SELECT position, account FROM booked ORDER BY number")
    assert Counter(row["position"] for row in rows) == Counter(positions)
    for account in {row["account"] for row in rows}:
        mine = [row["position"] for row in rows if row["account"] == account]
        assert mine == sorted(mine)


def check_plain(folder: Path, positions: set[int]) -> None:
    """Each at least once; those of one account for the first time in their order."""
    seen = [(int(account), int(position)) for account, position, _ in lines(folder / "plain.txt")]
    assert {position for _, position in seen} == positions
    for account in {account for account, _ in seen}:
        first = list(dict.fromkeys(position for each, position in seen if each == account))
        assert first == sorted(first)
