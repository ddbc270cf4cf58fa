"""Parts of a proof side by side, each in a process of its own that prints its figures as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar, cast

HERE = Path(__file__).resolve().parent
PLACES = os.cpu_count() or 1

Part = TypeVar("Part")
Result = TypeVar("Result")


def side_by_side(work: Callable[[Part], Result], parts: Iterable[Part]) -> Iterator[Result]:
    """What became of each part, as it ends; the next part is asked for once there is a place for it."""
    running: set[Future[Result]] = set()
    with ThreadPoolExecutor(PLACES) as pool:
        for part in parts:
            running.add(pool.submit(work, part))
            if len(running) >= PLACES:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in done)
        yield from (each.result() for each in wait(running).done)


def attempt(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script of this folder to its end."""
    command = [sys.executable, str(HERE / script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def figures_of(script: str, *arguments: object) -> dict[str, int]:
    """The figures of a script that ends with 0; AssertionError, with the command that repeats it, if it does not."""
    done = attempt(script, *arguments)
    again = " ".join(["python", f"tests/reliability/{script}", *map(str, arguments)])
    assert done.returncode == 0, f"{again}\n{done.stderr}"
    return cast("dict[str, int]", json.loads(done.stdout))
