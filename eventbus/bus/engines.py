"""The engines of this process: one for each file, whichever names the buses on it know that by."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable

from eventbus.engine import Engine
from eventbus.store.location import Location

_engines: dict[tuple[int, int], Engine] = {}
_opening = threading.RLock()


def enter(location: Location, join: Callable[[Engine], object], make: Callable[[], Engine]) -> Engine:
    """The engine that has this file open, once `join` has agreed, or the one that `make` opens."""
    with _opening:
        engine = None if location.memory else _there(location)
        if engine is not None:
            join(engine)
        else:
            engine = make()
            if (key := _key(location)) is not None:
                _engines[key] = engine
        engine.users += 1
    return engine


def leave(engine: Engine) -> bool:
    """One bus needs it no longer; True if that was the last."""
    with _opening:
        engine.users -= 1
        if engine.users > 0:
            return False
        for key in [key for key, each in _engines.items() if each is engine]:
            del _engines[key]
    return True


def _there(location: Location) -> Engine | None:
    key = _key(location)
    engine = _engines.get(key) if key is not None else None
    return None if engine is None or engine.closed else engine


def _key(location: Location) -> tuple[int, int] | None:
    """The device and inode of a file that exists."""
    if location.path is None:
        return None
    try:
        found = os.stat(location.path)
    except OSError:  # no such file, or one that opening will refuse with the reason
        return None
    return found.st_dev, found.st_ino


def _forget_parents_engines() -> None:
    """In a fork: its own buses open the file anew, and no lock is held by a thread that is not there."""
    global _opening
    _engines.clear()
    _opening = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_parents_engines)
