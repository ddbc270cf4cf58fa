"""The examples, each run as a user runs it."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from synthetic_history import git, make_repository

from eventbus import EventBus

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


def command(example: str, *arguments: object) -> list[str]:
    return [sys.executable, str(EXAMPLES / example), *map(str, arguments)]


def run(example: str, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command(example, *arguments), capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done


# --- orders -----------------------------------------------------------------------------------------------


def test_the_orders_explain_themselves_and_make_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "[FILE]" in run("orders.py", "--help").stdout
    assert list(tmp_path.iterdir()) == []


# --- git_history ------------------------------------------------------------------------------------------

MAX_AUTHOR = 600


def read(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def truth(repository: Path) -> dict[str, Counter[tuple[str, ...]]]:
    """What the read models must say, from git by another way: one diff-tree for all commits."""
    written = git(repository, "log", "--no-mailmap", "--date=format:%Y-%m", "--format=%H%x00%an <%ae>%x00%ad", "HEAD")
    author, months = {}, Counter[tuple[str, ...]]()
    for line in written.split(b"\n")[:-1]:
        commit, who, month = line.split(b"\0")
        name = read(who)
        author[commit] = name if len(name) <= MAX_AUTHOR else name[:MAX_AUTHOR] + "…"
        months[author[commit], month.decode()] += 1
    files, touched, now = Counter[tuple[str, ...]](), set[tuple[bytes, str]](), b""
    commits = b"".join(commit + b"\n" for commit in author)
    changed = git(repository, "diff-tree", "--stdin", "-z", "-r", "--root", "-M", "--name-only", stdin=commits)
    for token in changed.split(b"\0")[:-1]:
        if token in author:
            now = token
            continue
        path = read(token)
        files[path,] += 1
        touched |= {(now, path[:end]) for end, letter in enumerate(path) if letter == "/"} | {(now, "")}
    folders = Counter((folder, author[commit]) for commit, folder in touched)
    return {"month": months, "file": files, "folder": folders}


def told(log: Path, repository: Path) -> tuple[dict[str, Any], dict[str, Counter[tuple[str, ...]]]]:
    """What `--json` says: the summary, and the read models."""
    lines = [json.loads(line) for line in run("git_history.py", repository, "--log", log, "--json").stdout.splitlines()]
    columns = {"month": ("author", "month"), "file": ("path",), "folder": ("folder", "author")}
    found = {row: Counter[tuple[str, ...]]() for row in columns}
    for line in lines[1:]:
        key = tuple(line[column] for column in columns[line["row"]])
        assert key not in found[line["row"]]
        found[line["row"]][key] = line["changes" if line["row"] == "file" else "commits"]
    return lines[0], found


def commits_in(log: Path) -> list[dict[str, Any]]:
    with EventBus(log, delivery="manual") as bus:
        return [json.loads(envelope.payload or "") for envelope in bus.log.read()]


def run_and_kill(repository: Path, log: Path, chance: random.Random) -> int:
    """Start it, let it get somewhere, kill it; returns how it ended."""
    with subprocess.Popen(
        command("git_history.py", repository, "--log", log), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        process.stderr.readline()  # a tenth is done
        try:  # not a wait for anything: the kill is to hit any point
            process.wait(timeout=chance.uniform(0.0, 0.03))
        except subprocess.TimeoutExpired:
            process.kill()
    return process.returncode


@needs_git
def test_git_history_killed_again_and_again_ends_with_the_truth(tmp_path: Path) -> None:
    repository, log = make_repository(tmp_path / "repository", 2500), tmp_path / "log" / "history.db"
    chance = random.Random(2)
    ends = [run_and_kill(repository, log, chance) for _ in range(4)]
    assert ends.count(-signal.SIGKILL) >= 2
    expected = truth(repository)
    summary, found = told(log, repository)
    assert 0 < summary["new"] < expected["month"].total(), "it began anew, or the kills came too late"
    assert found == expected
    seen: set[str] = set()
    for commit in commits_in(log):
        assert commit["commit"] not in seen
        assert seen.issuperset(commit["parents"])
        seen.add(commit["commit"])
    assert seen == set(git(repository, "rev-list", "HEAD").decode().split())


@needs_git
def test_git_history_takes_in_what_came_since_and_survives_a_rewritten_branch(tmp_path: Path) -> None:
    repository, log = make_repository(tmp_path / "repository", 60), tmp_path / "history.db"
    first = told(log, repository)[0]["new"]
    after = b"author A <a@x> 1 +0000\ncommitter A <a@x> 1 +0000\n\nlater\n"
    tree = git(repository, "rev-parse", "HEAD^{tree}").strip()
    for where in ("HEAD", "HEAD~2"):  # one on top; then one that takes the place of this and another
        parent = git(repository, "rev-parse", where).strip()
        text = b"tree %s\nparent %s\n" % (tree, parent) + after
        commit = git(repository, "hash-object", "-t", "commit", "-w", "--stdin", stdin=text).decode().strip()
        git(repository, "update-ref", "refs/heads/main", commit)
        git(repository, "reflog", "expire", "--expire=now", "--all")
        git(repository, "gc", "--quiet", "--prune=now")
        assert told(log, repository)[0]["new"] == 1
    hashes = [commit["commit"] for commit in commits_in(log)]
    assert len(set(hashes)) == len(hashes) == first + 2


@needs_git
def test_git_history_does_not_go_on_where_a_shallow_clone_was_completed(tmp_path: Path) -> None:
    repository, clone, log = make_repository(tmp_path / "repository", 30), tmp_path / "clone", tmp_path / "history.db"
    git(tmp_path, "clone", "--quiet", "--bare", "--depth=1", repository.as_uri(), str(clone))
    assert "shallow" in run("git_history.py", clone, "--log", log).stderr
    git(clone, "fetch", "--quiet", "--unshallow")
    assert "another history" in run("git_history.py", clone, "--log", log, code=2).stderr


@needs_git
def test_git_history_is_pleasant_to_read_and_prints_no_control_characters(tmp_path: Path) -> None:
    repository = make_repository(tmp_path / "repository", 300)
    done = run("git_history.py", repository, "--log", tmp_path / "history.db")
    for title in ("Commits per author and month", "Most changed files", "Who knows which folder"):
        assert title in done.stdout
    assert all(letter.isprintable() for letter in done.stdout.replace("\n", ""))
    assert "山田 太郎" in done.stdout
    assert "100%" in done.stderr


@needs_git
def test_git_history_keeps_one_log_for_each_repository_where_applications_keep_their_data(tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert str(tmp_path) not in run("git_history.py", make_repository(tmp_path / name, 5)).stdout
    again = run("git_history.py", tmp_path / "one")
    assert "This run read 0 commits" in again.stdout


@needs_git
def test_git_history_has_a_sentence_for_an_empty_repository(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet", "empty")
    done = run("git_history.py", tmp_path / "empty", "--log", tmp_path / "history.db")
    assert done.stdout == f"{tmp_path / 'empty'} has no commits yet.\n"


@needs_git
@pytest.mark.parametrize("bad", ["a folder", "a file", "nothing", "another repository", "no log"])
def test_git_history_refuses_what_it_cannot_read_with_one_sentence(tmp_path: Path, bad: str) -> None:
    repository, log = tmp_path / "repository", tmp_path / "history.db"
    if bad == "a folder":
        repository.mkdir()
    elif bad == "a file":
        repository.write_text("")
    elif bad == "another repository":
        run("git_history.py", make_repository(tmp_path / "other", 5, seed=2), "--log", log)
        make_repository(repository, 5)
    elif bad == "no log":
        make_repository(repository, 5)
        log.write_text("This is not a log.")
    done = run("git_history.py", repository, "--log", log, code=2)
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert str(tmp_path) in done.stderr


# --- the others -------------------------------------------------------------------------------------------


def test_orders_tells_its_story_and_goes_on_in_the_same_file(tmp_path: Path) -> None:
    in_memory = run("orders.py").stdout
    assert run("orders.py", tmp_path / "shop.db").stdout.splitlines()[2:] == in_memory.splitlines()[2:]
    again = run("orders.py", tmp_path / "shop.db").stdout
    for line in (
        "Thank you, Ada: bicycle for 499.00.",
        "  The provider does not answer; the order stays due.",
        "  Order 2 is on its way; 8 left.",
        "The story of order 2:\n  1  shop.OrderPlaced\n  2  shop.OrderPaid\n  3  shop.OrderShipped",
        "Ada has placed 2 for 998.00.",
    ):
        assert line in again
    assert "is not a SQLite database" in run("orders.py", EXAMPLES / "orders.py", code=1).stderr


def test_the_to_do_list_undoes_what_happened(tmp_path: Path) -> None:
    def todo(*words: object, code: int = 0) -> str:
        done = run("history_cli.py", "--file", tmp_path / "todo.db", *words, code=code)
        return done.stdout or done.stderr

    assert todo("undo", code=1) == "There is nothing to undo here.\n"
    assert todo("add", code=1) == "Say what is to be done: add TEXT\n"
    assert todo("done", code=1) == "Say which entry is done: done NUMBER\n"
    todo("add", "buy", "milk")
    todo("add", "call mum")
    todo("done", 1)
    assert todo("list") == "   2  call mum\n"
    todo("undo")
    todo("undo")
    assert todo("list") == "   1  buy milk\n"
    assert todo("done", 2, code=1) == "'2' is not on the list.\n"
    assert ["(undone)" in line for line in todo("history").splitlines()] == [False, True, True, False, False]


def test_the_to_do_list_is_kept_with_the_data_of_applications() -> None:
    run("history_cli.py", "add", "remember me")
    assert "remember me" in run("history_cli.py", "list").stdout


def without_a_screen(reason: str) -> None:
    if os.environ.get("CI", "").lower() in ("1", "true"):
        pytest.fail(f"{reason}; CI must have one")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def display() -> Iterator[str]:
    """The screen there is, or one of Xvfb's."""
    if importlib.util.find_spec("_tkinter") is None:
        without_a_screen("this Python has no Tk")
    if os.environ.get("DISPLAY"):
        yield os.environ["DISPLAY"]
        return
    if shutil.which("Xvfb") is None:
        without_a_screen("Tk needs a display: DISPLAY is not set and Xvfb is not installed")
    read_end, write_end = os.pipe()
    xvfb = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "640x480x24", "-nolisten", "tcp"]
    with subprocess.Popen(xvfb, pass_fds=[write_end], stderr=subprocess.DEVNULL) as server:
        os.close(write_end)
        with os.fdopen(read_end) as pipe:
            number = pipe.readline().strip()
        if number:
            yield f":{number}"
        server.terminate()
    if not number:
        without_a_screen("Tk needs a display: Xvfb did not start")


