"""What was said to a log and told by it, in a file beside it.

`said KEY` before a publish; `told POSITION ID` once it was acknowledged, without the position where that is not told;
`refused KEY` for what an error says is not stored; `seen POSITION ID ...` for what any reader saw;
`old POSITION ID` for what was there before anything was said; `copied` once a backup was acknowledged.
"""

from __future__ import annotations

from pathlib import Path

import attrs
from workload import Diary

from eventbus import EventBus
from eventbus.events import Receipt

TOLD = "told.txt"


class Told:
    """Writes what the world hears of a log: a line is there once the call returns, whatever becomes of the process."""

    def __init__(self, folder: Path) -> None:
        self._diary = Diary(folder / TOLD)
        self._seen = 0

    def say(self, key: str) -> None:
        """About to be published."""
        self._diary.write("said", key)

    def tell(self, receipt: Receipt) -> None:
        """Acknowledged."""
        self._diary.write("told", receipt.position, receipt.id)

    def tell_of(self, id_: str) -> None:
        """Acknowledged, without its position."""
        self._diary.write("told", "", id_)

    def refuse(self, key: str) -> None:
        """Not stored, says the error, and that is how it stays."""
        self._diary.write("refused", key)

    def find(self, position: int, id_: str) -> None:
        """It was there before."""
        self._diary.write("old", position, id_)

    def copy(self) -> None:
        """A backup is there."""
        self._diary.write("copied")

    def see(self, bus: EventBus) -> None:
        """Whatever can be read has been told."""
        seen = [(envelope.position, envelope.id) for envelope in bus.log.read(after=self._seen)]
        if seen:
            self._diary.write("seen", *(field for each in seen for field in each))
            self._seen = seen[-1][0]


@attrs.define
class World:
    """What others know: the keys that were said or refused, what positions were told to mean, the ids of all that."""

    said: set[str] = attrs.field(factory=set)
    refused: set[str] = attrs.field(factory=set)
    told: dict[int, str] = attrs.field(factory=dict)
    ids: set[str] = attrs.field(factory=set)
    old: set[str] = attrs.field(factory=set)
    copied: bool = False

    def hear(self, line: str) -> None:
        """One line."""
        verb, *fields, _ = line.split("\t")
        if verb == "said":
            self.said.add(fields[0])
        elif verb == "refused":
            self.refused.add(fields[0])
        elif verb == "copied":
            self.copied = True
        elif verb == "told" and not fields[0]:
            self.ids.add(fields[1])
        else:
            self._tell(fields)
            self.old.update(fields[1:] if verb == "old" else ())

    def _tell(self, fields: list[str]) -> None:
        for position, id_ in zip(map(int, fields[::2]), fields[1::2], strict=True):
            assert self.told.setdefault(position, id_) == id_, f"position {position} was told to mean two events"
            self.ids.add(id_)

    def without(self, lost: set[str]) -> World:
        """The same world once it has been told of a loss."""
        told = {position: id_ for position, id_ in self.told.items() if id_ not in lost}
        return World(set(self.said), set(self.refused), told, self.ids - lost, self.old - lost)
