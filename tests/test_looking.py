"""Looking at a log leaves no trace, whatever state it was left in."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
from log_stage import command, environment, killed, make_log, notes, opened, run_python, traces

from eventbus.errors import LogBusy
from eventbus.store.opening import look, read_identity

WRITE_AND_STOP = (
    "c = opened(sys.argv[1])\n"
    "c.execute('CREATE TABLE notes (text)')\n"
    "c.execute(\"INSERT INTO notes VALUES ('in the wal')\")"
)


def test_looking_at_a_log_after_a_crash_shows_all_and_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    killed(WRITE_AND_STOP, path)
    before = traces(tmp_path)
    with closing(look(path)) as connection:
        assert notes(connection) == ["in the wal"]
    assert traces(tmp_path) == before


def test_looking_at_a_log_that_was_mailed_with_its_wal_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    killed(WRITE_AND_STOP, path)
    (tmp_path / "events.db-shm").unlink()
    before = traces(tmp_path)
    with closing(look(path)) as connection:
        assert notes(connection) == ["in the wal"]
    assert traces(tmp_path) == before


def spoil(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("at", [3, 20, 40, 500], ids=["magic", "salt", "first frame", "first page"])
def test_looking_at_a_log_whose_wal_cannot_be_read_keeps_that_wal(tmp_path: Path, at: int) -> None:
    """SQLite deletes a -wal in which it finds nothing, and with it the last copy of what was there."""
    path = tmp_path / "events.db"
    killed(WRITE_AND_STOP, path)
    (tmp_path / "events.db-shm").unlink()
    spoil(tmp_path / "events.db-wal", at)
    before = traces(tmp_path)
    with closing(look(path)) as connection:
        assert read_identity(connection).incarnation == 1
    assert traces(tmp_path) == before


def test_looking_at_a_log_that_was_killed_before_its_first_commit_in_the_wal_keeps_that_wal(tmp_path: Path) -> None:
    path = make_log(tmp_path / "events.db")
    killed(
        "c = opened(sys.argv[1])\n"
        "c.execute('PRAGMA cache_size = 1')\n"
        "c.execute('BEGIN')\n"
        "c.execute('CREATE TABLE notes (text)')\n"
        "c.executemany('INSERT INTO notes VALUES (?)', [('x' * 3000,)] * 100)",
        path,
    )
    (tmp_path / "events.db-shm").unlink()
    assert (tmp_path / "events.db-wal").stat().st_size > 100_000
    before = traces(tmp_path)
    with closing(look(path)) as connection:
        assert read_identity(connection).incarnation == 1
    assert traces(tmp_path) == before


def test_looking_at_a_closed_log_leaves_no_trace(tmp_path: Path) -> None:
    path = make_log(tmp_path / "events.db")
    before = traces(tmp_path)
    with closing(look(path)) as connection:
        assert read_identity(connection).incarnation == 1
    assert traces(tmp_path) == before


def test_looking_at_a_live_log_follows_it(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with closing(opened(path)) as writer:
        writer.execute("CREATE TABLE notes (text)")
        with closing(look(path)) as connection:
            assert notes(connection) == []
            writer.execute("INSERT INTO notes VALUES ('later')")
            assert notes(connection) == ["later"]
            with pytest.raises(sqlite3.OperationalError):
                connection.execute("INSERT INTO notes VALUES ('mine')")


def test_looking_does_not_take_away_the_locks_of_a_bus_in_the_same_process(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with closing(opened(path)) as writer:
        writer.execute("CREATE TABLE notes (text)")
        look(path).close()
        opened(path).close()
        # A process that believed itself alone would delete the live -wal when it closes.
        assert run_python("opened(sys.argv[1]).close()", path).stderr == ""
        writer.execute("INSERT INTO notes VALUES ('kept')")
    with closing(opened(path)) as connection:
        assert notes(connection) == ["kept"]


def test_a_look_at_what_a_crash_left_must_end_before_the_log_is_written_here(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    killed(WRITE_AND_STOP, path)
    with closing(look(path)), pytest.raises(LogBusy, match="Close the connection"):
        opened(path)
    with closing(opened(path)) as connection:
        assert notes(connection) == ["in the wal"]


@pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="only Linux lists locks")
def test_a_look_at_a_log_that_is_open_elsewhere_does_not_hinder_a_bus_here(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    code = WRITE_AND_STOP + "\nprint('open', flush=True); sys.stdin.read(1)"
    with subprocess.Popen(
        command(code, path), env=environment(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "open\n"
        with closing(look(path)) as looking, closing(opened(path)) as writer:
            writer.execute("INSERT INTO notes VALUES ('from here')")
            assert notes(looking) == ["in the wal", "from here"]
        other.communicate("!")
