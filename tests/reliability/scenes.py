"""What a log goes through, short enough to be done again and again with a fault at each of its system calls.

    python scenes.py [FAULT]

has everything loaded and makes a process for each line of standard input: `play SCENE FOLDER` plays a scene once the
next line has come, `inspect FOLDER` opens what was left, and `deliver FOLDER`
has what is due there delivered as well. Standard output says which process it is, and how it ended.
The log is FOLDER/events.db, and FOLDER/told.txt says what was told of it. FAULT is for scenes only; see hasty.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import sqlite3
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hasty import patch_in
from inspection import Inspection
from telling import TOLD, Told, World
from workload import Ordered, declare, deposited, make_app_tables, vial

from eventbus import EventBus
from eventbus.errors import EventBusError

_ANYBODY = ctypes.c_ulong(-1)
_PR_SET_PTRACER = 0x59616D61
ATTEMPTS = 2
COPY = "copy.db"
INSERT = "INSERT INTO orders (key, id) VALUES (?, ?)"
VERSION_1 = Path(__file__).resolve().parent.parent / "logs" / "version-1.sql"


class Stage:
    """A folder with a log, and what is told of it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.told = folder, Told(folder)

    def bus(self) -> EventBus:
        """A bus whose commits are synced, on this thread as far as possible."""
        return EventBus(self.folder / "events.db", delivery="manual")

    def attempt(self, *keys: str, by: Callable[[], Any]) -> None:
        """Publish, tell what is acknowledged, and believe an error that says nothing is stored."""
        for key in keys:
            self.told.say(key)
        try:
            done = by()
        except EventBusError as error:
            for key in keys if error.stored == "not stored" else ():
                self.told.refuse(key)
            return
        for each in done if isinstance(done, list) else [done]:
            (self.told.tell_of if isinstance(each, str) else self.told.tell)(each)

    def one(self, bus: EventBus, key: str) -> None:
        """Publish one event."""
        self.attempt(key, by=lambda: bus.publish(deposited(key), idempotency_key=key))

    def many(self, bus: EventBus, key: str) -> None:
        """Publish five at once."""
        keys = [f"{key}/{number}" for number in range(5)]
        events = [deposited(each) for each in keys]
        self.attempt(*keys, by=lambda: bus.publish_many(events, idempotency_keys=keys))

    def order(self, bus: EventBus, key: str) -> None:
        """Publish an event with a row."""

        def order() -> str:
            with bus.transaction() as tx:
                id_ = tx.publish(Ordered(key))
                tx.execute(INSERT, (key, id_))
            return id_

        self.attempt(key, by=order)

    def later(self, bus: EventBus, key: str) -> None:
        """Publish on a loop, where the writer's thread commits."""
        self.attempt(key, by=lambda: asyncio.run(bus.publish_async(deposited(key), idempotency_key=key)))


# --- what lies there before ----------------------------------------------------------------------------------


def nothing(stage: Stage) -> None:
    """No file yet."""


def a_log(stage: Stage) -> None:
    """A log with tables of the app's own and one event."""
    with stage.bus() as bus:
        make_app_tables(bus)
        stage.one(bus, "0.before.1")


def events_to_handle(stage: Stage) -> None:
    """Subscriptions that have not seen some events."""
    with stage.bus() as bus:
        make_app_tables(bus)
        for diary in declare(bus, stage.folder, attempts=ATTEMPTS):
            diary.close()
        stage.many(bus, "0.before.1")
        stage.order(bus, "0.order.2")


def a_vial_to_handle(stage: Stage) -> None:
    """The same with a poison."""
    with stage.bus() as bus:
        make_app_tables(bus)
        for diary in declare(bus, stage.folder, attempts=ATTEMPTS):
            diary.close()
        stage.attempt("0.vial.1", by=lambda: bus.publish_many(vial("0.vial.1")))


def a_log_of_version_1(stage: Stage) -> None:
    """As an earlier release has left it."""
    with contextlib.closing(sqlite3.connect(stage.folder / "events.db")) as connection:
        connection.executescript(VERSION_1.read_text("utf-8"))
        for position, id_ in connection.execute("SELECT position, id FROM eventbus_events").fetchall():
            stage.told.find(position, id_)


