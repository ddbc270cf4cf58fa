"""A git repository's commits as events, read from git as a stream; `git_history.py` keeps them in a log."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice
from typing import IO

from eventbus import event

LONGEST_NAME = 300  # characters of a name, an address or a subject; streams and lines have limits
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Refused(Exception):
    """A sentence for the person who asked for something that does not work."""


# --- what happened ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Change:
    """A file that a commit touched; `status` is git's letter, `old` the name before a rename."""

    status: str
    path: str
    old: str | None = None


@event(name="git.Committed", stream="{author}")
class Committed:
    """A commit. Merges have several parents and no changes of their own."""

    commit: str
    parents: tuple[str, ...]
    author: str
    time: datetime
    subject: str
    changes: tuple[Change, ...]


# --- reading git --------------------------------------------------------------------------------------------

FIELDS = ("%H", "%P", "%an <%ae>", "%ad", "%s")
LOG_FORMAT = "--format=tformat:" + "%x00".join(FIELDS)
# All that a person's configuration could change is said here, so that a commit always makes the same event.
LOG = ["log", "-z", "--date-order", "--reverse", "--date=raw", "--encoding=UTF-8", "--name-status", "-M", "-l1000"]
LOG += ["--no-ext-diff", "--no-color", "--no-notes", "--no-relative", "--ignore-submodules=none", LOG_FORMAT]
SETTINGS = ["-c", "log.showRoot=true", "-c", "log.showSignature=false", "--no-replace-objects"]
ELSEWHERE = {"GIT_DIR", "GIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY", "GIT_INDEX_FILE", "GIT_NAMESPACE"}


class Repository:
    """A repository on this machine. Everything it is asked for comes as a stream."""

    def __init__(self, path: str) -> None:
        if not os.path.isdir(path):
            raise Refused(f"There is no folder {path}.")
        if shutil.which("git") is None:
            raise Refused("git is not installed.")
        self.path = path
        # Set within a git hook, for one; the repository meant here is the one that was named.
        self._environment = {k: v for k, v in os.environ.items() if k not in ELSEWHERE} | {"LC_ALL": "C"}
        self.folder = self._answer("rev-parse", "--absolute-git-dir")
        self.is_shallow = self._answer("rev-parse", "--is-shallow-repository") == "true"
        # Without a commit on the branch that HEAD names, there may be some on others.
        self._start = "HEAD" if self.has("HEAD") else "--all"

    def has(self, revision: str) -> bool:
        """Whether there is such a commit here."""
        with self._git("cat-file", "-e", f"{revision}^{{commit}}", errors=subprocess.DEVNULL) as git:
            return git.wait() == 0

    def count(self, known: Iterable[str]) -> int:
        """How many commits are not known, that is, not ancestors of what is `known`."""
        return int(self._answer("rev-list", "--count", "--ignore-missing", "--stdin", self._start, known=known))

    def commits(self, known: Iterable[str]) -> Iterator[Committed]:
        """The commits that are not known, parents first."""
        with tempfile.TemporaryFile() as errors:
            last = None
            with self._git(*LOG, "--ignore-missing", "--stdin", self._start, known=known, errors=errors) as git:
                for found in parsed(between_nuls(git.stdout)):
                    if last is not None:
                        yield last
                    last = found
            self._check(git.returncode, errors)
            if last is not None:  # whole, for git came to its end
                yield last

    def _answer(self, *command: str, known: Iterable[str] = ()) -> str:
        with tempfile.TemporaryFile() as errors:
            with self._git(*command, known=known, errors=errors) as git:
                answer = git.stdout.read() if git.stdout else b""
            self._check(git.returncode, errors)
        return os.fsdecode(answer.removesuffix(b"\n"))

    def _git(
        self, *command: str, known: Iterable[str] = (), errors: int | IO[bytes] = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        # A file, for with two pipes git and this program could wait for each other.
        with tempfile.TemporaryFile() as revisions:
            revisions.writelines(f"^{commit}\n".encode() for commit in known)
            revisions.seek(0)
            return subprocess.Popen(
                ["git", "-C", self.path, *SETTINGS, *command],
                stdin=revisions,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self._environment,
            )

    def _check(self, code: int, errors: IO[bytes]) -> None:
        if code == 0:
            return
        errors.seek(0)
        said = text(errors.read(100_000)).strip()
        if "not a git repository" in said:
            raise Refused(f"{self.path} is not a git repository.")
        fatal = [line for line in said.splitlines() if line.startswith("fatal: ")] or said.splitlines()[-1:]
        raise Refused(f"git cannot read {self.path}: {fatal[0].removeprefix('fatal: ') if fatal else f'exit {code}'}")


def between_nuls(stream: IO[bytes] | None) -> Iterator[bytes]:
    """What stands before each NUL: the only byte that is in no name, path or subject."""
    rest = b""
    while stream is not None and (chunk := stream.read(1 << 16)):
        *whole, rest = (rest + chunk).split(b"\0")
        yield from whole


def parsed(tokens: Iterator[bytes]) -> Iterator[Committed]:
    """Commits from their FIELDS, each followed by its changes: a status, then one path, or two for a rename."""
    fields: list[bytes] = []
    changes: list[Change] = []
    for token in tokens:
        word = token.lstrip(b"\n")
        if word[:1].isupper() and len(word) <= 4:  # "M", "R100"; a hash is longer and in lower case
            paths = [text(path) for path in islice(tokens, 2 if word[:1] in b"RC" else 1)]
            changes.append(Change(text(word[:1]), *reversed(paths)))
        elif word:
            if fields:
                yield committed(fields, changes)
            fields, changes = [word, *islice(tokens, len(FIELDS) - 1)], []
    if len(fields) == len(FIELDS):  # fewer only if git was stopped, which whoever reads this finds out
        yield committed(fields, changes)


def committed(fields: list[bytes], changes: list[Change]) -> Committed:
    """The event of one commit; its changes in an order that does not depend on git's settings."""
    commit, parents, author, date, subject = (text(field) for field in fields)
    return Committed(
        commit=commit,
        parents=tuple(parents.split()),
        author=author if len(author) <= 2 * LONGEST_NAME else author[: 2 * LONGEST_NAME] + "…",
        time=moment(date),
        subject=subject[:LONGEST_NAME],
        changes=tuple(sorted(changes, key=lambda change: change.path)),
    )


def text(raw: bytes) -> str:
    r"""Git's bytes as text. What is not UTF-8 becomes \xff: the log refuses the lone surrogates of other ways."""
    return raw.decode("utf-8", "backslashreplace")


def moment(date: str) -> datetime:
    """The time of "1700000000 +0130"; 1970 for a date that is damaged or beyond the calendar."""
    try:
        seconds, zone = date.split()
        minutes = int(zone[-4:-2]) * 60 + int(zone[-2:])
        offset = timezone(timedelta(minutes=-minutes if zone.startswith("-") else minutes))
        there = (EPOCH + timedelta(seconds=int(seconds))).astimezone(offset)
    except (ValueError, OverflowError):
        return EPOCH
    return there
