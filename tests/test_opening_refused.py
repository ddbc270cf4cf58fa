"""Opening what is not a log, or may not be written: each its own error, and everything is left as it was."""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cli_stage import run
from earlier import lay_out
from log_stage import (
    another_application_in_wal_mode,
    another_application_that_crashed,
    killed,
    make_log,
    opened,
    raw,
    run_python,
    traces,
)

from eventbus import EventBus
from eventbus.clock import SystemClock
from eventbus.errors import LogCorrupt, LogError, LogIOError, LogOnNetworkFS, LogTooNew, NotAnEventLog
from eventbus.store import opening
from eventbus.store.location import Location
from eventbus.store.mounts import is_shared_between_machines, mounts_of_linux, mounts_of_macos, type_at
from eventbus.store.opening import look, open_log
from eventbus.store.schema import APPLICATION_ID

NOBODY = 65534

# --- what is not a log ----------------------------------------------------------------------------------


def a_text_file(path: Path) -> None:
    path.write_text("Dear diary, " * 100)


def a_few_bytes(path: Path) -> None:
    path.write_bytes(b"SQLite")


def a_single_byte(path: Path) -> None:
    path.write_bytes(b"\n")  # SQLite takes it for an empty file


def a_folder(path: Path) -> None:
    path.mkdir()


def a_fifo(path: Path) -> None:
    os.mkfifo(path)


def a_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(here)


def a_device(path: Path) -> None:
    path.symlink_to("/dev/null")


