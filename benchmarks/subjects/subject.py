"""One thing that is measured, and what it gets to do so."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from attrs import field, frozen

from benchmarks.measuring import Contest, Measured, Tell
from benchmarks.sizes import Sizes

Unit = Literal["us", "ms", "MiB"]

SCALES: dict[Unit, float] = {"us": 1e6, "ms": 1e3, "MiB": 1.0}  # from what a side gives to what is shown


@frozen
class Run:
    """One run of the benchmarks: how much, where, and with whom.

    `folder` is emptied when it ends, `cache` is not. `peers` may be left out.
    """

    sizes: Sizes
    folder: Path
    cache: Path
    peers: bool
    tell: Tell
    _numbers: itertools.count[int] = field(factory=lambda: itertools.count(1))

    def new_path(self) -> Path:
        """Where a new file can be made."""
        return self.new_folder() / "events.db"

    def new_folder(self) -> Path:
        """A new folder."""
        folder = self.folder / str(next(self._numbers))
        folder.mkdir()
        return folder

    def contest(self, size: str, rounds: int) -> Contest:
        """A contest that tells how far it is."""
        return Contest(f"{size}, {rounds} {'round' if rounds == 1 else 'rounds'}", rounds, self.tell)


@frozen
class Subject:
    """What is measured under one name. `slow`: it takes minutes at full size."""

    name: str
    title: str
    unit: Unit
    measure: Callable[[Run], Measured]
