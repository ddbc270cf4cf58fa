"""Read a git repository's history into an event log and say who did what, when and where.

    python examples/git_history.py REPO [--log FILE] [--json]

One event per commit, in streams by author. A stream is the history of one subject, and an event belongs to
one stream: a commit has one author but any number of files, so by file it would have to be cut in pieces.

It may be killed at any point. Parents are published before their children and each batch is one commit of
the log, so the log always holds whole ancestries. The newest commits of these are kept by a projection, the
frontier; the next run asks git for everything that is not an ancestor of it. Should a commit come up again
all the same (somebody rewrote the history), its hash is its idempotency key and nothing is stored twice.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import platformdirs
from git_commits import Committed, Refused, Repository

from eventbus import EventBus, EventBusError, Projection, Table, Transaction, handles

BATCH_COMMITS = 250
BATCH_CHANGES = 20_000  # a first import may have more files than all that follows; a batch has to fit into memory
LARGEST_EVENT = 256 << 20  # bytes: room for a commit of some million files


# --- what is made of it -------------------------------------------------------------------------------------


class Frontier(Projection):
    """The commits that are nobody's parent so far: where the next run goes on."""

    tips = Table("hash TEXT PRIMARY KEY")

    @handles(Committed)
    def committed(self, e: Committed, tx: Transaction) -> None:
        tx.executemany(f"DELETE FROM {self.tips} WHERE hash = ?", [(parent,) for parent in e.parents])
        tx.execute(f"INSERT INTO {self.tips} VALUES (?)", (e.commit,))


class Activity(Projection):
    """Commits per author and month, by the author's own calendar."""

    months = Table("author TEXT, month TEXT, commits INTEGER NOT NULL, PRIMARY KEY (author, month)")

    @handles(Committed)
    def committed(self, e: Committed, tx: Transaction) -> None:
        tx.execute(
            f"INSERT INTO {self.months} VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET commits = commits + 1",
            (e.author, f"{e.time.year:04}-{e.time.month:02}"),
        )


class Files(Projection):
    """In how many commits a file changed, and what it was called before it was last renamed."""

    files = Table("path TEXT PRIMARY KEY, changes INTEGER NOT NULL, formerly TEXT", indexes=["changes"])

    @handles(Committed)
    def committed(self, e: Committed, tx: Transaction) -> None:
        tx.executemany(
            f"INSERT INTO {self.files} VALUES (?, 1, ?) ON CONFLICT (path) DO UPDATE"
            " SET changes = changes + 1, formerly = coalesce(excluded.formerly, formerly)",
            [(change.path, change.old) for change in e.changes],
        )


class Knowledge(Projection):
    """In how many commits an author touched a folder or what is below it; "" is the whole repository."""

    folders = Table("folder TEXT, author TEXT, commits INTEGER NOT NULL, PRIMARY KEY (folder, author)")

    @handles(Committed)
    def committed(self, e: Committed, tx: Transaction) -> None:
        touched = {folder for change in e.changes for folder in folders_of(change.path)}
        tx.executemany(
            f"INSERT INTO {self.folders} VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET commits = commits + 1",
            [(folder, e.author) for folder in sorted(touched)],
        )


PROJECTIONS = (Frontier, Activity, Files, Knowledge)


def folders_of(path: str) -> Iterator[str]:
    """Every folder above a file: "a/b/c.py" is in "a/b", "a" and ""."""
    while path:
        path = path.rpartition("/")[0]
        yield path


# --- from git into the log ----------------------------------------------------------------------------------


def batches(commits: Iterable[Committed]) -> Iterator[list[Committed]]:
    """Some commits at a time, bounded by their number and that of their changes."""
    batch: list[Committed] = []
    changes = 0
    for commit in commits:
        batch.append(commit)
        changes += len(commit.changes)
        if len(batch) >= BATCH_COMMITS or changes >= BATCH_CHANGES:
            yield batch
            batch, changes = [], 0
    if batch:
        yield batch


def take_in(repository: Repository, bus: EventBus) -> int:
    """Publish what the log does not have yet; returns how many commits that were."""
    bus.drain()  # the frontier is exact once everything in the log is counted
    refuse_another_history(repository, bus)
    known = [row["hash"] for row in bus.query("SELECT hash FROM tips")]
    progress = Progress(repository.count(known))
    done = new = 0
    for batch in batches(repository.commits(known)):
        receipts = bus.publish_many(batch, idempotency_keys=[each.commit for each in batch])
        bus.drain()
        done += len(batch)
        new += sum(not receipt.duplicate for receipt in receipts)
        progress.show(done)
    progress.clear()
    return new


def refuse_another_history(repository: Repository, bus: EventBus) -> None:
    """The log's first commit must be in the repository and still be where its history begins."""
    if repository.is_shallow:
        print(f"{repository.path} is a shallow clone: its history is read from where it was cut off.", file=sys.stderr)
    first = bus.log.get(1)
    if first is None:
        return
    begin: Committed = first.event
    if not repository.has(begin.commit) or (repository.has(f"{begin.commit}^") and not begin.parents):
        raise Refused(f"{bus.path} holds another history than {repository.path}. Choose another file with --log.")


