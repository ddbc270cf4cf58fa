"""Another SQLite in this process: two of them that have one file open undo each other's locks.

POSIX drops all locks that a process has on a file when any of its descriptors is closed. One SQLite
knows that and waits with closing; a second one, linked into another module, knows nothing of the first.
Then another process may take the log for free, and commits are lost.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterable

_MAPS = "/proc/self/maps"
_LIBRARY = re.compile(r"/lib\w*sqlite[^/]*\.so[.\d]*$")
# Modules that usually bring a SQLite of their own; by these names also where the system does not list what is loaded.
MODULES = (
    "apsw",
    "pysqlite3",
    "pysqlite2",
    "sqlcipher3",
    "pysqlcipher3",
    "sqlean",
    "libsql",
    "PySide6.QtSql",
    "PySide2.QtSql",
    "PyQt6.QtSql",
    "PyQt5.QtSql",
)

_log = logging.getLogger("eventbus.store")
_told: set[str] = set()


def warn_of_others() -> None:
    """Log a WARNING, once for each, if another SQLite than Python's may be in this process. Takes less than 1 ms."""
    found = [name for name in others(sys.modules, _maps()) if name not in _told]
    if found:
        _told.update(found)
        _log.warning(
            "%s: another SQLite than that of Python's sqlite3 may be in this process. Do not open the log with it: when"
            " it closes the file, the locks of this one are gone, and another process may overwrite what is stored",
            ", ".join(found),
        )


def others(modules: Iterable[str], maps: str) -> list[str]:
    """The modules that bring a SQLite, and where there are several SQLite libraries, those libraries."""
    loaded = sorted(set(MODULES) & set(modules))
    libraries = sorted({line.split(None, 5)[-1] for line in maps.splitlines() if _LIBRARY.search(line)})
    return loaded + (libraries if len(libraries) > 1 else [])


def _maps() -> str:
    try:
        with open(_MAPS, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
