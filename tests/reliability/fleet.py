"""Processes that all work on one log, as seen by whoever kills them."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType

HERE = Path(__file__).parent
# A generation that another process has swapped away while it was filled here: that is told, and nothing is amiss.
EXPECTED = "Subscription 'balances' is delivered by another process now."
LONGEST = 60.0  # seconds until a process is up, on a machine that has other things to do


class Fleet:
    """So many processes; where one is killed the next one begins at once."""

    def __init__(self, folder: Path, size: int, script: str = "lives.py") -> None:
        self.kills = self.stops = self.closes = 0
        self.lives = [0] * size
        self.closed: set[str] = set()  # the lives that ended in order
        self._trouble = folder / "stderr.txt"
        self._processes: dict[int, int] = {}
        self._up: set[int] = set()
        self._buried: dict[int, int] = {}
        with self._trouble.open("wb") as trouble:
            self._nursery = subprocess.Popen(
                [sys.executable, "-W", "error", str(HERE / script), str(folder)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=trouble,
                bufsize=0,
            )
        self._heard = b""
        for slot in range(size):
            self._begin(slot)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._nursery:
            for process in self._processes.values():
                os.kill(process, signal.SIGKILL)
            self._nursery.kill()

    def complaints(self) -> str:
        """What the processes have written to standard error, without what is to be expected."""
        said = self._trouble.read_text("utf-8").splitlines()
        return "\n".join(line for line in said if not line.startswith(EXPECTED))

    def wait_until_up(self, slot: int) -> None:
        """Return once it publishes and delivers."""
        self._until(lambda: slot in self._up, f"process {slot} is up")

    def wait(self, seconds: float) -> None:
        """Let them work so long."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._hear(left)

    def kill(self, *slots: int, again: bool = True) -> None:
        """SIGKILL; ending in any other way is an error of its own. Then the next life begins."""
        self.kills += len(slots)
        self._end(slots, signal.SIGKILL, -signal.SIGKILL)
        for slot in slots if again else ():
            self._begin(slot)

    def close(self, slot: int) -> None:
        """SIGTERM: it closes its bus and ends, and hands over what it delivered. Then the next life begins."""
        self.closes += 1
        self.closed.add(f"{slot}.{self.lives[slot]}")
        self._end((slot,), signal.SIGTERM, 0)
        self._begin(slot)

    def stop(self, slot: int, seconds: float) -> None:
        """SIGSTOP: for so long it holds all it has, and does nothing."""
        self.stops += 1
        os.kill(self._processes[slot], signal.SIGSTOP)
        self.wait(seconds)

    def go_on(self, slot: int) -> None:
        """SIGCONT."""
        os.kill(self._processes[slot], signal.SIGCONT)

    def _end(self, slots: tuple[int, ...], how: signal.Signals, expected: int) -> None:
        processes = [self._processes.pop(slot) for slot in slots]
        for process in processes:
            os.kill(process, how)
        for process in processes:
            self._tell(f"bury {process}")
            self._until(lambda process=process: process in self._buried, "it is buried")  # type: ignore[misc]
            code = self._buried.pop(process)
            assert code == expected, f"a process ended with {code}, not {expected}: {self.complaints()}"
        for slot in slots:
            self._up.discard(slot)
            self.lives[slot] += 1

    def _begin(self, slot: int) -> None:
        self._tell(f"live {slot} {self.lives[slot]}")
        self._until(lambda: slot in self._processes, "it is born")

    def _tell(self, what: str) -> None:
        assert self._nursery.stdin is not None
        self._nursery.stdin.write(f"{what}\n".encode())

    def _until(self, is_so: object, what: str) -> None:
        assert callable(is_so)
        deadline = time.monotonic() + LONGEST
        while not is_so():
            left = deadline - time.monotonic()
            ended = self._nursery.poll()
            assert ended is None, f"the nursery has ended with {ended}: {self.complaints()}"
            assert left > 0, f"not within {LONGEST:g} s: {what}; heard {self._heard!r}\n{self.complaints()}"
            self._hear(min(left, 1.0))

    def _hear(self, seconds: float) -> None:
        """Take what is said within so many seconds; returns after the first."""
        assert self._nursery.stdout is not None
        ready, _, _ = select.select([self._nursery.stdout], [], [], seconds)
        if not ready:
            return
        said = os.read(self._nursery.stdout.fileno(), 65536)
        assert said, f"the nursery has ended: {self.complaints()}"
        *whole, self._heard = (self._heard + said).split(b"\n")
        for line in whole:
            self._understand(line.decode().split())

    def _understand(self, words: list[str]) -> None:
        match words:
            case ["born", slot, process]:
                self._processes[int(slot)] = int(process)
            case ["up", slot]:
                self._up.add(int(slot))
            case ["buried", process, code]:
                self._buried[int(process)] = int(code)
            case _:
                raise AssertionError(f"unheard of: {words}")
