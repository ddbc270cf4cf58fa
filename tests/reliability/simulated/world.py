"""A world of several processes on one log, in which one seed decides all that happens, and when.

One thread, one stack: where something of one process goes on while another is in the middle of a handler, or waits
for a lock, that happens on top of it, and ends before it goes on.
"""

from __future__ import annotations

import contextvars
import hashlib
import math
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from simulated.clock import NO_MACHINE, SimulatedClock, Time
from simulated.faults import Died, connections_of
from simulated.judge import Judge
from simulated.kinds import KINDS, Kind
from simulated.process import Process
from simulated.publisher import Publisher

from eventbus import EventBus, clock, delivery
from eventbus.store import company, disk, opening, trouble
from eventbus.store.outage import EVERY
from eventbus.testing import FakeClock

DEEPEST = 2
MOST_SECONDS = 120.0  # of virtual time in which everything that is due is done once nothing fails any more
MOST_TURNS = 5_000
MOST_LIVES = 100  # meanwhile: each event that kills a process does so a few times for each subscription


class World:
    """The processes, their time, and who looks after them; `trace` says what happened."""

    def __init__(self, folder: Path, seed: int, template: Path) -> None:
        self.chance = random.Random(seed)
        self.time = Time()
        self._digest = hashlib.blake2b(digest_size=16)
        self.trace: list[str] = []
        self._folder, self._copies, self._lives = folder, 0, 0
        self.path = folder / "log0.db"
        shutil.copy(template, self.path)
        names = self.chance.sample([*KINDS], self.chance.randint(1, 4))
        self.kinds = [KINDS[name] for name in names]
        self.current: Process | None = None
        self.depth = 0
        self.clock_set_at = -math.inf
        self.calm = self.mended = self.outage = False
        self.processes: list[Process] = []
        self.publisher = Publisher(self)
        self.keeper = self._keep()
        self.judge = Judge(self.keeper, self.kinds)
        self.counts: dict[str, int] = {}
        self.broken: AssertionError | None = None  # kept: a handler that raises it has only failed, for the bus

    def _keep(self) -> sqlite3.Connection:
        """A connection of nobody's: while it is open no other one is the last to close, and moves the WAL."""
        keeper = sqlite3.connect(self.path, isolation_level=None)
        keeper.execute("PRAGMA wal_autocheckpoint = 0")
        keeper.execute("SELECT count(*) FROM eventbus_events").fetchone()
        return keeper

    def say(self, *words: object) -> None:
        """Note what happens, for whoever compares two runs."""
        line = f"{self.time.now:.4f} {self.depth} " + " ".join(map(str, words))
        self.trace.append(line)
        self._digest.update(line.encode())

    def digest(self) -> str:
        """The same for two runs in which the same happened."""
        return self._digest.hexdigest()

    def count(self, what: str) -> None:
        """For the figures."""
        self.counts[what] = self.counts.get(what, 0) + 1

    # -- processes ---------------------------------------------------------------------------------
    def begin(self) -> Process | None:
        """One more process joins; None if it dies at that."""
        self._lives += 1
        process = Process(self, self._lives, self.path)
        self.say("begin", process.number)
        if not self.calm and self.chance.random() < 0.1:
            process.faults.fuse = self.chance.randint(1, 60)
        self.processes.append(process)
        self.within(process, lambda: process.open(self.kinds))
        return process if process.alive else None

    def within(self, process: Process, do: Callable[[], Any]) -> Any:
        """Have a process do something, on a stack of its own as far as it can tell; "died" if it does."""
        before, self.current = self.current, process
        process.running += 1
        try:
            return contextvars.Context().run(do)
        except BaseException as error:  # what the dead say on their way out means nothing
            if process.alive or isinstance(error, AssertionError | KeyboardInterrupt):
                raise
            return "died"
        finally:
            process.running -= 1
            self.current = before

    def died(self, process: Process) -> None:
        """A process has ended: the others hear of that, or look a little later."""
        self.say("ended", process.number)
        self.processes.remove(process)
        self.wake(process)

    def kill(self, process: Process) -> None:
        """SIGKILL."""
        self.count("kills")
        process.die()

    def move_house(self) -> None:
        """All die at once, and what they leave is opened by those who come after: recovery from the -wal."""
        for process in list(self.processes):
            self.kill(process)
        self.judge.look()
        self._copies += 1
        new = self._folder / f"log{self._copies}.db"
        for suffix in ("", "-wal"):
            if Path(f"{self.path}{suffix}").exists():
                shutil.copy(f"{self.path}{suffix}", f"{new}{suffix}")
        self.keeper.close()
        self.path = new
        self.keeper = self._keep()
        self.judge.goes_on(self.keeper)

    def wake(self, waker: Process) -> None:
        """A datagram to each of the others, some of which are lost."""
        for process in self.processes:
            if process is not waker and hasattr(process, "pump"):
                if not self.calm and self.chance.random() < 0.2:
                    self.count("wake-ups lost")
                    continue
                process.pump.bell.ring()

    def steal(self, kind: Kind, *, quietly: bool) -> None:
        """Another process has the lease, though its owner did not give it up; or did, and died of it, `quietly`."""
        self.count("leases stolen")
        if quietly:
            self.keeper.execute("UPDATE eventbus_subscriptions SET epoch = epoch + 1 WHERE name = ?", (kind.name,))
            return
        from eventbus.store.lockfile import _lock_files

        (row_id,) = self.keeper.execute(
            "SELECT id FROM eventbus_subscriptions WHERE name = ?", (kind.name,)
        ).fetchone() or (0,)
        for file in _lock_files.values():
            file.holders.pop(row_id, None)

    # -- where others may come in between ----------------------------------------------------------
    def sleep(self, process: Process, seconds: float) -> None:
        """A process waits for a lock."""
        self.others(process, 0.5)
        is_held = any(each.in_transaction for each in self.processes if each is not process)
        slow = is_held or process.faults.busy > 5  # whoever waits at most so long may also wake later
        self.time.pass_by(max(seconds, self.chance.choice((1.0, 2.5, 5.0)) if slow else 0.0))
        self.go_on(process)

    def before_writing(self, process: Process) -> None:
        """A process has read, and is about to begin to write."""
        self.others(process, 0.05)
        self.go_on(process)

    def while_writing(self, process: Process) -> None:
        """A process is in the middle of a write transaction of its own: the others find the log locked."""
        before, process.in_transaction = process.in_transaction, True
        try:
            self.others(process, 0.003)
        finally:
            process.in_transaction = before
        self.go_on(process)

    def breaks(self, what: str) -> None:
        """Something happened that never may."""
        self.broken = self.broken or AssertionError(what)

    def others(self, process: Process, likely: float) -> None:
        """Something may happen before this process goes on."""
        from simulated.actions import act

        if self.calm or self.depth >= DEEPEST or self.chance.random() >= likely:
            return
        self.depth += 1
        try:
            for _ in range(self.chance.randint(1, 4)):
                act(self)
        finally:
            self.depth -= 1

    def go_on(self, process: Process) -> None:
        """A process whose turn it is again, if it is still alive."""
        if not process.alive:
            raise Died

    def met(self, process: Process, fault: str) -> None:
        """A process has met a fault."""
        self.count(fault)
        self.say(process.number, fault)

    def stage(self, process: Process) -> Stage:
        """Where the handlers of a process play."""
        return Stage(self, process)

    # -- the end -----------------------------------------------------------------------------------
    def settle(self) -> None:
        """Nothing fails from outside any more: what is due gets done, then a person retries what is dead."""
        self.calm, self.outage = True, False
        for process in self.processes:
            process.faults.clear()
        self.time.pass_by(EVERY)  # where commits failed again and again, the next is tried after that
        self.publisher.say_again(self.somebody())
        self._resume()
        self._until_settled()
        self.mended = True
        for _ in range(100):
            if not any("dead" in stand.rows.values() for stand in self.judge.stands.values()):
                break
            person = self.somebody()
            self.within(person, lambda bus=person.bus: bus.dead_letters.retry())
            self._resume()
            self._until_settled()
        self.judge.finish()
        self.publisher.check()

    def somebody(self) -> Process:
        """A process that lives, the next one if there is none."""
        while not self.processes:
            self.begin()
        return self.processes[0]

    def _resume(self) -> None:
        self.judge.look()
        for name, stand in self.judge.stands.items():
            if stand.paused:
                person = self.somebody()
                self.within(person, person.bus.subscriptions[name].resume)

    def _until_settled(self) -> None:
        from simulated.actions import go_on

        end, last_life = self.time.now + MOST_SECONDS, self._lives + MOST_LIVES
        self.judge.look()
        changed = True
        for _ in range(MOST_TURNS):
            if changed and not self.judge.unsettled():
                return
            assert self.time.now < end, f"stuck: {self.judge.unsettled()}"
            assert self._lives < last_life, f"processes die without an end: {self.judge.unsettled()}"
            go_on(self)
            changed = self.judge.look()
        raise AssertionError(f"busy without an end: {self.judge.unsettled()}")

    def close(self) -> None:
        """End all that is left, without a word."""
        for process in list(self.processes):
            process.die()
        self.keeper.close()


