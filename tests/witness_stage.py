"""What the tests of the witness share: logs that lose what they had, and what is beside them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from bus_stage import Placed

from eventbus import EventBus
from eventbus.store import witness
from eventbus.store.witness import slots


def opened(path: Path, **how: Any) -> EventBus:
    return EventBus(path, delivery="manual", **how)


def publish(path: Path, *numbers: int, **how: Any) -> None:
    with opened(path, **how) as bus:
        for number in numbers:
            bus.publish(Placed(number))


def beside(path: Path) -> Path:
    return path.with_name(path.name + witness.SUFFIX)


def told(path: Path) -> list[int]:
    """What each process has told last."""
    return [whole[0].told for _, whole in slots(beside(path).read_bytes())]


def ten_events(tmp_path: Path) -> Path:
    """Ten events, of which a copy of the file has seven."""
    path = tmp_path / "shop.db"
    publish(path, *range(1, 8))
    shutil.copy(path, tmp_path / "old.db")
    publish(path, 8, 9, 10)
    return path


def roll_back(path: Path) -> None:
    shutil.copy(path.with_name("old.db"), path)
