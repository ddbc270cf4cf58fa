"""Makes git repositories of any size whose history is as odd as git allows.

`python tests/synthetic_history.py FOLDER COMMITS` makes one to look at.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import IO

AUTHORS = [
    b"Ada Lovelace <ada@example.org>",
    b"Ada Lovelace <ada@home.example>",
    "Łukasz Żółć <łukasz@example.org>".encode(),
    "山田 太郎 <yamada@example.jp>".encode(),
    b"Ren\xe9 Latin-1 <rene@example.fr>",
    b" <>",
    b"{braces} %s 'quotes' \"double\" <a{b}@example.org>",
    b"\x1b[31mred\x1b[0m <esc@example.org>",
    b"Nobody <>",
    "e\u0301 \u202eright to left \N{PILE OF POO} <odd@example.org>".encode(),
    b"Long " + b"name " * 400 + b"<long@example.org>",
]
FOLDERS = [b"src", b"src/core", b"src/core/deep/er", "tests/ünïcode".encode(), b"a folder", b"caf\xe9", b""]
NAMES = [
    b"main.py",
    "naïve.txt".encode(),
    b"tab\there",
    b"new\nline",
    b'"quoted"',
    b"M",
    b"\nA",
    b"bytes\xff\xfe",
    b"-rf",
]
ZONES = [b"+0000", b"+0545", b"-0330", b"+1400", b"-1200"]


class History:
    """Writes a history for `git fast-import`: side branches, merges, renames, odd names and clocks that run wrong."""

    def __init__(self, out: IO[bytes], seed: int) -> None:
        self._out, self._random, self._mark = out, random.Random(seed), 0
        self._branches: list[tuple[int, set[bytes]]] = [(0, set())]  # its last commit and its paths
        self._clock = 1_100_000_000

    def write(self, commits: int) -> None:
        self._out.write(b"feature done\n")
        for _ in range(commits - 1):
            which = self._random.randrange(len(self._branches))
            self._commit(which, merging=self._random.random() < 0.08)
            if self._mark and len(self._branches) < 5 and self._random.random() < 0.05:
                last, paths = self._random.choice(self._branches)
                self._branches.append((last, set(paths)))
        while len(self._branches) > 1:  # so that HEAD is a descendant of everything
            self._commit(0, merging=True, last=True)
        self._commit(0, merging=False)
        self._out.write(b"done\n")

    def _commit(self, which: int, *, merging: bool, last: bool = False) -> None:
        mark, paths = self._branches[which]
        self._mark += 1
        self._clock += self._random.randint(-500, 90_000)
        date = b"%d %s" % (self._clock, self._random.choice(ZONES))
        subject = self._random.choice([b"", b"change", "ändern\n\nbody".encode(), b"bytes \xff"])
        write = self._out.write
        write(b"commit refs/heads/main\nmark :%d\nauthor %s %s\n" % (self._mark, self._random.choice(AUTHORS), date))
        write(b"committer C <c@example.org> %s\ndata %d\n%s\n" % (date, len(subject), subject))
        if mark:
            write(b"from :%d\n" % mark)
        else:
            write(b"deleteall\n")
        others = [n for n in range(len(self._branches)) if n != which] if merging else []
        for other in sorted(self._random.sample(others, min(len(others), 1 if not last else 2)), reverse=True):
            if self._branches[other][0] != mark:
                write(b"merge :%d\n" % self._branches[other][0])
            if last or self._random.random() < 0.5:
                del self._branches[other]
                which -= other < which
        if not others:
            self._change(paths)
        self._branches[which] = self._mark, paths
        write(b"\n")

    def _change(self, paths: set[bytes]) -> None:
        for _ in range(self._random.choice([0, 1, 1, 1, 2, 3, 8])):
            move = self._random.random()
            if move < 0.1 and paths:
                old = self._random.choice(sorted(paths))
                if (new := self._path()) not in paths:
                    paths.remove(old)
                    paths.add(new)
                    self._out.write(b"R %s %s\n" % (quoted(old), quoted(new)))
            elif move < 0.15 and paths:
                old = self._random.choice(sorted(paths))
                paths.remove(old)
                self._out.write(b"D %s\n" % quoted(old))
            else:
                paths.add(path := self._path())
                content = b"".join(b"%d\n" % self._random.getrandbits(40) for _ in range(5))
                self._out.write(b"M 100644 inline %s\ndata %d\n%s\n" % (quoted(path), len(content), content))

    def _path(self) -> bytes:
        folder, name = self._random.choice(FOLDERS), self._random.choice(NAMES)
        return (folder + b"/" if folder else b"") + name + b"%d" % min(self._random.randrange(40), 9)


def quoted(path: bytes) -> bytes:
    return b'"' + b"".join(b"\\%03o" % byte for byte in path) + b'"'


def git(folder: Path, *words: str, stdin: bytes | None = None) -> bytes:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    environment |= {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    return subprocess.run(
        ["git", "-C", str(folder), *words], input=stdin, check=True, capture_output=True, env=environment
    ).stdout


def make_repository(folder: Path, commits: int, seed: int = 1) -> Path:
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--bare", "--initial-branch=main")
    importing = ["git", "-C", str(folder), "fast-import", "--quiet", "--date-format=raw-permissive"]
    with subprocess.Popen(importing, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        History(process.stdin, seed).write(commits)
    assert process.returncode == 0
    return folder


if __name__ == "__main__":
    make_repository(Path(sys.argv[1]), int(sys.argv[2]))
