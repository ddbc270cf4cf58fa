"""What is made, or loaded, when it is first asked for: a process pays for the rooms it enters."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Generic, TypeVar

T = TypeVar("T")


class Later(Generic[T]):
    """Calling it gives what `make` returned, once, whichever thread asks first."""

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._made: list[T] = []

    def __call__(self) -> T:
        if not self._made:
            with self._lock:
                if not self._made:
                    self._made.append(self._make())
        return self._made[0]

    @property
    def is_made(self) -> bool:
        """Whether anybody has asked."""
        return bool(self._made)


def names_from(package: str, rooms: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """A `__getattr__` for a package (PEP 562) whose names are loaded from these modules when first used."""

    def load(name: str) -> object:
        for room, names in rooms.items():
            if name in names:
                value = getattr(import_module(room), name)
                setattr(sys.modules[package], name, value)
                return value
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return load