def another_application(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("PRAGMA application_id = 77")
        connection.execute("CREATE TABLE notes (text)")


def another_application_brought_with_its_wal(path: Path) -> None:
    another_application_that_crashed(path)
    path.with_name(path.name + "-shm").unlink()


def another_application_cut_off_in_a_transaction(path: Path) -> None:
    killed(
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('CREATE TABLE notes (text)')\n"
        "c.execute('PRAGMA cache_size = 1')\n"
        "c.execute('BEGIN')\n"
        "c.executemany('INSERT INTO notes VALUES (?)', [('x' * 3000,)] * 100)",
        path,
    )
    assert path.with_name(path.name + "-journal").exists()


def a_database_without_tables(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("PRAGMA user_version = 5")


def a_log_without_its_wal(path: Path) -> None:
    killed(
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        f"c.execute('PRAGMA application_id = {APPLICATION_ID}')\n"
        "c.execute('PRAGMA journal_mode = WAL')\n"
        "c.execute('CREATE TABLE eventbus_log (id)')",
        path,
    )
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink()


def an_empty_file_with_a_full_wal(path: Path) -> None:
    another_application_that_crashed(path)
    path.with_name(path.name + "-shm").unlink()
    os.truncate(path, 0)


def a_newer_log(path: Path) -> None:
    with raw(make_log(path)) as connection:
        connection.execute("UPDATE eventbus_log SET schema_version = 99")


def a_log_of_no_version(path: Path) -> None:
    with raw(make_log(path)) as connection:
        connection.execute("UPDATE eventbus_log SET schema_version = 0")


def a_truncated_log(path: Path) -> None:
    os.truncate(make_log(path), 3 * 4096)


def a_log_without_some_tables(path: Path) -> None:
    with raw(make_log(path)) as connection:
        connection.execute("DROP INDEX eventbus_events_stream")
        connection.execute("DROP TABLE eventbus_keys")


def a_log_without_its_own_row(path: Path) -> None:
    with raw(make_log(path)) as connection:
        connection.execute("DELETE FROM eventbus_log")


def a_log_without_its_own_table(path: Path) -> None:
    with raw(make_log(path)) as connection:
        connection.execute("DROP TABLE eventbus_log")


def a_table_that_only_has_the_name(path: Path) -> None:
    with raw(path) as connection:
        connection.execute("CREATE TABLE eventbus_log (lines TEXT)")
        connection.execute("INSERT INTO eventbus_log VALUES ('x')")


REFUSED: list[tuple[Callable[[Path], None], type[LogError], str]] = [
    (a_text_file, NotAnEventLog, "not a SQLite database"),
    (a_few_bytes, NotAnEventLog, "not a SQLite database"),
    (a_single_byte, NotAnEventLog, "not a SQLite database"),
    (a_folder, NotAnEventLog, "folder"),
    (a_fifo, NotAnEventLog, "not a regular file"),
    (a_socket, NotAnEventLog, "not a regular file"),
    (a_device, NotAnEventLog, "not a regular file"),
    (another_application, NotAnEventLog, "another application (application_id 0x0000004d)"),
    (another_application_in_wal_mode, NotAnEventLog, "none of them are a log's"),
    (another_application_that_crashed, NotAnEventLog, "none of them are a log's"),
    (another_application_brought_with_its_wal, NotAnEventLog, "none of them are a log's"),
    (another_application_cut_off_in_a_transaction, NotAnEventLog, "cut off"),
    (a_database_without_tables, NotAnEventLog, "Ask for the file of the same name ending in -wal"),
    (a_log_without_its_wal, LogCorrupt, "Ask for the file of the same name ending in -wal"),
    (an_empty_file_with_a_full_wal, LogCorrupt, "empty"),
    (a_newer_log, LogTooNew, "99"),
    (a_log_of_no_version, LogCorrupt, "schema version is 0"),
    (a_truncated_log, LogCorrupt, "malformed"),
    (a_log_without_some_tables, LogCorrupt, "eventbus_events_stream, eventbus_keys"),
    (a_log_without_its_own_row, LogCorrupt, "eventbus_log"),
    (a_log_without_its_own_table, LogCorrupt, "eventbus_log"),
    (a_table_that_only_has_the_name, LogCorrupt, "not as we make it"),
]


@pytest.mark.parametrize(("make", "error", "words"), REFUSED, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("attempt", [opened, look])
def test_what_is_not_a_log_is_refused_and_left_as_it_was(
    tmp_path: Path,
    make: Callable[[Path], None],
    error: type[LogError],
    words: str,
    attempt: Callable[[Path], sqlite3.Connection],
) -> None:
    path = tmp_path / "thing.db"
    make(path)
    before = traces(tmp_path)
    with pytest.raises(error) as caught:
        attempt(path)
    assert words in str(caught.value)
    assert caught.value.path == os.path.realpath(path)
    assert caught.value.hint
    assert traces(tmp_path) == before


def test_a_wal_whose_file_is_missing_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "thing.db"
    another_application_that_crashed(path)
    path.unlink()
    before = traces(tmp_path)
    with pytest.raises(LogCorrupt, match="the file is missing"):
        opened(path)
    assert traces(tmp_path) == before


def test_looking_at_nothing_makes_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty.db").touch()
    before = traces(tmp_path)
    for name in ["missing.db", "no/such/folder.db", "empty.db"]:
        with pytest.raises(NotAnEventLog):
            look(tmp_path / name)
    assert traces(tmp_path) == before


@pytest.mark.parametrize("path", ["", "file:events.db", "nul\0.db"])
def test_what_no_file_is_called_is_refused(path: str) -> None:
    with pytest.raises(NotAnEventLog):
        Location.of(path)


def test_a_path_too_long_for_sqlite_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(LogIOError, match="no path longer"):
        Location.of(tmp_path / "/".join(["x" * 100] * 6))


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotAnEventLog):
        opened(tmp_path / "file" / "events.db")


# --- what may not be written ----------------------------------------------------------------------------


@pytest.fixture
def open_to_all() -> Iterator[Path]:
    """A folder that an unprivileged user can reach; as root, rights prove nothing."""
    made = subprocess.run(["mktemp", "-d"], capture_output=True, text=True, check=True).stdout.strip()
    folder = Path(made)
    folder.chmod(0o777)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o777)
    shutil.rmtree(folder)


def refused_to_nobody(path: Path, attempt: str = "opened(sys.argv[1])") -> str:
    """What a user without any rights of their own is told."""
    code = (
        "import eventbus.bus, eventbus.bus.log_view\n"
        "tempfile.gettempdir()\n"
        f"if os.getuid() == 0: os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
        f"try: {attempt}\n"
        "except LogReadOnly as error: print(error)"
    )
    done = run_python(code, path)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.skipif(os.name == "nt", reason="rights are POSIX modes here")
def test_a_read_only_file_is_refused_and_left_as_it_was(open_to_all: Path) -> None:
    path = make_log(open_to_all / "events.db")
    path.chmod(0o444)
    before = traces(open_to_all)
    assert "may not write events.db" in refused_to_nobody(path)
    assert traces(open_to_all) == before


@pytest.mark.skipif(os.name == "nt", reason="rights are POSIX modes here")
@pytest.mark.parametrize("name", ["events.db", "new.db", "new/folder.db"])
def test_a_read_only_folder_is_refused_and_left_as_it_was(open_to_all: Path, name: str) -> None:
    make_log(open_to_all / "events.db").chmod(0o666)
    open_to_all.chmod(0o555)
    before = traces(open_to_all)
    assert "may not write in" in refused_to_nobody(open_to_all / name)
    assert traces(open_to_all) == before


@pytest.mark.skipif(os.name == "nt", reason="rights are POSIX modes here")
def test_a_file_that_may_not_even_be_read_is_refused_as_such(open_to_all: Path) -> None:
    path = make_log(open_to_all / "events.db")
    path.chmod(0)
    assert "may not read or write events.db" in refused_to_nobody(path)


@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root makes folders that others cannot enter")
@pytest.mark.parametrize("attempt", ["opened", "look", "(lambda path: eventbus.bus.EventBus(path).log.head)"])
@pytest.mark.parametrize("name", ["events.db", "new/folder.db"])
def test_a_file_in_a_folder_that_may_not_be_entered_is_refused(open_to_all: Path, attempt: str, name: str) -> None:
    (open_to_all / "private").mkdir(mode=0o700)
    told = refused_to_nobody(open_to_all / "private" / name, f"{attempt}(sys.argv[1])")
    assert "may not enter the folder" in told
    assert "private." in told


@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root leaves files that others cannot write")
def test_a_wal_that_root_left_behind_is_named(open_to_all: Path) -> None:
    path = make_log(open_to_all / "events.db")
    path.chmod(0o666)
    (open_to_all / "events.db-wal").touch(mode=0o600)
    assert "may not read or write events.db-wal" in refused_to_nobody(path)


def test_a_network_file_system_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opening, "network_type", lambda path: "nfs4")
    with pytest.raises(LogOnNetworkFS, match="nfs4"):
        opened(tmp_path / "folder" / "events.db")
    assert list(tmp_path.iterdir()) == []


