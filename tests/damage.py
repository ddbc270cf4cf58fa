"""What a disk, or somebody who means harm, may have made of a log; a seed says what."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from earlier import lay_out

NASTY = "\x00\x07\x1b[2J\x1b]0;owned\x07\r\b\x7f\x9b31m\u202egnp.exe\u2066\u200b\u2028'; DROP TABLE eventbus_events; --"
PIECES = (
    NASTY,
    "\udcff",
    "\ufeff",
    "\n",
    "\u2029",
    "[" * 5000,
    '{"a":' * 5000,
    "9" * 5000,
    "x" * 100_000,
    "",
    "é",
    "-1",
)
PIECES += ("null", "1e999", "NaN", "%s%n", "../../", "2026-13-45T99:99:99.000000Z", "eventbus.", "*", '"', "\\u0000")
NUMBERS = (2**63 - 1, -(2**63), 2**53 + 1, -1, 0, 2**31)

Files = dict[str, bytes]
"""What stands under a log's name, by what is put behind it: "", "-wal", "-shm"."""


def whole_log(path: Path) -> bytes:
    """A log in which every room has something, as one file; made at `path`."""
    with closing(sqlite3.connect(lay_out("version-2", path))) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    return path.read_bytes()


def changed(path: Path, whole: bytes, *statements: str | tuple[str, tuple[object, ...]]) -> None:
    """Make the log at `path` one that somebody has worked on with the sqlite3 shell."""
    path.write_bytes(whole)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            sql, values = (statement, ()) if isinstance(statement, str) else statement
            connection.execute(sql, values)


def columns(path: Path, kinds: Iterable[str]) -> list[tuple[str, str]]:
    """Table and column of all that is of these types and has something in it."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return [
            (table, column)
            for table in tables
            if table.startswith("eventbus_")
            for _, column, kind, *_ in connection.execute(f"PRAGMA table_info({table})")
            if kind in kinds and connection.execute(f"SELECT count({column}) FROM {table}").fetchone()[0]
        ]


class Damage:
    """Makes damaged logs of a whole one."""

    def __init__(self, whole: bytes, folder: Path) -> None:
        plain = folder / "plain"
        plain.write_bytes(whole)
        self._whole, self._path = whole, folder / "changing"
        self._texts, self._numbers = columns(plain, ("TEXT", "ANY")), columns(plain, ("INTEGER",))
        self.kinds: tuple[Callable[[random.Random], Files], ...] = (
            self.flip,
            self.books,
            self.sectors,
            self.cut,
            self.noise,
            self.text,
            self.number,
        )

    def of(self, seed: int) -> tuple[str, Files]:
        """(what was done, the files)."""
        chance = random.Random(seed)
        kind = self.kinds[seed % len(self.kinds)]
        return kind.__name__, kind(chance)

    def flip(self, chance: random.Random) -> Files:
        """Some bits."""
        data = bytearray(self._whole)
        for _ in range(chance.choice((1, 8, 64))):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        return {"": bytes(data)}

    def books(self, chance: random.Random) -> Files:
        """Bytes where SQLite keeps its books: headers of pages, and pointers to cells."""
        data = bytearray(self._whole)
        for _ in range(3):
            page = chance.randrange(len(data) // 4096)
            data[page * 4096 + chance.randrange(100)] = chance.randrange(256)
        return {"": bytes(data)}

    def sectors(self, chance: random.Random) -> Files:
        """Parts of the file are gone, or are what stands elsewhere."""
        data = bytearray(self._whole)
        size = chance.choice((512, 4096))
        for _ in range(chance.choice((1, 2, 4))):
            to, other = (size * chance.randrange(len(data) // size) for _ in range(2))
            data[to : to + size] = chance.choice((bytes(size), self._whole[other : other + size]))
        return {"": bytes(data)}

    def cut(self, chance: random.Random) -> Files:
        """The end is missing."""
        size = len(self._whole)
        kept = chance.choice((chance.randrange(200), chance.randrange(size), 4096 * chance.randrange(size // 4096)))
        return {"": self._whole[:kept]}

    def noise(self, chance: random.Random) -> Files:
        """What stands beside it is noise."""
        files = {"": self._whole, "-wal": chance.randbytes(chance.choice((32, 9000, 40_000)))}
        return files | ({"-shm": chance.randbytes(32768)} if chance.random() < 0.5 else {})

    def text(self, chance: random.Random) -> Files:
        """A text in one field, or in one of all rows, that nobody can have meant."""
        text = "".join(chance.choices(PIECES, k=chance.choice((1, 1, 2, 3)))).encode("utf-8", "surrogateescape")
        return self._written(chance, self._texts, "CAST(? AS TEXT)", text)

    def number(self, chance: random.Random) -> Files:
        """A number that nobody can have written."""
        return self._written(chance, self._numbers, "?", chance.choice((*NUMBERS, chance.getrandbits(63))))

    def _written(self, chance: random.Random, fields: list[tuple[str, str]], place: str, value: object) -> Files:
        table, column = chance.choice(fields)
        where = chance.choice(("", f" WHERE {column} = (SELECT max({column}) FROM {table})"))
        changed(self._path, self._whole, (f"UPDATE OR IGNORE {table} SET {column} = {place}{where}", (value,)))
        return {"": self._path.read_bytes()}
