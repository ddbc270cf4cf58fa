"""Where a log is: a file, by its real path, or a named database in this process's memory."""

from __future__ import annotations

import itertools
import os
import re

import attrs

from eventbus.errors import LogIOError, NotAnEventLog

_LONGEST = 512 - len("-journal") - 1  # SQLite's own limit (MAX_PATHNAME), with room for the names beside the file
_numbers = itertools.count(1)
_AS_IT_IS = re.compile(r"[\w/.:~-]*", re.ASCII)


@attrs.frozen
class Location:
    """A log's place: `path` is None in memory; `uri` is what SQLite opens, without the question of how."""

    path: str | None
    uri: str
    memory: bool

    @classmethod
    def of(cls, path: str | os.PathLike[str] | None) -> Location:
        """The place `path` stands for, symbolic links resolved; None or ":memory:" is a new database in memory.

        Raises NotAnEventLog for a name no file can have.
        """
        if path is None or path == ":memory:":
            return cls(None, f"file:/bus-{os.getpid()}-{next(_numbers)}?vfs=memdb", memory=True)
        text = os.fsdecode(path)
        if not text or "\0" in text or text.startswith("file:"):
            raise NotAnEventLog(repr(text), "this is not the path of a file.")
        real = os.path.realpath(text)
        if len(os.fsencode(real)) > _LONGEST:
            raise LogIOError(real, f"SQLite opens no path longer than {_LONGEST} bytes.", hint="Choose a shorter one.")
        return cls(real, "file://" + _quoted(real), memory=False)

    @property
    def name(self) -> str:
        """What error messages call it."""
        return "the log in memory" if self.path is None else self.path

    def asking(self, **parameters: str) -> str:
        """The URI with `parameters` of SQLite's added, such as mode="rw"."""
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        if not query:
            return self.uri
        return f"{self.uri}{'&' if '?' in self.uri else '?'}{query}"


def _quoted(real: str) -> str:
    if os.name == "nt":
        real = "/" + real.replace("\\", "/")
    if _AS_IT_IS.fullmatch(real):  # as nearly always; urllib takes longer to load than a log to open
        return real
    from urllib.parse import quote_from_bytes

    return quote_from_bytes(os.fsencode(real), safe="/:")
