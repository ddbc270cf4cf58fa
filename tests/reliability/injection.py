"""Plays scenes with a fault at the K-th call of one system call, by strace, and has what is left inspected."""

from __future__ import annotations

import platform
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType

import attrs

HERE = Path(__file__).parent
LONGEST = 120.0  # seconds; a process that says nothing for so long hangs
# Newer architectures have no calls of their own for what can be said by a more general one.
NAMES = ("unlink", "rename") if platform.machine() in ("x86_64", "i686") else ("unlinkat", "?renameat")
CALLS = ("pwrite64", "fdatasync", "fsync", "ftruncate", *NAMES)
FAULTS = ("signal=KILL", "error=EIO", "error=ENOSPC", "error=EDQUOT")
KILLED = -9


def lacking() -> str | None:
    """Why nothing can be injected here."""
    strace = shutil.which("strace")
    if strace is None:
        return "faults at system calls need strace (on Debian: apt install strace)"
    tried = subprocess.run([strace, "-f", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return f"strace may not trace here: {tried.stderr.strip()}" if tried.returncode else None


@attrs.frozen
class Point:
    """Where the fault is: at the `number`-th `call` of a thread; `lasting`: and at each from then on."""

    call: str
    fault: str
    number: int
    lasting: bool = False

    def __str__(self) -> str:
        return f"{self.call}:{self.fault}:when={self.number}{'+' if self.lasting else ''}"


class Theatre:
    """One process that has everything loaded, and plays scenes in children of its own."""

    def __init__(self, folder: Path, fault: str = "") -> None:
        """`fault`: the scenes are played by a bus that is not as it should be; see hasty.py."""
        self._folder = folder
        self._trouble = folder / "stderr.txt"
        with self._trouble.open("wb") as trouble:
            self._nursery = subprocess.Popen(
                [sys.executable, "-W", "error", str(HERE / "scenes.py"), *([fault] if fault else [])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=trouble,
                bufsize=0,
            )

    def __enter__(self) -> Theatre:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._nursery:
            self._nursery.kill()

    def prepare(self, scene: str) -> Path:
        """What lies there before the scene."""
        folder = self._folder / scene
        folder.mkdir()
        self._tell("prepare", scene, folder)
        self._read()
        self._expect(0, f"prepare {scene}")
        return folder

    def play(self, scene: str, before: Path, point: Point, *, deep: bool = True) -> bool:
        """Play it with a fault, and inspect; False if the point was not reached. `deep`: deliver what is due, too."""
        folder = self._folder / "stage"
        shutil.copytree(before, folder)
        reached = self._play(scene, folder, point)
        self._tell("deliver" if deep else "inspect", folder)
        self._read()
        self._expect(0, f"after {scene} with {point}")
        shutil.rmtree(folder)
        return reached

    def _play(self, scene: str, folder: Path, point: Point) -> bool:
        self._tell("play", scene, folder)
        process = self._read()
        seen = self._folder / "strace.txt"
        command = ["strace", "-f", "-p", process, "-o", str(seen), "-e", f"trace={point.call}", "-e", f"inject={point}"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
            assert strace.stderr is not None
            said = strace.stderr.readline()
            assert "attached" in said, said
            self._tell("go")
            killed = self._expect((0, KILLED) if "KILL" in point.fault else (0,), f"{scene} with {point}") == KILLED
            strace.stderr.read()
        return killed or "(INJECTED)" in seen.read_text("utf-8", "replace")

    def _tell(self, *words: object) -> None:
        assert self._nursery.stdin is not None
        self._nursery.stdin.write((" ".join(map(str, words)) + "\n").encode())

    def _expect(self, codes: int | tuple[int, ...], what: str) -> int:
        code = int(self._read())
        assert code in (codes if isinstance(codes, tuple) else (codes,)), (
            f"{what}: ended with {code}\n{self._trouble.read_text('utf-8')}"
        )
        return code

    def _read(self) -> str:
        assert self._nursery.stdout is not None
        ready, _, _ = select.select([self._nursery.stdout], [], [], LONGEST)
        assert ready, f"nothing is heard for {LONGEST:g} s\n{self._trouble.read_text('utf-8')}"
        line = self._nursery.stdout.readline().decode().strip()
        assert re.fullmatch(r"-?\d+", line), f"{line!r}\n{self._trouble.read_text('utf-8')}"
        return line
