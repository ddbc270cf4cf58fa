"""Backups: one moment of a log that others write to, checked, put into place when it is whole, and known as a copy."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cli_stage import contents, run
from delivery_stage import Counted, standing_still
from earlier import lay_out
from log_stage import raw, run_python

from eventbus import EventBus, LogError
from eventbus.backups import back_up_file
from eventbus.doctor import examine
from eventbus.errors import LogBusy, LogCorrupt, LogIOError, LogRolledBack, NotAnEventLog, WouldDeadlock


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "log").mkdir()
    return tmp_path / "log" / "shop.db"


@pytest.fixture
def bus(path: Path) -> Iterator[EventBus]:
    with closing(EventBus(path, durability="process", delivery="manual")) as bus:
        bus.publish_many([Counted(number) for number in range(1, 101)], stream="shelf")
        yield bus


@pytest.fixture
def new(tmp_path: Path) -> Path:
    (tmp_path / "kept").mkdir(mode=0o700)
    return tmp_path / "kept" / "copy.db"


def numbers(path: Path) -> list[int]:
    with closing(EventBus(path, delivery="manual")) as bus:
        return [envelope.event.number for envelope in bus.log.read(types=Counted)]


def incarnation(path: Path) -> tuple[int, str | None]:
    with closing(sqlite3.connect(path)) as connection:
        found: tuple[int, str | None] = connection.execute("SELECT incarnation, copy_of FROM eventbus_log").fetchone()
        return found


# --- what is copied ---------------------------------------------------------------------------------------


def test_a_backup_is_the_whole_log_in_one_private_file(bus: EventBus, new: Path) -> None:
    bus.connect().execute("CREATE TABLE mine (text)").connection.close()
    taken = bus.backup(new)
    assert (taken.path, taken.events, taken.last_position) == (str(new), 100, 100)
    assert taken.bytes == new.stat().st_size
    assert [each.name for each in new.parent.iterdir()] == ["copy.db"]
    assert stat.S_IMODE(new.stat().st_mode) == 0o600
    assert numbers(new) == list(range(1, 101))
    with closing(sqlite3.connect(new)) as connection:
        assert connection.execute("SELECT * FROM mine").fetchall() == []


def test_a_backup_is_one_moment_of_a_log_that_is_written_meanwhile(bus: EventBus, path: Path, new: Path) -> None:
    bus.publish_many([Counted(number) for number in range(101, 3001)])
    with bus.transaction() as tx:
        tx.execute("CREATE TABLE large (text)")
        tx.execute("INSERT INTO large VALUES (zeroblob(8000000))")
    seen: list[int] = []
    with raw(path) as other:

        def write(done: int, total: int) -> None:
            seen.append(bus.publish(Counted(-1)).position)
            other.execute("INSERT INTO eventbus_outbox (event_type, payload) VALUES ('x', '{}')")

        taken = bus.backup(new, progress=write)
    assert len(seen) > 4, "it was written in the middle of it"
    assert numbers(new) == list(range(1, 3001))
    assert taken.last_position == 3000 < seen[0]


def test_a_log_in_memory_is_kept_by_a_backup(new: Path) -> None:
    with EventBus() as bus:
        bus.publish(Counted(7))
        assert bus.backup(new).events == 1
    assert numbers(new) == [7]


def test_a_backup_does_not_stop_an_event_loop(bus: EventBus, new: Path) -> None:
    async def both() -> int:
        taking = asyncio.create_task(bus.backup_async(new))
        receipt = await bus.publish_async(Counted(0))
        return (await taking).events + receipt.position

    assert asyncio.run(both()) in (201, 202)


def test_progress_counts_pages_and_then_events(bus: EventBus, new: Path) -> None:
    seen: list[tuple[int, int]] = []
    bus.backup(new, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (100, 100)
    assert seen[0][0] == seen[0][1] > 10, "all pages"


def test_what_delivery_knows_is_in_a_backup(path: Path, new: Path) -> None:
    heard: list[int] = []
    with standing_still(path) as bus:
        bus.subscribe("stock", Counted, handler=lambda event: heard.append(event.number), after=0)
        bus.publish(Counted(1))
        bus.drain()
        bus.publish(Counted(2))
        bus.backup(new)
    with standing_still(new) as restored:
        restored.subscribe("stock", Counted, handler=lambda event: heard.append(event.number), after=0)
        restored.drain()
    assert heard == [1, 2]


# --- a copy is known as one -------------------------------------------------------------------------------


def test_who_opens_a_backup_goes_on_as_the_next_incarnation_of_the_log(bus: EventBus, new: Path) -> None:
    taken = bus.backup(new)
    assert incarnation(new) == (1, taken.log_id)
    for _ in range(2):
        assert numbers(new) == list(range(1, 101))
        assert incarnation(new) == (2, None)


def test_looking_at_a_backup_leaves_it_a_backup(bus: EventBus, new: Path) -> None:
    taken = bus.backup(new)
    before = contents(new.parent)
    assert run("log", new, "--last", "1").positions == [100]
    assert contents(new.parent) == before
    assert incarnation(new) == (1, taken.log_id)


# --- what is refused, and leaves all as it was ------------------------------------------------------------


def test_a_file_that_is_there_is_replaced_only_if_asked(bus: EventBus, new: Path) -> None:
    new.write_text("precious")
    with pytest.raises(LogError, match="a file of this name already"):
        bus.backup(new)
    assert new.read_text() == "precious"
    bus.backup(new, replace=True)
    assert len(numbers(new)) == 100


def test_a_log_is_not_replaced_by_its_own_backup(bus: EventBus, path: Path, new: Path) -> None:
    os.link(path, new)
    for name in (path, new):
        with pytest.raises(LogError, match="the log itself"):
            bus.backup(name, replace=True)


@pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="only Linux lists locks")
def test_a_log_that_is_open_is_not_replaced(bus: EventBus, new: Path) -> None:
    with closing(EventBus(new, delivery="manual")) as other:
        other.publish(Counted(1))
        with pytest.raises(LogBusy, match="has this file open"):
            back_up_file(bus.path or "", new, replace=True)
        assert other.log.head == 1


def test_nothing_is_put_beside_the_wal_of_another_log(bus: EventBus, new: Path) -> None:
    new.with_name("copy.db-wal").write_bytes(b"x" * 5000)
    with pytest.raises(LogCorrupt, match="was not closed"):
        bus.backup(new, replace=True)
    assert not new.exists()


@pytest.mark.parametrize("name", ["", "no/such/folder.db", "."])
def test_a_place_that_is_none_is_refused(bus: EventBus, new: Path, name: str) -> None:
    with pytest.raises(NotAnEventLog):
        bus.backup(os.path.join(new.parent, name) if name else name)
    assert list(new.parent.iterdir()) == []


def test_a_backup_in_an_open_transaction_is_refused(bus: EventBus, new: Path) -> None:
    with bus.transaction(), pytest.raises(WouldDeadlock):
        bus.backup(new)


def test_no_copy_is_kept_of_a_log_that_is_damaged(bus: EventBus, path: Path, new: Path) -> None:
    with raw(path) as connection:
        connection.execute("UPDATE eventbus_events SET payload = '{\"number\":8}' WHERE position = 7")
    with pytest.raises(LogCorrupt, match="the event at position 7 is damaged"):
        bus.backup(new)
    assert list(new.parent.iterdir()) == []


def test_a_log_with_triggers_on_its_tables_is_not_copied(bus: EventBus, path: Path, new: Path) -> None:
    bus.close()
    with raw(path) as connection:
        connection.execute("CREATE TRIGGER sly AFTER UPDATE ON eventbus_log BEGIN DELETE FROM eventbus_events; END")
    with pytest.raises(LogCorrupt, match="sly on eventbus_log"):
        back_up_file(path, new)
    assert list(new.parent.iterdir()) == []


def test_a_progress_that_fails_ends_the_backup_and_leaves_nothing(bus: EventBus, new: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bus.backup(new, progress=stop)
    assert list(new.parent.iterdir()) == []
    assert bus.publish(Counted(1)).position == 101


def refuses_to_unlink(name: str) -> None:
    raise PermissionError(13, "Permission denied", name)


def test_a_name_that_cannot_be_removed_is_told_and_the_backup_is_whole(
    bus: EventBus, new: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuses_to_unlink)
        with pytest.raises(LogIOError, match=r"in its place, but .*copy\.db\..*\.part could not be removed: Perm"):
            bus.backup(new)
    for each in new.parent.glob("*.part"):
        each.unlink()
    assert len(numbers(new)) == 100


def test_a_name_that_cannot_be_removed_does_not_hide_why_there_is_no_backup(
    bus: EventBus, new: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def stop(done: int, total: int) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(os, "unlink", refuses_to_unlink)
    with pytest.raises(ZeroDivisionError):
        bus.backup(new, progress=stop)
    assert ".part could not be removed: Permission denied" in caplog.text
    assert not new.exists()


def test_a_backup_that_is_killed_in_the_middle_leaves_nothing_under_its_name(
    bus: EventBus, path: Path, new: Path
) -> None:
    code = (
        "from eventbus.backups import back_up_file\n"
        "back_up_file(sys.argv[1], sys.argv[2], progress=lambda done, total: os.kill(os.getpid(), signal.SIGKILL))"
    )
    assert run_python(code, path, new).returncode == -signal.SIGKILL
    assert not new.exists()
    assert bus.backup(new).events == 100


# --- without a bus ----------------------------------------------------------------------------------------


def test_the_program_copies_a_log_and_leaves_it_alone(bus: EventBus, path: Path, new: Path) -> None:
    bus.close()
    before = contents(path.parent)
    ran = run("backup", path, new)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("Copied 100 events, ")
    assert contents(path.parent) == before
    assert len(numbers(new)) == 100
    (record,) = run("backup", path, new, "--replace", "--json").records
    assert (record["events"], record["last_position"]) == (100, 100)


def test_the_program_copies_a_log_that_is_open(bus: EventBus, path: Path, new: Path) -> None:
    assert run("backup", path, new).code == 0
    assert len(numbers(new)) == 100


def test_the_program_says_in_one_sentence_why_there_is_no_copy(bus: EventBus, path: Path, new: Path) -> None:
    new.touch()
    ran = run("backup", path, new)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert "a file of this name already" in ran.err
    assert run("backup", "a", "b", "c").code == run("backup").code == 2


def test_a_log_of_an_earlier_release_is_copied_as_it_is(path: Path, new: Path) -> None:
    lay_out("version-1", path)
    assert back_up_file(path, new).events == 3
    with closing(sqlite3.connect(new)) as connection:
        assert connection.execute("SELECT schema_version FROM eventbus_log").fetchone() == (1,)
    assert numbers(new) == [1, 2, 3]


def test_what_is_no_log_is_not_copied(path: Path, new: Path) -> None:
    with raw(path) as connection:
        connection.execute("CREATE TABLE notes (text)")
    with pytest.raises(NotAnEventLog):
        back_up_file(path, new)
    assert list(new.parent.iterdir()) == []


def test_a_backup_that_is_put_back_is_held_against_what_was_told_since(bus: EventBus, path: Path, new: Path) -> None:
    bus.backup(new)
    bus.publish_many([Counted(0), Counted(0)])
    bus.close()
    os.replace(new, path)
    with pytest.raises(LogRolledBack) as caught:
        numbers(path)
    assert (caught.value.missing, caught.value.first, caught.value.last) == (2, 101, 102)
    assert incarnation(path)[0] == 1
    (finding,) = [each for each in examine(path).findings if each.code == "rolled-back"]
    assert finding.facts["missing"] == 2
    with closing(EventBus(path, delivery="manual", accept_loss=True)) as again:
        assert again.publish(Counted(1)).position > 102
    assert incarnation(path) == (2, None)
