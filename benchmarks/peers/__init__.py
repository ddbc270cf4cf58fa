"""The libraries that we compare with, one file for each; each is imported only when it takes part.

A room has what it can do: `emitting(handlers)` calls handlers that are connected, `handling(folder, durability)`
stores events one by one, and pops, handles and settles each. Both are context managers of a block: a function that
does it so many times and returns seconds for each. `DURABILITY` says how it syncs unless told otherwise.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import Block, Contest

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


def take_part(
    contest: Contest,
    run: Run,
    peer: str,
    enter: Callable[[Any], AbstractContextManager[Block]],
    times: int,
    *,
    name: str = "",
    durability: str = "",
) -> None:
    """Add a peer as a side, or say why it cannot take part."""
    name = name or peer
    if not run.peers:
        contest.leave_out(name, "left out of this run")
        return
    try:
        room = importlib.import_module(f"benchmarks.peers.{DISTRIBUTIONS[peer]}")
        block = contest.opened.enter_context(enter(room))
        block(1)
    except Exception as error:  # whatever is wrong with it: the table says so
        contest.leave_out(name, reason_for(peer, error))
        return
    contest.add(name, durability or room.DURABILITY, lambda: block(times))


def reason_for(peer: str, error: Exception) -> str:
    """Why a peer does not run, in one line."""
    from benchmarks.environment import not_installed

    if isinstance(error, ImportError):
        return not_installed().get(peer) or f"not installed: {error}"
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