class Stage:
    """What the handlers of one process ask and tell; see `kinds.Stage`."""

    def __init__(self, world: World, process: Process) -> None:
        self._world, self._process = world, process

    def enters(self, kind: Kind, positions: list[int]) -> None:
        self._world.go_on(self._process)
        self._world.say(self._process.number, kind.name, "handles", *positions)
        try:
            self._world.judge.begins(kind, positions)
        except AssertionError as error:
            self._world.broken = self._world.broken or error

    def acts(self, kind: Kind) -> None:
        world, process = self._world, self._process
        if world.calm:
            return
        before, process.in_transaction = process.in_transaction, kind.transactional or process.in_transaction
        try:
            if kind.hangs and world.chance.random() < 0.15:
                world.count("hangs")
                world.time.pass_by(world.chance.choice((2.0, 3.5, 5.0)))
                world.others(process, 1.0)
            else:
                world.others(process, 0.1)
        finally:
            process.in_transaction = before
        world.go_on(process)

    def is_broken(self, kind: Kind) -> bool:
        return self._world.outage and kind.name in ("guarded", "elsewhere")

    def is_mended(self) -> bool:
        return self._world.mended

    def kills(self) -> None:
        self._world.count("handlers that kill")
        self._process.die()
        raise Died

    def leaves(self, kind: Kind, positions: list[int]) -> None:
        self._world.go_on(self._process)
        self._world.judge.completes(kind, positions)


