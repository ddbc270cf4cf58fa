"""The processes of the storm: each publishes and delivers everything until it is killed.

    python lives.py FOLDER

has everything loaded and makes the processes: `live SLOT LIFE` on standard input begins one, `bury PID` waits until it
has ended. Standard output says `born SLOT PID`, `up SLOT` (by the new process), and `buried PID CODE`.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from clerks import Clerks, unanswered
from kinds import Declared
from workload import rebuild

from eventbus import EventBus

REBUILDS = 0.05  # of all lives begin with a rebuild of the projection
POWER = 0.1  # of all lives sync each commit


def say(*words: object) -> None:
    """One line on standard output, whole: the processes share it."""
    os.write(sys.stdout.fileno(), (" ".join(map(str, words)) + "\n").encode())


def live(folder: Path, slot: str, number: int) -> None:
    """Publish and deliver until killed, or until SIGTERM, which closes."""
    closing = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: closing.set())
    life = f"{slot}.{number}"
    again = unanswered(folder, slot, number)
    chance = random.Random(life)
    # All open it with equal settings but this one, which is each process's own.
    bus = EventBus(folder / "events.db", durability="power" if chance.random() < POWER else "process")
    Declared(bus, folder, life)
    bus.start()
    Clerks(bus, folder, life).start(again)
    say("up", slot)
    if chance.random() < REBUILDS:
        threading.Thread(target=rebuild, args=(bus,), daemon=True).start()
    while not closing.wait(0.2):  # CPython may miss a signal that comes just before the main thread waits
        pass
    bus.close()
    sys.exit()


def main(folder: Path, live: Callable[[Path, str, int], object] = live) -> None:
    """Do what standard input says; at its end, whoever is left is killed."""
    logging.getLogger("eventbus.delivery").disabled = True  # handlers fail on purpose; nothing else may complain
    processes: set[int] = set()
    for line in sys.stdin:
        match line.split():
            case ["live", slot, number]:
                process = os.fork()
                if process == 0:
                    live(folder, slot, int(number))
                processes.add(process)
                say("born", slot, process)
            case ["bury", dead]:
                _, status = os.waitpid(int(dead), 0)
                processes.remove(int(dead))
                say("buried", dead, os.waitstatus_to_exitcode(status))
    for process in processes:
        os.kill(process, signal.SIGKILL)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