# --- the scenes ----------------------------------------------------------------------------------------------


def create(stage: Stage) -> None:
    """Make a log and publish the first event."""
    with stage.bus() as bus:
        stage.one(bus, "1.one.1")


def publish(stage: Stage) -> None:
    """Publish in several forms."""
    with stage.bus() as bus:
        stage.one(bus, "1.one.1")
        stage.order(bus, "1.order.2")
        stage.later(bus, "1.task.3")
        stage.many(bus, "1.many.4")


def handle(stage: Stage) -> None:
    """Handle what is there, with handlers of each kind and a projection."""
    with stage.bus() as bus:
        diaries = declare(bus, stage.folder, attempts=ATTEMPTS)
        bus.drain()
        for diary in diaries:
            diary.close()


def checkpoint(stage: Stage) -> None:
    """Publish, bring the -wal into the file, begin it anew, and close."""
    with stage.bus() as bus:
        for number in range(3):
            stage.one(bus, f"1.one.{number}")
            bus._attachment.engine().storage.rest()


def backup(stage: Stage) -> None:
    """Publish, back up, publish."""
    with stage.bus() as bus:
        stage.one(bus, "1.one.1")
        with contextlib.suppress(EventBusError):
            bus.backup(stage.folder / COPY)
            stage.told.copy()
        stage.one(bus, "1.one.2")


Scene = Callable[[Stage], None]
SCENES: dict[str, tuple[Scene, Scene]] = {
    "create": (nothing, create),
    "publish": (a_log, publish),
    "handle": (events_to_handle, handle),
    "park": (a_vial_to_handle, handle),
    "checkpoint": (a_log, checkpoint),
    "migrate": (a_log_of_version_1, create),
    "backup": (a_log, backup),
}


def play(scene: str, folder: Path) -> None:
    """From start to end, or to what the bus says is wrong."""
    with contextlib.suppress(EventBusError):
        stage = Stage(folder)
        patch_in(sys.argv[1] if len(sys.argv) > 1 else "", stage.told)
        SCENES[scene][1](stage)


def inspect(folder: Path, *, deep: bool) -> None:
    """AssertionError if anything is wrong with what was left."""
    world = World()
    for line in (folder / TOLD).read_text("utf-8").splitlines():
        world.hear(line)
    Inspection(folder, world).run(durable=True, deep=deep)
    assert (folder / COPY).exists() or not world.copied, "a backup is gone"
    if (folder / COPY).exists():
        copied, log = (_read(folder / name) for name in (COPY, "events.db"))
        assert copied == log[: len(copied)] != [], "a backup is not how the log began"


def _read(path: Path) -> list[tuple[int, str]]:
    with EventBus(path, delivery="manual") as bus:
        return [(envelope.position, envelope.id) for envelope in bus.log.read()]


def _in_a_child(wait_for: Callable[[], object], work: Callable[[], None]) -> None:
    process = os.fork()
    if process == 0:
        ctypes.CDLL(None).prctl(_PR_SET_PTRACER, _ANYBODY, 0, 0, 0)  # strace is no ancestor of this process
        wait_for()
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    print(process, flush=True)
    _, status = os.waitpid(process, 0)
    print(os.waitstatus_to_exitcode(status), flush=True)


def main() -> None:
    """Do what standard input says."""
    logging.getLogger("eventbus").setLevel(logging.CRITICAL)
    while words := os.read(0, 4096).decode().split():
        match words:
            case ["prepare", scene, folder]:
                _in_a_child(lambda: None, lambda s=scene, f=folder: SCENES[s][0](Stage(Path(f))))  # type: ignore[misc]
            case ["play", scene, folder]:
                _in_a_child(lambda: os.read(0, 4096), lambda s=scene, f=folder: play(s, Path(f)))  # type: ignore[misc]
            case [("inspect" | "deliver") as how, folder]:
                deep = how == "deliver"
                _in_a_child(lambda: None, lambda f=folder, d=deep: inspect(Path(f), deep=d))  # type: ignore[misc]


if __name__ == "__main__":
    main()
    sys.exit()
