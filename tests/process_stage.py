"""What the tests with several processes share: children that speak in lines, and a clock that only others move."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

from delivery_stage import Counted

from eventbus import EventBus
from eventbus.clock import Bell, SystemClock

LONGEST = 60.0

HEAD = """
import sys
from delivery_stage import Counted
from eventbus import EventBus

def say(*words):
    print(*words, flush=True)

path = sys.argv[1]
"""
DELIVER = (
    HEAD
    + """
with EventBus(path) as bus:
    bus.subscribe("count", Counted, after=0)(lambda counted: say(counted.number))
    bus.drain()
    say("up")
    sys.stdin.readline()
"""
)


class Child:
    """Another process, which runs a text and speaks in lines."""

    def __init__(self, text: str, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", text, str(path)],
            cwd=Path(__file__).parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.pid = self._process.pid

    def says(self) -> str:
        """Its next line."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def tell(self, line: str) -> None:
        """Give it a line to read."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait(LONGEST)

    def close(self) -> None:
        """Close what it was spoken to through."""
        self._process.__exit__(None, None, None)

    def end(self) -> str:
        """Let it go on to its end; returns what else it said."""
        with self._process:
            rest, _ = self._process.communicate("go on\n", timeout=LONGEST)
        assert self._process.returncode == 0
        return rest


class WithoutTicks(SystemClock):
    """A pump that others can wake never looks by itself."""

    def wait(self, bell: Bell, timeout: float | None) -> bool:
        return super().wait(bell, timeout if bell.ear is None else None)


def told(bus: EventBus) -> tuple[list[int], threading.Event]:
    """What "count" is handed in this process."""
    numbers: list[int] = []
    any_of_them = threading.Event()

    @bus.subscribe("count", Counted, after=0)
    def count(counted: Counted) -> None:
        numbers.append(counted.number)
        any_of_them.set()

    return numbers, any_of_them


def run(text: str, path: Path) -> None:
    """Run a text in another process, to its end."""
    Child(HEAD + text, path).end()
