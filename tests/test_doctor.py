"""Doctor: what it finds, what it says to do, and that it neither writes nor disturbs."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
from contextlib import closing, suppress
from pathlib import Path

import pytest
from cli_stage import contents, run
from delivery_stage import ONCE, Counted, failing, standing_still
from earlier import lay_out
from log_stage import command, environment, killed, make_log, raw
from samplelog import SampleLog

from eventbus import EventBus
from eventbus.doctor import Examination, Finding, examine
from eventbus.doctor.engine import has_wal_reset_bug
from eventbus.errors import LogTooNew, NotAnEventLog

HOUR = 3600.0
linux = pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="only Linux lists locks")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir(mode=0o700)
    return tmp_path / "log" / "shop.db"


@pytest.fixture
def log(path: Path) -> Path:
    """300 events of three streams."""
    with closing(EventBus(path, durability="process", delivery="manual")) as bus:
        for shelf in "abc":
            bus.publish_many([Counted(number) for number in range(100)], stream=f"shelf-{shelf}")
    return path


def found(examination: Examination) -> dict[str, Finding]:
    """What was found besides the version of SQLite."""
    return {finding.code: finding for finding in examination.findings if finding.code != "sqlite-wal-reset"}


# --- a healthy log ----------------------------------------------------------------------------------------


def test_a_healthy_log_is_told_with_what_is_in_it(log: Path) -> None:
    before = contents(log.parent)
    seen: list[tuple[int, int]] = []
    examined = examine(log, progress=lambda done, total: seen.append((done, total)))
    assert (examined.verdict, examined.exit_code, found(examined)) == ("healthy", 0, {})
    assert (examined.facts["events"], examined.facts["first"], examined.facts["last"]) == (300, 1, 300)
    assert seen[-1] == (300, 300)
    assert len(seen) > 1
    assert contents(log.parent) == before


def test_an_empty_log_is_healthy(path: Path) -> None:
    assert found(examine(make_log(path))) == {}


def test_a_log_is_examined_while_a_bus_has_it_open_and_goes_on(log: Path) -> None:
    with closing(EventBus(log, delivery="manual")) as bus:
        bus.publish(Counted(1))
        examined = examine(log, progress=lambda done, total: bus.publish(Counted(2)))
        assert examined.verdict == "healthy"
        assert bus.publish(Counted(3)).position > 301
    assert examine(log).verdict == "healthy"


@linux
def test_doctor_does_not_take_the_locks_of_a_bus_away(log: Path) -> None:
    with closing(EventBus(log, delivery="manual")) as bus:
        bus.publish(Counted(1))
        examine(log)
        code = "import sys; from eventbus.doctor import examine; print(examine(sys.argv[1]).facts['open_in'])"
        done = subprocess.run(command(code, log), env=environment(), capture_output=True, text=True, check=True)
        assert done.stdout == f"[{os.getpid()}]\n"


def test_the_program_says_it_for_a_person_and_as_a_record(log: Path) -> None:
    before = contents(log.parent)
    ran = run("doctor", log)
    assert (ran.code, ran.err) == (0, "")
    assert ran.lines[0] == f"{log}: healthy"
    assert "300 events, positions 1 to 300" in ran.out
    (record,) = run("doctor", log, "--json").records
    assert (record["verdict"], record["events"]) == ("healthy", 300)
    assert contents(log.parent) == before


def test_nothing_of_a_long_sentence_is_lost_on_a_narrow_terminal(log: Path) -> None:
    log.chmod(0o644)
    ran = run("doctor", log, columns=40)
    assert max(map(len, ran.lines)) <= 40
    whole = " ".join(line.strip() for line in ran.lines)
    assert "Other users of this machine may read or write shop.db." in whole


# --- damage -----------------------------------------------------------------------------------------------


def test_an_event_that_is_not_what_was_written_is_named(log: Path) -> None:
    with raw(log) as connection:
        connection.execute("UPDATE eventbus_events SET payload = '{\"number\":9}' WHERE position = 7")
        connection.execute("UPDATE eventbus_events SET time = '2020' WHERE position = 250")
        connection.execute("UPDATE eventbus_events SET type_id = 99 WHERE position = 300")
    examined = examine(log)
    finding = found(examined)["checksums"]
    assert (examined.verdict, examined.exit_code) == ("damaged", 2)
    assert finding.facts["positions"] == [7, 250, 300]
    assert "salvage" in finding.advice
    ran = run("doctor", log)
    assert (ran.code, ran.lines[0]) == (2, f"{log}: damaged")
    assert "damaged  3 events are not what was written: position 7 (" in ran.out


def test_quick_leaves_the_checksums_out(log: Path) -> None:
    with raw(log) as connection:
        connection.execute("UPDATE eventbus_events SET payload = '{\"number\":9}' WHERE position = 7")
    ran = run("doctor", log, "--quick")
    assert ran.code == 0
    assert "positions 1 to 300; their checksums were not looked at" in ran.out


def overwrite(path: Path, page: int) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)


def root_page(path: Path, name: str) -> int:
    with raw(path) as connection:
        return int(connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0])


@pytest.mark.parametrize("name", ["eventbus_events", "eventbus_subscriptions", "eventbus_events_stream"])
def test_a_page_that_was_overwritten_is_damage(log: Path, name: str) -> None:
    overwrite(log, root_page(log, name))
    examined = examine(log)
    assert examined.verdict == "damaged"
    assert "integrity" in found(examined)


def test_a_file_that_was_cut_off_is_damage(log: Path) -> None:
    os.truncate(log, 5 * 4096)
    examined = examine(log)
    assert examined.verdict == "damaged"
    assert "not-whole" in found(examined)


def test_a_log_without_one_of_its_tables_is_damaged(log: Path) -> None:
    with raw(log) as connection:
        connection.execute("DROP TABLE eventbus_steps")
    assert "eventbus_steps" in found(examine(log))["not-whole"].what


def test_events_that_are_gone_are_missed(log: Path) -> None:
    with raw(log) as connection:
        connection.execute("DELETE FROM eventbus_events WHERE position IN (50, 51)")
    examined = examine(log)
    assert found(examined)["holes"].facts == {"streams": 1, "one": "shelf-a"}
    assert found(examined)["positions"].facts == {"missing": 2}
    assert examined.verdict == "damaged"


def test_a_log_that_lost_its_last_events_is_told_by_what_speaks_of_them(log: Path) -> None:
    with standing_still(log) as bus:
        bus.subscribe("stock", Counted, handler=failing(), retry=ONCE, after=299)
        bus.drain()
    with raw(log) as connection:
        connection.execute("DELETE FROM eventbus_events WHERE position > 290")
        connection.execute("UPDATE sqlite_sequence SET seq = 290 WHERE name = 'eventbus_events'")
    finding = found(examine(log, quick=True))["lost-events"]
    assert finding.facts["last"] == 290
    assert finding.facts["highest"] >= 300


def test_a_delivery_whose_event_is_gone_is_damage(log: Path) -> None:
    with standing_still(log) as bus:
        bus.subscribe("stock", Counted, handler=failing(), retry=ONCE, after=299)
        bus.drain()
    with raw(log) as connection:
        connection.execute("DELETE FROM eventbus_events WHERE position = 300")
    assert found(examine(log, quick=True))["stray-deliveries"].facts["without_event"] == 1


@pytest.mark.parametrize(
    ("column", "value"), [("types", "not json"), ("types", "[{}]"), ("types", "7"), ("ahead", "{"), ("ahead", "7")]
)
def test_a_row_that_cannot_be_read_is_damage_and_not_a_crash(log: Path, column: str, value: str) -> None:
    with standing_still(log) as bus:
        bus.subscribe("stock", Counted, handler=failing())
        bus.start()
    with raw(log) as connection:
        connection.execute(f"UPDATE eventbus_subscriptions SET {column} = ?", (value,))
    assert "Its subscriptions could not be read" in found(examine(log, quick=True))["unreadable"].what


# --- what others have done to the file --------------------------------------------------------------------


def test_triggers_on_the_tables_of_the_bus_are_told_and_an_app_s_own_are_not(log: Path) -> None:
    with raw(log) as connection:
        connection.execute("CREATE TABLE orders (id)")
        connection.execute("CREATE TRIGGER mine AFTER INSERT ON orders BEGIN SELECT 1; END")
        assert found(examine(log, quick=True)) == {}
        connection.execute("CREATE TRIGGER sly AFTER INSERT ON eventbus_events BEGIN SELECT 1; END")
        connection.execute("CREATE INDEX slow ON eventbus_events (time)")
        connection.execute("CREATE VIEW eventbus_mine AS SELECT 1")
    examined = examine(log, quick=True)
    assert examined.verdict == "look at this"
    assert found(examined)["triggers"].facts == {"triggers": ["sly on eventbus_events"]}
    assert found(examined)["indexes"].facts == {"indexes": ["slow on eventbus_events"]}
    assert found(examined)["names"].facts == {"names": ["eventbus_mine"]}


def test_a_table_that_lost_a_column_is_damage(log: Path) -> None:
    with raw(log) as connection:
        connection.execute("ALTER TABLE eventbus_snapshots RENAME COLUMN state TO stated")
    assert found(examine(log, quick=True))["tables"].facts == {"names": ["eventbus_snapshots"]}


def test_a_log_of_an_earlier_release_is_examined_as_it_is(path: Path) -> None:
    lay_out("version-1", path)
    path.chmod(0o600)
    examined = examine(path)
    assert list(found(examined)) == ["old-tables"]
    assert (examined.verdict, examined.facts["events"]) == ("healthy", 3)


def test_a_backup_is_told_as_one(log: Path, tmp_path: Path) -> None:
    with closing(EventBus(log, delivery="manual")) as bus:
        bus.backup(tmp_path / "copy.db")
    assert list(found(examine(tmp_path / "copy.db"))) == ["copy"]


# --- its place --------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.name == "nt", reason="rights are POSIX modes here")
def test_rights_of_other_users_are_told(log: Path) -> None:
    log.chmod(0o640)
    log.parent.chmod(0o770)
    findings = found(examine(log, quick=True))
    assert findings["modes"].facts == {"shop.db": "0640"}
    assert findings["folder"].facts == {"mode": "0770"}
    log.parent.chmod(0o777 | stat.S_ISVTX)
    assert "folder" not in found(examine(log, quick=True))


def test_other_names_of_the_file_are_told(log: Path) -> None:
    link = log.with_name("link.db")
    link.symlink_to(log)
    assert found(examine(link, quick=True))["symlink"].severity == "note"
    os.link(log, log.with_name("second.db"))
    assert found(examine(log, quick=True))["hard-links"].facts == {"links": 2}


@pytest.mark.skipif(os.name == "nt" or os.getuid() != 0, reason="only root makes files of others")
def test_what_root_left_beside_a_log_is_told(log: Path) -> None:
    log.with_name("shop.db-lock").touch(mode=0o600)
    os.chown(log, 65534, 65534)
    assert "shop.db-lock" in found(examine(log, quick=True))["owners"].what


def test_a_full_disk_is_told(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventbus.store.disk.free_bytes", lambda path: 5 << 20)
    assert "Only 5 MiB are free" in found(examine(log, quick=True))["space"].what


def test_a_network_file_system_is_told_and_nothing_is_opened_there(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventbus.doctor.place.network_type", lambda path: "nfs4")
    examined = examine(log)
    assert list(found(examined)) == ["network"]
    assert "log_id" not in examined.facts


@linux
def test_a_log_that_was_killed_is_told_and_read_with_its_wal(log: Path) -> None:
    killed("c = opened(sys.argv[1])\nc.execute('CREATE TABLE notes (text)')", log)
    before = contents(log.parent)
    examined = examine(log)
    assert "not-closed" in found(examined)
    assert (examined.verdict, contents(log.parent)) == ("healthy", before)


def test_a_wal_that_cannot_be_read_is_told_and_kept(log: Path) -> None:
    log.with_name("shop.db-wal").write_bytes(b"noise" * 1000)
    before = contents(log.parent)
    examined = examine(log)
    assert (examined.verdict, "wal-unreadable" in found(examined)) == ("look at this", True)
    assert contents(log.parent) == before


def test_a_journal_that_was_left_is_told(log: Path) -> None:
    killed(
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('PRAGMA journal_mode = DELETE')\n"
        "c.execute('CREATE TABLE notes (text)')\n"
        "c.execute('PRAGMA cache_size = 1')\n"
        "c.execute('BEGIN')\n"
        "c.executemany('INSERT INTO notes VALUES (?)', [('x' * 3000,)] * 100)",
        log,
    )
    before = contents(log.parent)
    assert "journal" in found(examine(log))
    assert contents(log.parent) == before


@linux
def test_a_reader_that_keeps_the_wal_from_being_emptied_is_named(log: Path) -> None:
    code = (
        "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "c.execute('BEGIN')\n"
        "c.execute('SELECT * FROM eventbus_events').fetchone()\n"
        "print('reading', flush=True)\n"
        "sys.stdin.read(1)"
    )
    with (
        closing(EventBus(log, durability="process", delivery="manual")) as bus,
        subprocess.Popen(
            command(code, log), env=environment(), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as reader,
    ):
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        for _ in range(8):
            with bus.transaction() as tx:
                tx.execute("CREATE TABLE IF NOT EXISTS large (text)")
                tx.execute("INSERT INTO large VALUES (zeroblob(1000000))")
        finding = found(examine(log, quick=True))["wal"]
        reader.communicate("!")
    assert finding.facts["reading"] == [reader.pid]
    assert f"process {reader.pid} (" in finding.what


# --- what cannot be examined ------------------------------------------------------------------------------


def test_what_is_no_log_is_an_error_and_not_a_finding(path: Path) -> None:
    with pytest.raises(NotAnEventLog):
        examine(path)
    path.write_text("Dear diary, " * 100)
    with pytest.raises(NotAnEventLog):
        examine(path)
    path.unlink()
    with raw(make_log(path)) as connection:
        connection.execute("UPDATE eventbus_log SET schema_version = 99")
    with pytest.raises(LogTooNew):
        examine(path)
    assert run("doctor", path).code == 2


@pytest.mark.parametrize(
    ("version", "is_vulnerable"),
    [
        ((3, 6, 23), False),
        ((3, 37, 0), True),
        ((3, 40, 1), True),
        ((3, 44, 5), True),
        ((3, 44, 6), False),
        ((3, 45, 0), True),
        ((3, 50, 6), True),
        ((3, 50, 7), False),
        ((3, 51, 2), True),
        ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)
def test_versions_of_sqlite_that_can_damage_a_log_are_known(version: tuple[int, ...], is_vulnerable: bool) -> None:
    assert has_wal_reset_bug(version) is is_vulnerable


def test_a_log_written_by_hand_is_read_without_a_crash(path: Path) -> None:
    log = SampleLog(path)
    log.event("Odd", "stream\x1b[31m", raw=b"\xff\x00")
    with suppress(sqlite3.Error):
        log.db.execute("UPDATE eventbus_events SET time = CAST(x'ff' AS TEXT)")
    log.close()
    ran = run("doctor", path)
    assert ran.code in (1, 2)
    assert "\x1b" not in ran.out
