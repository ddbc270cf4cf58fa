"""A disk: what is written to it, what of that is there for certain, and what may be left when the power goes.

Certain is what was synced: the content of a file by a sync of the file, its name by a sync of the folder. Of the rest
each sector of 512 bytes may have got there or not, with any of the contents that were written to it since, and names
change in the order in which they were changed, up to some point.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random

import attrs
from tape import Kind, Step

SECTOR = 512
Image = dict[str, bytes]


@attrs.frozen
class Change:
    """One write, or with `data` None a cut, to `offset` bytes."""

    offset: int
    data: bytes | None

    def apply(self, content: bytearray) -> None:
        """Do all of it."""
        if self.data is None:
            del content[self.offset :]
            content.extend(bytes(self.offset - len(content)))
        else:
            _put(content, self.offset, self.data)

    def tear(self, content: bytearray, chance: Random) -> None:
        """Do some of it: each sector or not."""
        if self.data is None:
            if chance.random() < 0.5:
                self.apply(content)
            return
        start, end = self.offset, self.offset + len(self.data)
        while start < end:
            stop = min(end, (start // SECTOR + 1) * SECTOR)
            if chance.random() < 0.5:
                _put(content, start, self.data[start - self.offset : stop - self.offset])
            start = stop


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class File:
    """Content that is certain, and what was changed since."""

    def __init__(self, content: bytes = b"") -> None:
        self._certain = bytearray(content)
        self._pending: list[Change] = []

    def change(self, change: Change) -> None:
        """Write, without any certainty."""
        self._pending.append(change)

    def sync(self) -> None:
        """From now on all of it is certain."""
        for change in self._pending:
            change.apply(self._certain)
        self._pending.clear()

    def certain(self) -> bytes:
        """What was synced."""
        return bytes(self._certain)

    def now(self) -> bytes:
        """What a process sees: all of it."""
        content = bytearray(self._certain)
        for change in self._pending:
            change.apply(content)
        return bytes(content)

    def torn(self, chance: Random) -> bytes:
        """What was synced, and any of the changes since: each whole, in part, or not at all."""
        content = bytearray(self._certain)
        for change in self._pending:
            fate = chance.random()
            if fate < 0.4:
                change.apply(content)
            elif fate < 0.7:
                change.tear(content, chance)
        return bytes(content)

    def cut(self, chance: Random) -> bytes:
        """What was synced, and the changes up to some point, of which the last is torn."""
        content = bytearray(self._certain)
        if self._pending:
            length = chance.randrange(len(self._pending))
            for change in self._pending[:length]:
                change.apply(content)
            self._pending[length].tear(content, chance)
        return bytes(content)


class Platter:
    """One folder; what may be found there when the power comes back is given by `certain`, `now` and `torn`."""

    def __init__(self, found: Mapping[int, tuple[str, bytes]] | None = None) -> None:
        """`found`: what lay there before, by its inode, and is certain."""
        self._inodes = {inode: File(content) for inode, (_, content) in (found or {}).items()}
        self._names = {name: self._inodes[inode] for inode, (name, _) in (found or {}).items()}
        self._certain = self._names
        self._pending: list[dict[str, File]] = []  # the names after each change of them that is not synced

    def do(self, step: Step) -> None:
        """What the tape says."""
        match step.kind:
            case Kind.CREATE:
                self._create(step.names[0], step.inode)
            case Kind.WRITE:
                self._inodes[step.inode].change(Change(step.offset, step.data))
            case Kind.TRUNCATE:
                self._inodes[step.inode].change(Change(step.length, None))
            case Kind.SYNC:
                self._inodes[step.inode].sync()
            case Kind.SYNC_FOLDER:
                self._certain, self._pending = self._names, []
            case Kind.RENAME:
                self._rename(*step.names)
            case Kind.UNLINK:
                self._rename_all({name: file for name, file in self._names.items() if name != step.names[0]})

    def _create(self, name: str, inode: int) -> None:
        self._inodes[inode] = file = File()
        self._rename_all({**self._names, name: file})

    def _rename(self, old: str, new: str) -> None:
        assert all((old, new)), "a file came from elsewhere, or left the folder"
        names = {name: file for name, file in self._names.items() if name != old}
        self._rename_all({**names, new: self._names[old]})

    def _rename_all(self, names: dict[str, File]) -> None:
        self._names = names
        self._pending.append(names)

    def now(self) -> Image:
        """What a process sees."""
        return {name: file.now() for name, file in self._names.items()}

    def certain(self) -> Image:
        """What was synced, and nothing else."""
        return {name: file.certain() for name, file in self._certain.items()}

    def torn(self, chance: Random) -> Image:
        """What was synced, and some of the rest: of one file more, of another one less."""
        names = chance.choice([self._certain, *self._pending])
        return {name: chance.choice(_FATES)(file, chance) for name, file in names.items()}


_FATES: tuple[Callable[[File, Random], bytes], ...] = (
    File.torn,
    File.torn,
    File.cut,
    lambda file, chance: file.certain(),
    lambda file, chance: file.now(),
)