class Progress:
    """How far it is, on stderr: one line that changes on a terminal, elsewhere a line for every tenth."""

    def __init__(self, total: int) -> None:
        self._total, self._started, self._tenths = total, time.monotonic(), 0
        self._live = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"

    def show(self, done: int) -> None:
        share = min(done / self._total, 1.0) if self._total else 1.0
        spent = time.monotonic() - self._started
        left = f", {spent / share * (1 - share):,.0f} s left" if share < 1 else ""
        line = f"{share:4.0%}  {done:,} of {self._total:,} commits{left}"
        if self._live:
            print(f"\r\x1b[2K{'█' * round(share * 30):░<30} {line}", end="", file=sys.stderr, flush=True)
        elif int(share * 10) > self._tenths:
            self._tenths = int(share * 10)
            print(line, file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._live:
            print("\r\x1b[2K", end="", file=sys.stderr, flush=True)


# --- what a person likes to read ----------------------------------------------------------------------------

SHOWN = 12  # rows of each list
SPARK = "▁▂▃▄▅▆▇█"
SPARK_WIDTH = 24
NAME = 48  # characters of an author's name


def report(bus: EventBus, repository: Repository, new: int) -> None:
    """The largest rows of each read model."""
    months = [row["month"] for row in bus.query("SELECT DISTINCT month FROM months ORDER BY month")]
    total = bus.query("SELECT count(DISTINCT author) AS authors, coalesce(sum(commits), 0) AS commits FROM months")[0]
    if not months:
        say(f"{repository.path} has no commits yet.")
        return
    say(f"{counted(total['commits'], 'commit')} by {counted(total['authors'], 'author')}")
    say()
    say(f"Commits per author and month, {months[0]} to {months[-1]}")
    for row in top(bus, "months", "author"):
        say(f"{row['n']:9,}  {activity(bus, row['author'], months)}  {named(row['author'])}")
    say()
    say("Most changed files")
    for row in bus.query("SELECT path, changes, formerly FROM files ORDER BY changes DESC, path LIMIT ?", (SHOWN,)):
        formerly = f"  (was {row['formerly']})" if row["formerly"] else ""
        say(f"{row['changes']:9,}  {row['path']}{formerly}")
    say()
    say("Who knows which folder")
    for row in top(bus, "folders", "folder"):
        say(f"{row['n']:9,}  {row['folder']}/  {experts(bus, row['folder'], row['n'])}")
    say()
    say(f"This run read {counted(new, 'commit')}; all of them are in {bus.path}")
    say(f"Look around in it: python -m eventbus log {bus.path}")


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def top(bus: EventBus, table: str, column: str) -> list[dict[str, Any]]:
    """The values of a column with the most commits."""
    sql = f"SELECT {column}, sum(commits) AS n FROM {table} GROUP BY {column} ORDER BY n DESC, {column} LIMIT ?"
    return bus.query(sql, (SHOWN,))


def activity(bus: EventBus, author: str, months: list[str]) -> str:
    """An author's commits over all months that have any, as a line of small bars."""
    width = min(SPARK_WIDTH, len(months))
    place = {month: index * width // len(months) for index, month in enumerate(months)}
    bars = [0] * width
    for row in bus.query("SELECT month, commits FROM months WHERE author = ?", (author,)):
        bars[place[row["month"]]] += row["commits"]
    return "".join(SPARK[(len(SPARK) * n - 1) // max(bars)] if n else " " for n in bars)


def experts(bus: EventBus, folder: str, commits: int) -> str:
    """Who made most of a folder's commits."""
    sql = "SELECT author, commits FROM folders WHERE folder = ? ORDER BY commits DESC, author LIMIT 3"
    names = [(named(row["author"].rpartition(" <")[0]), row["commits"]) for row in bus.query(sql, (folder,))]
    return ", ".join(f"{name} {share / commits:.0%}" for name, share in names)


def named(author: str) -> str:
    """A name for a list: no longer than names usually are, and something for nobody."""
    return author if 0 < len(author) <= NAME else f"{author[: NAME - 1]}…" if author else "(no name)"


def say(line: str = "") -> None:
    """Print a line, its control characters spelled out, no wider than the terminal."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)
    print(safe if not sys.stdout.isatty() else shortened(safe, shutil.get_terminal_size().columns))


def shortened(line: str, columns: int) -> str:
    """As much of a line as fits; East Asian letters take two columns."""
    for index, letter in enumerate(line):
        columns -= 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        if columns < 0:
            return line[:index]
    return line


def as_json(bus: EventBus, repository: Repository, new: int) -> None:
    """Everything, one object a line; `row` says what it is."""
    print(json.dumps({"row": "summary", "repository": repository.folder, "log": bus.path, "new": new}))
    for table in ("months", "files", "folders"):
        for row in bus.query(f"SELECT * FROM {table} ORDER BY 1, 2"):
            print(json.dumps({"row": table.removesuffix("s"), **row}))


# --- the command --------------------------------------------------------------------------------------------


def usual_log(repository: Repository) -> Path:
    """One log for each repository, in the folder where this person's applications keep their data."""
    digest = hashlib.sha256(os.fsencode(repository.folder)).hexdigest()[:8]
    return (
        platformdirs.user_data_path("eventbus-git-history", False)
        / f"{Path(repository.path).resolve().name}-{digest}.db"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="A git repository's history as events: who, when, where.")
    parser.add_argument("repository", metavar="REPO", help="a folder with a git repository, bare or not")
    parser.add_argument("--log", metavar="FILE", help="where the events are kept; stopped and run again, it goes on")
    parser.add_argument("--json", action="store_true", help="everything, one object a line")
    options = parser.parse_args()
    try:
        repository = Repository(options.repository)
        # The source scopes the keys: a log that was moved to another name must still know them.
        bus = EventBus(options.log or usual_log(repository), source="git", delivery="manual", max_payload=LARGEST_EVENT)
        for projection in PROJECTIONS:
            bus.project(projection)
        with bus:
            new = take_in(repository, bus)
            (as_json if options.json else report)(bus, repository, new)
    except (Refused, EventBusError) as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:  # whoever reads this has seen enough; what is left in the buffer goes nowhere
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
