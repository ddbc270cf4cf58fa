"""Opening: a new log is whole and private, many may make it at once, and it lives beside other tables."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import threading
from contextlib import closing
from pathlib import Path

import pytest
from log_stage import (
    another_application_in_wal_mode,
    command,
    environment,
    killed,
    make_log,
    notes,
    opened,
    raw,
    run_python,
)

from eventbus.clock import SystemClock
from eventbus.errors import LogError, NotAnEventLog
from eventbus.store import checkpoint, migrations, opening, recognise
from eventbus.store.connection import connect
from eventbus.store.location import Location
from eventbus.store.opening import look, open_log, read_identity
from eventbus.store.schema import APPLICATION_ID, SCHEMA_VERSION

# --- a new log ------------------------------------------------------------------------------------------


def test_a_new_log_is_private_marked_and_in_wal_mode(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with closing(opened(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert read_identity(connection).schema_version == SCHEMA_VERSION
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {"events.db": 0o600, "events.db-wal": 0o600, "events.db-shm": 0o600}


def test_missing_folders_are_made_private(tmp_path: Path) -> None:
    make_log(tmp_path / "a" / "b" / "events.db")
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_an_empty_file_is_a_new_log(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    path.touch()
    with closing(opened(path)) as connection:
        assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)


def test_a_log_keeps_its_identity(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    with closing(opened(path)) as connection:
        first = read_identity(connection)
    with closing(opened(path)) as connection:
        assert read_identity(connection) == first


def test_the_file_alone_is_a_whole_log_from_the_start(tmp_path: Path) -> None:
    killed("opened(sys.argv[1])", tmp_path / "events.db")
    mailed = tmp_path / "mailed.db"
    shutil.copy(tmp_path / "events.db", mailed)
    with closing(look(mailed)) as connection:
        assert read_identity(connection).incarnation == 1


@pytest.mark.skipif(os.name == "nt", reason="a file size limit kills the process in the middle of a write")
def test_a_log_whose_making_was_cut_off_is_made_by_the_next_opener(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    done = run_python(
        "import resource\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))\n"
        "opened(sys.argv[1])",
        path,
    )
    assert done.returncode == -signal.SIGXFSZ
    assert path.stat().st_size > 0
    assert (tmp_path / "events.db-journal").stat().st_size > 0
    with pytest.raises(NotAnEventLog, match="cut off"):
        look(path)
    with closing(opened(path)) as connection:
        assert read_identity(connection).schema_version == SCHEMA_VERSION


def test_a_log_whose_making_a_loss_of_power_cut_off_is_made_by_the_next_opener(tmp_path: Path) -> None:
    """The journal is on the disk, and of the file some page, but not the first, which says whose it is."""
    path = tmp_path / "events.db"
    path.write_bytes(bytes(57_344))
    (tmp_path / "events.db-journal").write_bytes(
        bytes.fromhex("d9d505f920a163d7 00000000 0150651f 00000000 00000200 00001000") + bytes(484)
    )
    with pytest.raises(NotAnEventLog, match="cut off"):
        look(path)
    with closing(opened(path)) as connection:
        assert read_identity(connection).schema_version == SCHEMA_VERSION


def test_a_journal_that_another_process_plays_back_in_the_meantime_is_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "events.db"
    path.write_bytes(bytes(57_344))
    journal = tmp_path / "events.db-journal"
    journal.write_bytes(bytes.fromhex("d9d505f920a163d7 00000000 0150651f 00000000 00000200 00001000") + bytes(484))
    was_empty = opening._was_empty

    def play_back_first(location: Location) -> bool:
        journal.unlink()
        path.write_bytes(b"")
        return was_empty(location)

    monkeypatch.setattr(opening, "_was_empty", play_back_first)
    with closing(opened(path)) as connection:
        assert read_identity(connection).schema_version == SCHEMA_VERSION


def test_24_processes_open_one_new_log_at_once(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "events.db"
    code = "print('ready', flush=True); sys.stdin.read(1); c = opened(sys.argv[1]); print(read_identity(c).log_id)"
    children = [
        subprocess.Popen(
            command(code, path),
            env=environment(),
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(24)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    results = []
    for child in children:
        assert child.stdin is not None
        child.stdin.write("!")
        child.stdin.flush()
    for child in children:
        results.append(child.communicate())
    assert [error for _, error in results if error] == []
    assert len({log_id for log_id, _ in results}) == 1


def test_16_threads_open_one_new_log_at_once(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    found: list[str] = []
    together = threading.Barrier(16)

    def open_and_write() -> None:
        together.wait(60)
        with closing(opened(path)) as connection:
            found.append(read_identity(connection).log_id)

    threads = [threading.Thread(target=open_and_write) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 16
    assert len(set(found)) == 1


def test_names_that_mean_something_in_a_uri_are_only_names(tmp_path: Path) -> None:
    for name in ["a b?mode=memory#x%41&.db", "grün.db", os.fsdecode(b"raw-\xff.db")]:
        path = make_log(tmp_path / name)
        assert path.stat().st_size > 0
    assert len(list(tmp_path.iterdir())) == 3


def test_a_symbolic_link_leads_to_the_file_it_names(tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(tmp_path / "real.db")
    with closing(opened(link)):
        assert {path.name for path in tmp_path.iterdir()} == {"link.db", "real.db", "real.db-wal", "real.db-shm"}
    assert Location.of(link) == Location.of(tmp_path / "real.db")


def test_in_memory_connections_share_a_log_and_locations_do_not() -> None:
    here, there = Location.of(None), Location.of(None)
    with (
        closing(open_log(here, adopt=False, clock=SystemClock())) as first,
        closing(connect(here, writable=False)) as second,
        closing(open_log(there, adopt=False, clock=SystemClock())) as other,
    ):
        assert read_identity(first) == read_identity(second)
        assert read_identity(first) != read_identity(other)


# --- beside other tables --------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_adopting_leaves_what_was_there_undisturbed(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "app.db"
    with raw(path) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("PRAGMA application_id = 77")
        connection.execute("PRAGMA user_version = 5")
        connection.execute("CREATE TABLE notes (text)")
        connection.execute("INSERT INTO notes VALUES ('mine')")
    opened(path, adopt=True).close()
    with closing(opened(path)) as connection:  # from now on it is a log, without asking again
        assert connection.execute("SELECT * FROM notes").fetchall() == [("mine",)]
        assert connection.execute("PRAGMA application_id").fetchone() == (77,)
        assert connection.execute("PRAGMA user_version").fetchone() == (5,)
        assert read_identity(connection).schema_version == SCHEMA_VERSION


def test_an_adopted_file_alone_is_a_whole_log_at_once(tmp_path: Path) -> None:
    path, mailed = tmp_path / "app.db", tmp_path / "mailed.db"
    another_application_in_wal_mode(path)
    killed("open_log(Location.of(sys.argv[1]), adopt=True, clock=SystemClock())", path)
    shutil.copy(path, mailed)
    look(mailed).close()


def test_an_older_log_is_brought_up_to_date_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_log(tmp_path / "events.db")
    for module in (opening, recognise, migrations):
        monkeypatch.setattr(module, "SCHEMA_VERSION", SCHEMA_VERSION + 1)
    monkeypatch.setattr(
        migrations, "STEPS", {SCHEMA_VERSION: "CREATE TABLE eventbus_new (a); CREATE VIEW v AS SELECT 1"}
    )
    with pytest.raises(LogError, match="older release"):
        look(path)
    for _ in range(2):
        with closing(opened(path)) as connection:
            assert read_identity(connection).schema_version == SCHEMA_VERSION + 1
            assert connection.execute("SELECT count(*) FROM eventbus_new").fetchone() == (0,)


# --- connections and checkpoints ------------------------------------------------------------------------


def test_every_connection_has_the_settings_the_log_relies_on(tmp_path: Path) -> None:
    path = make_log(tmp_path / "events.db")
    wanted = {
        "wal_autocheckpoint": 0,
        "synchronous": 2,
        "trusted_schema": 0,
        "cell_size_check": 1,
        "mmap_size": 0,
        "busy_timeout": 0,
    }
    for writable in (True, False):
        with closing(connect(Location.of(path), writable=writable)) as connection:
            assert {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted} == wanted
            assert connection.isolation_level is None
            assert connection.execute("PRAGMA query_only").fetchone() == (int(not writable),)


def test_a_checkpoint_moves_all_into_the_file_and_a_reader_may_be_its_partner(tmp_path: Path) -> None:
    here = Location.of(tmp_path / "events.db")
    with (
        closing(open_log(here, adopt=False, clock=SystemClock())) as writer,
        closing(connect(here, writable=False)) as reader,
    ):
        writer.execute("CREATE TABLE notes (text)")
        frames = checkpoint.wal_frames(here)
        assert frames > 0
        result = checkpoint.run(writer, reader)
        assert (result.frames, result.moved, result.complete) == (frames, frames, True)
        shutil.copy(here.name, tmp_path / "mailed.db")
        with closing(look(tmp_path / "mailed.db")) as connection:
            assert notes(connection) == []


def test_a_checkpoint_steps_back_while_another_process_writes(tmp_path: Path) -> None:
    here = Location.of(tmp_path / "events.db")
    with (
        closing(open_log(here, adopt=False, clock=SystemClock())) as writer,
        closing(connect(here, writable=False)) as reader,
        raw(tmp_path / "events.db") as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        result = checkpoint.run(writer, reader)
        assert result.busy
        assert not result.complete


def test_a_checkpoint_in_memory_has_nothing_to_do() -> None:
    here = Location.of(None)
    with (
        closing(open_log(here, adopt=False, clock=SystemClock())) as writer,
        closing(connect(here, writable=False)) as reader,
    ):
        assert checkpoint.wal_frames(here) == 0
        assert checkpoint.run(writer, reader).complete