# The window in a process of its own, as its main() makes it. A clock of Tk's ticks beside the import and says how
# often at each step of progress; at the end the window is closed as a person closes it.
DRIVEN = """
import sys, tkinter
sys.path.insert(0, sys.argv.pop(1))
import import_window

def tick(window):
    window.ticks += 1
    window.root.after(1, tick, window)

class Driven(import_window.Window):
    def __init__(self, root, bus):
        super().__init__(root, bus)
        self.ticks = 0
        tick(self)

    def show(self, progress):
        super().show(progress)
        print(progress.done, self.ticks, self.said["text"], flush=True)

    def finished(self, imported):
        super().finished(imported)
        print(self.said["text"], flush=True)
        self.close()

    def take_back(self, file, why):
        shown = self.files.get(0, "end")
        super().take_back(file, why)
        print(shown == (file,), self.files.get(0, "end"), self.said["text"], flush=True)
        self.close()

import_window.Window = Driven
sys.exit(import_window.main())
"""


def window(display: str, *arguments: object) -> subprocess.Popen[str]:
    driven = [sys.executable, "-c", DRIVEN, str(EXAMPLES), *map(str, arguments)]
    environment = os.environ | {"DISPLAY": display}
    return subprocess.Popen(driven, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8")


def write_contacts(path: Path, rows: int) -> Path:
    path.write_text("".join(f"Person {n},person{n}@example.org\n" for n in range(rows)), encoding="utf-8")
    return path


def contacts_in(log: Path) -> list[str]:
    with EventBus(log, delivery="manual") as bus:
        return [row["name"] for row in bus.query("SELECT name FROM contacts ORDER BY rowid")]


def test_the_window_lives_while_an_import_runs_and_goes_on_after_a_kill(tmp_path: Path, display: str) -> None:
    rows, log = 1000, tmp_path / "contacts.db"
    csv = write_contacts(tmp_path / "people.csv", rows)
    with window(display, csv, "--log", log) as process:
        assert process.stdout is not None
        before = [process.stdout.readline().split() for _ in range(6)]
        process.kill()
    ticks = [int(words[1]) for words in before]
    assert ticks[0] < ticks[-1], "the window stood still while it was imported"
    assert before[-1][2:] == ["300", "of", "1,000", "rows"]
    with window(display, "--log", log) as process:  # nobody asks again
        out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    *steps, last = out.splitlines()
    assert last == "1,000 rows are imported."
    assert 300 <= int(steps[0].split()[0]) <= rows
    assert contacts_in(log) == [f"Person {n}" for n in range(rows)]


@pytest.mark.parametrize(("rows", "why"), [(None, "FileNotFoundError"), (0, "it has no rows")])
def test_the_window_takes_back_a_file_that_cannot_be_imported(
    tmp_path: Path, display: str, rows: int | None, why: str
) -> None:
    csv = tmp_path / "people.csv" if rows is None else write_contacts(tmp_path / "people.csv", rows)
    with window(display, csv, "--log", tmp_path / "contacts.db") as process:
        out, _ = process.communicate()
    assert process.returncode == 0
    assert out.startswith(f"True () The import failed: {why}")


def test_the_window_has_a_sentence_for_a_machine_without_a_screen(tmp_path: Path) -> None:
    if importlib.util.find_spec("_tkinter") is None:
        without_a_screen("this Python has no Tk")
    nowhere = {name: value for name, value in os.environ.items() if name != "DISPLAY"}
    words = command("import_window.py", "--log", tmp_path / "contacts.db")
    done = subprocess.run(words, env=nowhere, capture_output=True, encoding="utf-8", check=False)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert not (tmp_path / "contacts.db").exists()
