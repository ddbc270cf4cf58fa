"""Kills one process after the other with SIGKILL on a schedule that its seed repeats, then judges what is left.

python tests/reliability/killing.py --kills 200 [--seed SEED] [--folder FOLDER] [--json]
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import accounts
from asked import rage_as_asked
from workload import Deposited, Spilled, declare, lines, make_app_tables

from eventbus import EventBus

HERE = Path(__file__).parent
LONGEST = 600.0  # seconds for what the last process left undone


class Victims:
    """One process after the other: each lives until it is killed."""

    def __init__(self, folder: Path) -> None:
        self._trouble = folder / "stderr.txt"
        with self._trouble.open("wb") as trouble:
            self._nursery = subprocess.Popen(
                [sys.executable, "-W", "error", str(HERE / "victim.py"), str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=trouble,
                bufsize=0,
            )

    def __enter__(self) -> Victims:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._nursery:
            self._nursery.kill()

    def live(self, cycle: int, again: list[str]) -> int:
        """Let the next one open the log; returns its number for the system."""
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(" ".join([str(cycle), *again, "\n"]).encode())
        return int(self._read())

    def wait_until_up(self) -> None:
        """Return once it publishes and delivers."""
        assert self._read() == "up", self._trouble.read_text("utf-8")

    def kill_after(self, process: int, seconds: float) -> None:
        """Let it live that long, or until it says something; ending by itself is an error of its own."""
        select.select([self._nursery.stdout], [], [], seconds)
        os.kill(process, signal.SIGKILL)
        said = self._read()
        while said == "up":  # it was killed while that was on its way
            said = self._read()
        assert said == f"ended {-signal.SIGKILL}", f"{said}: {self._trouble.read_text('utf-8')}"

    def _read(self) -> str:
        assert self._nursery.stdout is not None
        return self._nursery.stdout.readline().decode().strip()


class Schedule:
    """When each process dies: mostly 20 to 300 ms after it is up, one in ten while it opens the log."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)

    def next(self) -> tuple[bool, float]:
        """Whether to wait until it is up, and how many seconds it lives from then on."""
        opening = self._chance.random() < 0.1
        return not opening, self._chance.uniform(0.0, 0.06) if opening else self._chance.uniform(0.02, 0.3)


class Unanswered:
    """The keys that were said and never acknowledged: whether they are stored nobody knows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self) -> list[str]:
        """All of them, as of now."""
        stored = {line[0] for line in lines(self._folder / "stored.txt")}
        return [line[0] for line in lines(self._folder / "said.txt") if line[0] not in stored]


def kill_again_and_again(folder: Path, kills: int, seed: int) -> None:
    """Every process but the first finds what the one before it left behind."""
    schedule, unanswered = Schedule(seed), Unanswered(folder)
    with Victims(folder) as victims:
        for cycle in range(kills):
            process = victims.live(cycle, unanswered())
            until_up, seconds = schedule.next()
            if until_up:
                victims.wait_until_up()
            victims.kill_after(process, seconds)


def judge(folder: Path) -> dict[str, int]:
    """AssertionError unless, once all is delivered, nothing is lost, doubled or out of order; returns figures."""
    assert (folder / "stderr.txt").read_text("utf-8") == ""
    with EventBus(folder / "events.db", durability="process") as bus:
        make_app_tables(bus)
        diaries = declare(bus, folder)
        bus.drain(timeout=LONGEST)
        log = accounts.Log(bus)
        accounts.check_order(log)
        acknowledged = accounts.check_acknowledged(log, folder)
        accounts.check_all_or_nothing(log, bus)
        accounts.check_transactional(log, bus)
        accounts.check_published(log)
        accounts.check_diary(folder / "plain.txt", log.of(Deposited))
        accounts.check_diary(folder / "async.txt", log.of(Deposited))
        accounts.check_diary(folder / "poisoned.txt", [e for e in log.of(Spilled) if e.event.number < 3])
        accounts.check_projection(log, bus)
        accounts.check_accounted(log, bus)
        for diary in diaries:
            diary.close()
    return {"events": len(log.all), "acknowledged": acknowledged}


def kill_and_judge(folder: Path, kills: int, seed: int) -> dict[str, int]:
    """All of it; AssertionError if anything that is promised does not hold. Returns figures."""
    kill_again_and_again(folder, kills, seed)
    return {"kills": kills, **judge(folder)}


if __name__ == "__main__":
    rage_as_asked(__doc__, kill_and_judge)