MOUNTINFO = """\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 254:0 / / rw,relatime - overlay overlay rw,lowerdir=/l,upperdir=/u,workdir=/w
35 27 0:30 / /home rw,relatime shared:5 - nfs4 server:/home rw,vers=4.2
36 35 254:1 / /home/me/local rw,relatime shared:6 master:1 - ext4 /dev/vdb rw
40 27 0:50 / /mnt/my\\040share rw - cifs //server/share rw
41 27 0:51 / /mnt/twice rw - nfs server:/x rw
42 27 0:52 / /mnt/twice rw - tmpfs tmpfs rw
43 27 0:53 / /mnt/remote rw - fuse.sshfs me@server: rw
44 27 0:54 / /mnt/c rw - 9p C:\\134 rw,aname=drvfs
45 27 0:55 / /mnt/vm rw - virtiofs shared rw
46 27 0:56 / /mnt/fuse rw - fuse.ntfs-3g /dev/sdb1 rw
"""


@pytest.mark.parametrize(
    ("path", "fstype", "refused"),
    [
        ("/var/lib/events.db", "overlay", False),
        ("/home/me/events.db", "nfs4", True),
        ("/homes/events.db", "overlay", False),
        ("/home/me/local/events.db", "ext4", False),
        ("/mnt/my share/events.db", "cifs", True),
        ("/mnt/twice/events.db", "tmpfs", False),
        ("/mnt/remote/events.db", "fuse.sshfs", True),
        ("/mnt/c/events.db", "9p", False),
        ("/mnt/vm/events.db", "virtiofs", False),
        ("/mnt/fuse/events.db", "fuse.ntfs-3g", False),
    ],
)
def test_the_mount_nearest_to_the_file_decides(path: str, fstype: str, refused: bool) -> None:
    found = type_at(path, mounts_of_linux(MOUNTINFO))
    assert found == fstype
    assert is_shared_between_machines(found) == refused


def test_mounts_are_read_from_what_macos_prints() -> None:
    listed = (
        "/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)\n"
        "//me@server/share on /Volumes/my share (smbfs, nodev, nosuid, mounted by me)\n"
    )
    mounts = mounts_of_macos(listed)
    assert type_at("/Users/me/events.db", mounts) == "apfs"
    assert type_at("/Volumes/my share/events.db", mounts) == "smbfs"


def test_a_place_without_shared_memory_is_refused(tmp_path: Path) -> None:
    here = Location.of(tmp_path / "events.db")
    without = Location(here.path, here.uri + "?vfs=unix-none", memory=False)
    with pytest.raises(LogIOError, match="cannot keep a WAL"):
        open_log(without, adopt=False, clock=SystemClock())


@pytest.mark.parametrize("table", ["eventbus_types", "eventbus_sources"])
def test_a_log_whose_names_cannot_be_read_is_a_damaged_one(tmp_path: Path, table: str) -> None:
    path = lay_out("version-2", tmp_path / "log.db")
    with closing(sqlite3.connect(path)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchone()
    data = bytearray(path.read_bytes())
    data[4096 * (page - 1) : 4096 * page] = bytes(4096)
    path.write_bytes(data)
    with pytest.raises(LogCorrupt, match="malformed"):
        EventBus(path, delivery="manual").start()


def test_a_log_is_a_damaged_one_whose_damage_sqlite_tells_in_what_is_no_text(tmp_path: Path) -> None:
    path = lay_out("version-2", tmp_path / "log.db")
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"events_stream ON eventbus_events", b"events_stream ON eventbus_event\xf8"))
    assert path.read_bytes() != whole
    with pytest.raises(LogCorrupt):
        EventBus(path, delivery="manual").start()
    assert "salvage" in run("log", path).err
