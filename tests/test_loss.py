"""Events that storage lost behind our back are missed at the next open, all of them and no others."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from bus_stage import Opened, Placed
from hypothesis import given
from hypothesis import strategies as st
from process_stage import HEAD, Child
from witness_stage import beside, opened, publish, roll_back, ten_events

from eventbus.errors import LogRolledBack
from eventbus.store.loss import judge
from eventbus.store.recognise import LogIdentity
from eventbus.store.witness import Witnessed
from eventbus.technical import LossAccepted


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return ten_events(tmp_path)


# --- at the next open ---------------------------------------------------------------------------------------


def test_an_older_copy_in_the_place_of_the_log_is_noticed(log: Path) -> None:
    roll_back(log)
    with pytest.raises(LogRolledBack) as caught, opened(log) as bus:
        bus.publish(Placed(11))
    error = caught.value
    assert (error.missing, error.first, error.last, error.synced) == (3, 8, 10, 3)
    assert "3 acknowledged events are missing, positions 8 to 10." in str(error)
    assert "accept_loss=True" in error.hint
    with pytest.raises(LogRolledBack):  # nothing was changed: the next one hears of it, too
        _ = opened(log).log.head


def test_a_wal_that_was_deleted_after_a_crash_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    code = HEAD + "import os, signal\nbus = EventBus(path)\nfor n in range(5): bus.publish(Counted(n))\n"
    subprocess.run(
        [sys.executable, "-c", code + "os.kill(os.getpid(), signal.SIGKILL)", str(path)],
        cwd=Path(__file__).parent,
        check=False,
    )
    os.unlink(f"{path}-wal")
    os.unlink(f"{path}-shm")
    with pytest.raises(LogRolledBack) as caught:
        opened(path).start()
    assert (caught.value.missing, caught.value.first, caught.value.last) == (5, 1, 5)


def test_with_durability_process_the_number_is_told_and_that_it_was_not_synced(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    publish(path, 1, 2, durability="process")  # closing moves them into the file, and syncs it
    shutil.copy(path, tmp_path / "old.db")
    with opened(path, durability="process") as bus:
        for number in (3, 4, 5):
            bus.publish(Placed(number))
        held = beside(path).read_bytes()
    roll_back(path)
    beside(path).write_bytes(held)  # as it was before the close
    with pytest.raises(LogRolledBack, match="3 of them were never synced") as caught:
        opened(path).start()
    assert (caught.value.missing, caught.value.synced) == (3, 0)


def test_nothing_is_changed_by_being_refused(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    crash = "import os, signal\nbus = EventBus(path)\nfor n in range(5): bus.publish(Counted(n))\n"
    crash += "os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", HEAD + crash, str(path)], cwd=Path(__file__).parent, check=False)
    wal = Path(f"{path}-wal").read_bytes()
    Path(f"{path}-wal").write_bytes(wal[: len(wal) // 2])
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    with pytest.raises(LogRolledBack):
        opened(path).start()
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before
    Path(f"{path}-wal").write_bytes(wal)  # the rest is found again
    with opened(path) as bus:
        assert bus.log.head == 5


def test_one_event_is_told_as_one() -> None:
    error = LogRolledBack("shop.db", 1, 4, 4)
    assert str(error).startswith("shop.db: 1 acknowledged event is missing, position 4. Bring")


# --- going on without them ----------------------------------------------------------------------------------


def test_accept_loss_goes_on_beyond_what_is_lost_and_says_so_in_the_log(log: Path, caplog: Any) -> None:
    roll_back(log)
    with opened(log, accept_loss=True) as bus:
        heard: list[int] = []
        bus.subscribe("orders", Placed, after=0)(lambda placed: heard.append(placed.number))
        assert bus.publish(Placed(99)).position == 12
        bus.drain()
        assert heard == [*range(1, 8), 99]
        record = bus.log.get(11)
        assert record is not None
        assert record.event == LossAccepted(missing=3, first=8, last=10, synced=3, incarnation=2)
        assert [envelope.position for envelope in bus.log.read()] == [*range(1, 8), 11, 12]
        (row,) = bus.query("SELECT incarnation FROM eventbus_log")
        assert row["incarnation"] == 2
    assert "goes on without 3 acknowledged events" in caplog.text
    with opened(log) as bus:  # and that was that
        assert bus.publish(Placed(100)).position == 13


def test_accept_loss_changes_nothing_where_nothing_is_lost(log: Path) -> None:
    with opened(log, accept_loss=True) as bus:
        assert bus.publish(Placed(11)).position == 11
        assert bus.query("SELECT incarnation FROM eventbus_log") == [{"incarnation": 1}]


def test_a_copy_from_before_an_accepted_loss_is_noticed_however_long_it_has_grown(log: Path, tmp_path: Path) -> None:
    roll_back(log)
    publish(log, 99, accept_loss=True)
    elsewhere = tmp_path / "elsewhere.db"
    roll_back(elsewhere.with_name("shop.db"))
    shutil.copy(tmp_path / "old.db", elsewhere)
    publish(elsewhere, *range(30))
    shutil.copy(elsewhere, log)
    with pytest.raises(LogRolledBack) as caught:
        opened(log).start()
    assert (caught.value.missing, caught.value.first, caught.value.last) == (2, 11, 12)
    with opened(log, accept_loss=True) as bus:
        assert bus.publish(Placed(1)).position == 39
        assert bus.query("SELECT incarnation FROM eventbus_log") == [{"incarnation": 3}]
    publish(log, 2)


def test_of_a_new_log_that_lost_everything_positions_begin_beyond(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with opened(path) as bus:
        assert bus.log.head == 0
    shutil.copy(path, tmp_path / "old.db")
    publish(path, 1, 2)
    roll_back(path)
    with opened(path, accept_loss=True) as bus:
        assert bus.publish(Placed(1)).position == 4


def test_sequences_go_on_from_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with opened(path) as bus:
        bus.publish(Opened("a"))
    shutil.copy(path, tmp_path / "old.db")
    with opened(path) as bus:
        bus.publish(Opened("a", "x"))
    roll_back(path)
    with opened(path, accept_loss=True) as bus:
        receipt = bus.publish(Opened("a", "y"))
        assert (receipt.position, receipt.sequence) == (4, 2)


def test_two_processes_accept_one_loss_once(log: Path) -> None:
    roll_back(log)
    code = HEAD + "bus = EventBus(path, delivery='manual', accept_loss=True)\nsys.stdin.readline()\nsay(bus.log.head)\n"
    children = [Child(code, log) for _ in range(2)]
    for child in children:
        child.tell("now")
    assert [child.says() for child in children] == ["11", "11"]
    for child in children:
        child.end()


# --- the rules ----------------------------------------------------------------------------------------------

IDENTITY = LogIdentity("log", 2, 1)


def seen(incarnation: int, told: int, *, synced: int | None = None, began: int = 0) -> Witnessed:
    return Witnessed("log", incarnation, began, 1, told if synced is None else synced, told)


def test_a_log_with_all_that_was_told_has_lost_nothing() -> None:
    assert judge(IDENTITY, 10, []) is None
    assert judge(IDENTITY, 10, [seen(2, 10), seen(2, 3), seen(1, 99)]) is None
    assert judge(IDENTITY, 0, [seen(2, 0)]) is None


def test_the_furthest_of_all_witnesses_counts() -> None:
    loss = judge(IDENTITY, 7, [seen(2, 9, synced=9), seen(2, 12, synced=4)])
    assert loss is not None
    assert (loss.missing, loss.first, loss.last, loss.synced, loss.incarnation) == (5, 8, 12, 2, 2)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 50), st.integers(0, 50)), max_size=5), st.integers(0, 60))
def test_what_is_missing_is_exactly_what_was_told_beyond_the_head(told: list[tuple[int, int, int]], head: int) -> None:
    witnessed = [seen(incarnation, last, synced=min(last, synced)) for incarnation, last, synced in told]
    loss = judge(IDENTITY, head, witnessed)
    same = max((each.told for each in witnessed if each.incarnation == 2), default=0)
    later = any(each.incarnation == 3 and each.told for each in witnessed)
    if not later:
        assert (loss is not None) == (same > head)
    if loss is not None:
        assert loss.missing >= 1
        assert 0 <= loss.synced <= loss.missing
        assert loss.first == head + 1