@contextmanager
def one_world(folder: Path, seed: int, template: Path) -> Iterator[World]:
    """A world in which nothing depends on the machine."""
    world = World(folder, seed, template)
    with ExitStack() as steps:
        for module, name, instead in _THE_MACHINE:
            steps.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, instead)
        steps.enter_context(connections_of(lambda: world.current))
        steps.callback(world.close)
        yield world


# Time, and who else has the file open: what a bus asks the machine for is answered alike each time.
_THE_MACHINE = (
    (clock, "time", NO_MACHINE),
    (company.Company, "is_there", lambda company: True),
    (trouble, "who_writes", lambda path: "another process"),
    (disk, "no_room", lambda path: None),
    (disk, "probe", lambda path: None),
    (opening, "network_type", lambda path: None),
    (delivery, "tracebacks", SimpleNamespace(format_exception=lambda error, limit: [repr(error)])),
)


def make_template(folder: Path) -> Path:
    """An empty log with the app's own table, from which each world begins."""
    path = folder / "template.db"
    bus = EventBus(path, clock=FakeClock(), delivery="manual", durability="process", source="simulated")
    with bus, bus.transaction() as tx:
        tx.execute("CREATE TABLE effects (number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT, position INTEGER)")
        tx.execute("CREATE TABLE orders (key TEXT, id TEXT)")
    return path


__all__ = ["SimulatedClock", "World", "make_template", "one_world"]
