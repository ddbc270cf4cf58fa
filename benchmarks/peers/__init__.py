"""The libraries that we compare with, one file for each; each is imported only when it takes part.

A room has what it can do. `emitting(handlers)` is a context manager of a block that calls connected handlers so many
times and returns seconds for each. `handling(folder)` is one of a `Queue`. `DURABILITY` says how the library syncs
unless it is told otherwise.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from attrs import frozen

from benchmarks.measuring import Contest

if TYPE_CHECKING:
    from benchmarks.subjects.subject import Run

# What is installed, and the room that uses it.
DISTRIBUTIONS = {
    "blinker": "blinker",
    "pyee": "pyee",
    "psygnal": "psygnal",
    "eventsourcing": "eventsourcing",
    "huey": "huey",
    "litequeue": "litequeue",
    "persist-queue": "persist_queue",
    "bubus": "bubus",
}


@frozen
class Queue:
    """`put` stores one event; `handle` takes the next one out, has it handled, and records the success."""

    put: Callable[[], object]
    handle: Callable[[], object]


class LeftOut(Exception):
    """A peer that is not to take part."""


def room(peer: str) -> Any:
    """The file of a peer; what it imports is imported by what it does."""
    return importlib.import_module(f"benchmarks.peers.{DISTRIBUTIONS[peer]}")


def dispatch_with(contest: Contest, run: Run, peer: str, handlers: int, times: int) -> None:
    """Add a peer that calls handlers, or say why it cannot take part."""

    def enter() -> Callable[[], float]:
        block = contest.opened.enter_context(room(peer).emitting(handlers))
        block(1)
        return lambda: float(block(times))

    add(contest, run, peer, peer, "", enter)


def add(
    contest: Contest, run: Run, peer: str, name: str, durability: str, enter: Callable[[], Callable[[], float]]
) -> None:
    """Add what `enter` returns as a side called `name`; where that raises, the table says why it is not there."""
    try:
        if not run.peers:
            raise LeftOut("left out of this run")
        side = enter()
    except Exception as error:  # whatever is wrong with it: the table says so
        contest.leave_out(name, reason_for(peer, error))
        return
    contest.add(name, durability or room(peer).DURABILITY, side)


def reason_for(peer: str, error: Exception) -> str:
    """Why a peer does not run, in one line."""
    from benchmarks.environment import not_installed

    if isinstance(error, LeftOut):
        return str(error)
    if isinstance(error, ImportError):
        return not_installed().get(peer) or f"not installed: {error}"
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
