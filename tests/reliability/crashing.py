"""Short lives of a bus, each in a process of its own: `python crashing.py LIFE FOLDER [ARGUMENT]`.

Handlers note in a diary which event they are about to handle, in which attempt.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from workload import AGAIN, Diary, lines

from eventbus import Context, EventBus, Projection, Retry, Table, Transaction, event, handles

ATTEMPTS = 2
LONGEST = 60.0


@event(name="Bomb", stream="bomb-{shelf}")
class Bomb:
    """Its handler does not survive the live ones."""

    number: int
    shelf: int
    live: bool = False


def die() -> None:
    """SIGKILL, as from outside."""
    os.kill(os.getpid(), signal.SIGKILL)


class Shelves(Projection):
    """Handled in the order of the whole log."""

    shelves = Table("number INTEGER PRIMARY KEY, shelf INTEGER NOT NULL")
    diary: Diary

    @handles(Bomb)
    def put(self, e: Bomb, tx: Transaction) -> None:
        """Write it down, or die."""
        self.diary.write(e.number)
        tx.execute(f"INSERT INTO {self.shelves} VALUES (?, ?)", (e.number, e.shelf))
        if e.live:
            die()


def declare(bus: EventBus, folder: Path, kind: str) -> None:
    """One subscription of a kind, called "defuser"."""
    diary = Diary(folder / "defused.txt")
    retry = Retry(attempts=ATTEMPTS, backoff=AGAIN)

    def defuse(e: Bomb, ctx: Context) -> None:
        diary.write(e.number, ctx.attempt)
        if e.live:
            die()

    async def defuse_later(e: Bomb, ctx: Context) -> None:
        defuse(e, ctx)

    if kind == "projection":
        Shelves.diary = diary
        bus.project(Shelves)
    elif kind == "async":
        bus.subscribe("defuser", Bomb, after=0, retry=retry, handler=defuse_later)
    else:
        order_by = "log" if kind == "log" else "stream"
        transactional = kind == "transactional"
        bus.subscribe(
            "defuser", Bomb, after=0, retry=retry, order_by=order_by, transactional=transactional, handler=defuse
        )


def publish(folder: Path, number: str) -> None:
    """Store one event and end in order."""
    with EventBus(folder / "events.db", delivery="manual") as bus:
        bus.publish(Bomb(int(number), 0))


def work(folder: Path, kind: str) -> None:
    """Handle all there is and end in order."""
    with EventBus(folder / "events.db") as bus:
        declare(bus, folder, kind)
        bus.drain(timeout=LONGEST)


def drain(folder: Path, kind: str) -> None:
    """The same on the main thread."""
    with EventBus(folder / "events.db", delivery="manual") as bus:
        declare(bus, folder, kind)
        bus.drain(timeout=LONGEST)


def die_idle(folder: Path, kind: str) -> None:
    """Handle all there is, and be killed when nothing goes on."""
    with EventBus(folder / "events.db") as bus:
        declare(bus, folder, kind)
        bus.drain(timeout=LONGEST)
        die()


def exit_at_once(folder: Path, kind: str) -> None:
    """End without closing, in the middle of the work: the interpreter's exit closes the bus."""
    bus = EventBus(folder / "events.db")
    declare(bus, folder, kind)
    bus.start()


def submit_and_leave(folder: Path, count: str) -> None:
    """Hand over events, on a bus that has not opened its log yet, and end without closing."""
    bus = EventBus(folder / "events.db")
    for number in range(int(count)):
        bus.submit(Bomb(number, number))


def live(life: str, folder: Path, argument: str) -> int:
    """Run one of these lives; returns how it ended."""
    done = subprocess.run(
        [sys.executable, __file__, life, str(folder), argument], capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


def defused(folder: Path) -> list[tuple[int, ...]]:
    """What the handlers noted: the number of the event, and the attempt."""
    return [tuple(int(field) for field in fields[:-1]) for fields in lines(folder / "defused.txt")]


LIVES = (publish, work, drain, die_idle, exit_at_once, submit_and_leave)

if __name__ == "__main__":
    {each.__name__: each for each in LIVES}[sys.argv[1]](Path(sys.argv[2]), sys.argv[3])
