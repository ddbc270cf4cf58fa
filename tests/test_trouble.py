"""SQLite's errors in our words, and patience with locks."""

from __future__ import annotations

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from eventbus.clock import Bell, SystemClock
from eventbus.errors import (
    LogBusy,
    LogCorrupt,
    LogError,
    LogFull,
    LogIOError,
    LogReadOnly,
    LogReplaced,
    NotAnEventLog,
)
from eventbus.store import disk
from eventbus.store.connection import connect
from eventbus.store.holders import writing_pids
from eventbus.store.location import Location
from eventbus.store.opening import open_log
from eventbus.store.statements import split
from eventbus.store.trouble import begin_immediate, translate, translate_os

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "events.db"
    open_log(Location.of(path), adopt=False, clock=SystemClock()).close()
    return path


@pytest.fixture
def writer(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(connect(Location.of(path), writable=True)) as connection:
        yield connection


class Waiting(SystemClock):
    """A clock whose time passes only by waiting; `then` happens in each wait."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.now, self.waits, self._then = 0.0, list[float](), then

    def monotonic(self) -> float:
        return self.now

    def jitter(self, upper: float) -> float:
        return upper

    def wait(self, bell: Bell, timeout: float | None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.now += timeout
        self._then()
        return False


def caught(action: Callable[[], object]) -> sqlite3.Error:
    with pytest.raises(sqlite3.Error) as error:
        action()
    return error.value


# --- locks ----------------------------------------------------------------------------------------------


def test_a_lock_is_waited_for_in_short_growing_steps(path: Path, writer: sqlite3.Connection) -> None:
    with closing(connect(Location.of(path), writable=True)) as other:
        other.execute("BEGIN IMMEDIATE")
        clock = Waiting(lambda: other.execute("COMMIT") if len(clock.waits) == 9 else None)
        begin_immediate(writer, str(path), clock)
    assert writer.in_transaction
    assert clock.waits == sorted(clock.waits)
    assert max(clock.waits) <= 0.05


def test_waiting_for_a_lock_has_an_end_that_says_nothing_was_stored(path: Path, writer: sqlite3.Connection) -> None:
    clock = Waiting()
    with closing(connect(Location.of(path), writable=True)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LogBusy) as busy:
            begin_immediate(writer, str(path), clock, 2.0)
    assert clock.now == pytest.approx(2.0)
    assert busy.value.stored == "not stored"
    assert not writer.in_transaction


@pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="only Linux lists locks")
def test_the_process_that_holds_the_lock_is_named(path: Path, writer: sqlite3.Connection) -> None:
    code = (
        "import sqlite3, sys\n"
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('BEGIN IMMEDIATE')\n"
        "print('held', flush=True)\n"
        "sys.stdin.read(1)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LogBusy, match=rf"process {holder.pid} \(python"):
            begin_immediate(writer, str(path), Waiting(), 0.1)
        holder.communicate("!")


def test_only_write_locks_on_the_right_byte_count() -> None:
    locks = (
        "1: POSIX  ADVISORY  WRITE 11 fe:00:77 120 120\n"
        "2: POSIX  ADVISORY  READ  12 fe:00:77 120 120\n"
        "3: POSIX  ADVISORY  WRITE 13 fe:00:77 123 123\n"
        "4: POSIX  ADVISORY  WRITE 14 fe:00:78 120 120\n"
        "5: -> POSIX  ADVISORY  WRITE 15 fe:00:77 100 EOF\n"
        "6: OFDLCK ADVISORY  WRITE -1 fe:00:77 120 120\n"
    )
    assert writing_pids(locks, "fe:00:77", 120) == {11}


# --- translations ---------------------------------------------------------------------------------------


def test_a_read_only_log_is_told(path: Path) -> None:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        error = translate(str(path), caught(lambda: connection.execute("CREATE TABLE t (a)")), during="write")
    assert type(error) is LogReadOnly
    assert error.hint


def test_a_full_log_is_told(path: Path, writer: sqlite3.Connection) -> None:
    writer.execute("PRAGMA max_page_count = 1")
    error = translate(
        str(path), caught(lambda: writer.execute("CREATE TABLE t AS SELECT zeroblob(99999) AS a")), during="write"
    )
    assert type(error) is LogFull
    assert error.stored == "not stored"


def test_what_is_not_a_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("no database " * 100)
    with pytest.raises(NotAnEventLog):
        connect(Location.of(path), writable=True)


def test_a_corrupt_log_is_told(path: Path) -> None:
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (size - 4096))
    with closing(sqlite3.connect(path)) as connection:
        error = translate(str(path), caught(lambda: connection.execute("DELETE FROM eventbus_events")), during="write")
    assert type(error) is LogCorrupt
    assert error.hint


def test_a_log_that_was_deleted_while_open_is_told(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.commit()
        path.unlink()
        error = translate(str(path), caught(lambda: connection.execute("CREATE TABLE u (a)")), during="write")
    assert type(error) is LogReplaced
    with pytest.raises(LogReplaced):
        connect(Location.of(path), writable=True)


@pytest.mark.skipif(os.name == "nt", reason="only POSIX limits the size of a process's files")
def test_a_file_size_limit_is_told_from_a_broken_disk(path: Path) -> None:
    code = (
        "import os, resource, sqlite3, sys\n"
        "from eventbus.store.connection import connect\n"
        "from eventbus.store.location import Location\n"
        "from eventbus.store.trouble import translate\n"
        "c = connect(Location.of(sys.argv[1]), writable=True)\n"
        "c.execute('CREATE TABLE t (a)')\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "c.execute('BEGIN IMMEDIATE')\n"
        "c.executemany('INSERT INTO t VALUES (?)', [('x' * 1000,)] * 500)\n"
        "try: c.execute('COMMIT')\n"
        "except sqlite3.Error as error:\n"
        "    told = translate(sys.argv[1], error, during='commit')\n"
        "    print(error, type(told).__name__, told.stored, told, sep='|')\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False, env=environment
    )
    assert done.stderr == ""
    sqlite_said, kind, stored, sentence = done.stdout.split("|")
    assert sqlite_said == "disk I/O error"
    assert (kind, stored) == ("LogFull", "in doubt")
    assert "limit of 300000 bytes per file" in sentence


def io_error() -> sqlite3.Error:
    error = sqlite3.OperationalError("disk I/O error")
    error.sqlite_errorcode, error.sqlite_errorname = 1034, "SQLITE_IOERR_FSYNC"
    return error


@pytest.mark.parametrize(("number", "words"), [(errno.EDQUOT, "quota"), (errno.ENOSPC, "no space is left")])
def test_a_used_up_quota_is_told_from_a_broken_disk(
    path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    monkeypatch.setattr(disk, "probe", lambda path: OSError(number, os.strerror(number)))
    error = translate(str(path), io_error(), during="write")
    assert type(error) is LogFull
    assert words in str(error)


def test_a_failed_sync_leaves_a_commit_in_doubt_and_nothing_else(path: Path) -> None:
    assert translate(str(path), io_error(), during="commit").stored == "in doubt"
    error = translate(str(path), io_error(), during="read")
    assert type(error) is LogIOError
    assert error.stored == ""
    assert "another file can be written there" in str(error)


def test_a_probe_leaves_nothing_behind(path: Path) -> None:
    before = sorted(os.listdir(path.parent))
    assert disk.probe(str(path)) is None
    assert sorted(os.listdir(path.parent)) == before


def test_what_has_no_translation_keeps_its_words(path: Path, writer: sqlite3.Connection) -> None:
    error = translate(str(path), caught(lambda: writer.execute("SELECT * FROM nowhere")), during="read")
    assert type(error) is LogError
    assert "could not read: no such table: nowhere" in str(error)


@pytest.mark.parametrize(
    ("number", "kind"),
    [
        (errno.EACCES, LogReadOnly),
        (errno.EROFS, LogReadOnly),
        (errno.ENOSPC, LogFull),
        (errno.ENOTDIR, NotAnEventLog),
        (errno.EIO, LogIOError),
    ],
)
def test_errors_of_the_system_have_a_kind_each(number: int, kind: type[LogError]) -> None:
    assert type(translate_os("/x/events.db", OSError(number, os.strerror(number)), during="make the file")) is kind


# --- scripts --------------------------------------------------------------------------------------------


def test_a_script_is_split_between_statements_only() -> None:
    trigger = "CREATE TRIGGER t AFTER INSERT ON x BEGIN SELECT 1; SELECT 2; END;"
    script = f"SELECT ';'; -- a; b\nSELECT 1 /* ; */;\n{trigger} SELECT 3"
    assert list(split(script)) == [
        "SELECT ';';",
        "-- a; b\nSELECT 1 /* ; */;",
        trigger,
        "SELECT 3;",
    ]
