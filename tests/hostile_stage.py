"""What a hostile file does to the program and the library, found out in a process of its own.

    python tests/hostile_stage.py FOLDER

runs commands, and a bus, on each file of a folder, and prints one JSON line for each that did what it must not, and
one for each file with what took longest, in seconds. With --fully after it, every command there is that only looks.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import traceback
import unicodedata
from contextlib import closing
from pathlib import Path
from typing import Any

from cli_stage import LOOKING, Ran, contents, on, run
from delivery_stage import Counted
from fixture_stage import Shop

from eventbus import EventBus, EventBusError
from eventbus.testing import FakeClock

SECONDS = 120  # for all files of a folder together; one that hangs fails here
BRIEFLY = (
    ["log", "FILE", "--stream", "order-1"],
    ["log", "FILE", "--json"],
    ["tail", "FILE", "-n", "1"],
    ["show", "FILE", "1"],
    ["show", "FILE", "019b76da-a800-7000-8000-000700000002", "--json"],
    ["subscriptions", "FILE"],
    ["dead", "list", "FILE", "--text", "no"],
    ["dead", "show", "FILE", "1"],
    ["dead", "retry", "FILE", "1", "--dry-run"],
    ["rewind", "FILE", "mail", "--after", "0", "--dry-run"],
    ["projections", "list", "FILE"],
    ["inbox", "FILE"],
    ["schedules", "FILE"],
    ["doctor", "FILE"],
)
FULLY = (
    *LOOKING,
    *BRIEFLY,
    ["log", "FILE", "--type", "*", "--since", "2000-01-01"],
    ["dead", "discard", "FILE", "1", "--dry-run"],
    ["inbox", "FILE", "--gaps"],
    ["doctor", "FILE", "--quick"],
)
WITH_JSON = [[*command, "--json"] for command in FULLY if "--json" not in command]
MAKING = (["salvage", "FILE", "NEW"], ["backup", "FILE", "NEW"])


def complaints(folder: Path, *, fully: bool = False) -> list[dict[str, Any]]:
    """What is wrong with what became of the files of a folder; `fully`: with every command."""
    return [line for line in report(folder, fully=fully) if "what" in line]


def report(folder: Path, *, fully: bool = False) -> list[dict[str, Any]]:
    """What a child process says of each file of a folder."""
    done = subprocess.run(
        [sys.executable, __file__, str(folder), *["--fully"] * fully],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (Path(__file__).parents[1], Path(__file__).parent)))},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def looked_at(file: Path, room: Path, took: dict[str, float]) -> list[str]:
    """Run every command that only looks, or writes elsewhere; `took` is told the seconds of each."""
    found: list[str] = []
    before = contents(file.parent)
    for command in ((*FULLY, *WITH_JSON) if "--fully" in sys.argv else BRIEFLY) + MAKING:
        new = room / "new.db"
        arguments = [str(new) if word == "NEW" else word for word in on(file, command)]
        began = time.monotonic()
        found += [f"{' '.join(command)}: {what}" for what in wrong(arguments)]
        took[" ".join(command)] = time.monotonic() - began
        new.unlink(missing_ok=True)
        if contents(file.parent) != before:
            found.append(f"{' '.join(command)}: it wrote")
            before = contents(file.parent)
    left = [path.name for path in room.iterdir()]
    return found + ([f"left behind: {left}"] if left else [])


def wrong(arguments: list[str]) -> list[str]:
    """What is wrong with how a command ended and what it said."""
    try:
        ran = run(*arguments)
    except BaseException:
        return [traceback.format_exc()]
    return [f"exit code {ran.code}"] * (ran.code not in (0, 1, 2)) + said(ran)


def said(ran: Ran) -> list[str]:
    """What must not be printed: bytes that control a terminal, or reorder what it shows, and tracebacks."""
    text = ran.out + ran.err
    control = {char for char in text if char != "\n" and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    found = [f"printed {sorted(map(ascii, control))}"] if control else []
    return found + (["printed a traceback"] if "Traceback (most recent call last)" in ran.err else [])


def used(file: Path) -> list[str]:
    """Open a bus on a copy and use it; only our own errors may come of it."""
    try:
        with closing(EventBus(file, clock=FakeClock(seed=99), delivery="manual", source="shop")) as bus:
            Shop(fails=False).declare(bus)
            for act in (
                lambda: bus.log.head,
                lambda: [(envelope.payload, envelope.type, envelope.source) for envelope in bus.log.read()],
                lambda: [bus.subscriptions[name].counts for name in bus.subscriptions],
                lambda: bus.dead_letters.list(),
                lambda: bus.schedules.list(),
                lambda: bus.inbox.list(gaps=True),
                lambda: bus.publish(Counted(1), stream="shelf", idempotency_key="k"),
                lambda: bus.drain(),
                lambda: bus.status(1),
            ):
                allow(act)
    except EventBusError:
        return []
    except Exception:
        return [traceback.format_exc()]
    return []


def allow(act: Any) -> None:
    """Our own errors are answers."""
    try:
        act()
    except EventBusError:
        return


def tried(file: Path, folder: Path, took: dict[str, float]) -> list[str]:
    """All that is wrong with what happens to one file, of which copies are used."""
    room, alone = folder / "room", folder / "alone"
    room.mkdir()
    alone.mkdir()
    copy = alone / "shop.db"
    for end in ("", "-wal", "-shm"):
        if Path(f"{file}{end}").exists():
            shutil.copy(f"{file}{end}", f"{copy}{end}")
    found = looked_at(copy, room, took)
    began = time.monotonic()
    found += [f"bus: {what}" for what in used(copy)]
    took["a bus"] = time.monotonic() - began
    shutil.rmtree(room)
    shutil.rmtree(alone)
    return found


def main(folder: Path) -> None:
    for file in sorted(folder.glob("*.db")):
        took: dict[str, float] = {}
        lines: list[dict[str, Any]] = [{"what": what} for what in tried(file, folder, took)]
        slowest = max(took, key=lambda each: took[each])
        for line in (*lines, {"slowest": slowest, "seconds": took[slowest]}):
            sys.stdout.write(json.dumps({"file": file.name, **line}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
