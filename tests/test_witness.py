"""What was acknowledged is written down beside the log, by each process for itself, and read at the next open."""

from __future__ import annotations

import logging
import stat
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from bus_stage import Placed
from hypothesis import given
from hypothesis import strategies as st
from process_stage import HEAD, Child
from witness_stage import beside, opened, publish, roll_back, ten_events, told

from eventbus.errors import LogRolledBack
from eventbus.store.witness import Witnessed, slots


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return ten_events(tmp_path)


# --- what a publish leaves ----------------------------------------------------------------------------------


def test_what_is_told_is_in_the_file_before_anybody_hears_of_it(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with opened(path) as bus:
        heard: list[tuple[int, list[int]]] = []
        bus.on(Placed)(lambda placed, ctx: heard.append((ctx.envelope.position, told(path))))
        bus.publish(Placed(1))
        bus.publish_many([Placed(2), Placed(3)])
        with bus.transaction() as tx:
            tx.publish(Placed(4))
        assert heard == [(1, [1]), (2, [3]), (3, [3]), (4, [4])]


def test_it_is_private_and_there_is_none_where_nothing_was_published(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with opened(path) as bus:
        assert bus.log.head == 0
        assert not beside(path).exists()
        bus.publish(Placed(1))
        assert stat.S_IMODE(beside(path).stat().st_mode) == 0o600


def test_a_log_in_memory_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with opened(None) as bus:  # type: ignore[arg-type]
        bus.publish(Placed(1))
    assert list(tmp_path.iterdir()) == []


def test_what_was_rolled_back_was_never_told(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with opened(path) as bus:
        bus.publish(Placed(1))

        def fails() -> None:
            with bus.transaction() as tx:
                tx.publish(Placed(2))
                raise RuntimeError

        with pytest.raises(RuntimeError):
            fails()
        bus.subscribe("orders", Placed, handler=lambda placed: None)
        bus.drain()  # a commit of the bus's own that appends nothing
        assert told(path) == [1]
        with bus.transaction() as tx:
            tx.publish(Placed(3))
            try:
                with tx.db.atomic():
                    tx.publish(Placed(4))
                    raise RuntimeError
            except RuntimeError:
                pass
        assert told(path) == [2] == [bus.log.head]


def test_a_kill_loses_nothing_and_is_no_loss(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    code = HEAD + "import os, signal\nbus = EventBus(path)\nfor n in range(9): bus.publish(Counted(n))\n"
    done = subprocess.run(
        [sys.executable, "-c", code + "os.kill(os.getpid(), signal.SIGKILL)", str(path)],
        cwd=Path(__file__).parent,
        check=False,
    )
    assert done.returncode < 0
    assert told(path) == [9]
    with opened(path) as bus:
        assert bus.log.head == 9


# --- at the next open --------------------------------------------------------------------------------------


def test_a_newer_log_beside_an_older_witness_is_normal(log: Path) -> None:
    older = beside(log).read_bytes()
    publish(log, 11)
    beside(log).write_bytes(older)
    publish(log, 12)
    assert max(told(log)) == 12


def test_a_missing_witness_is_normal_and_comes_back_with_the_next_publish(log: Path, caplog: Any) -> None:
    beside(log).unlink()
    roll_back(log)
    publish(log, 8)
    assert told(log) == [8]
    assert caplog.text == ""


def test_one_that_is_deleted_while_the_bus_is_open_comes_back_when_it_rests(log: Path) -> None:
    with opened(log) as bus:
        bus.publish(Placed(11))
        beside(log).unlink()
        bus._attachment.engine().storage.rest()
        bus.publish(Placed(12))
        assert told(log) == [12]


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"\x07" * 512, "damaged"), (b"EvBsWit1" + b"x" * 90, "damaged"), (b"a", "damaged"), (b"", ""), (bytes(512), "")],
)
def test_a_witness_that_cannot_be_read_is_ignored_and_said_once(
    log: Path, caplog: Any, content: bytes, said: str
) -> None:
    roll_back(log)
    beside(log).write_bytes(content)
    publish(log, 8)
    assert (said in caplog.text) if said else caplog.text == ""
    caplog.clear()
    publish(log, 9)
    assert caplog.text == ""


def test_a_witness_of_another_log_is_ignored_and_said_once(log: Path, caplog: Any) -> None:
    log.unlink()
    with caplog.at_level(logging.WARNING):
        publish(log, 1)
    assert "is about another log" in caplog.text
    caplog.clear()
    publish(log, 2)
    assert caplog.text == ""
    assert told(log) == [2]


def test_a_witness_that_cannot_be_written_costs_a_warning_and_no_event(tmp_path: Path, caplog: Any) -> None:
    path = tmp_path / "shop.db"
    beside(path).mkdir()
    publish(path, 1, 2)
    assert caplog.text.count("cannot be written; a loss may go unnoticed") == 1
    with opened(path) as bus:
        assert bus.log.head == 2


def test_a_half_that_was_torn_leaves_the_other_one(log: Path) -> None:
    content = bytearray(beside(log).read_bytes())
    newest = max(
        (half for half in (0, 128) if Witnessed.unpacked(bytes(content[half : half + 128]))),
        key=lambda half: Witnessed.unpacked(bytes(content[half : half + 128])).number,  # type: ignore[union-attr]
    )
    content[newest + 100] ^= 1
    beside(log).write_bytes(content)
    assert told(log) == [9]
    roll_back(log)
    with pytest.raises(LogRolledBack) as caught:
        opened(log).start()
    assert caught.value.last in (9, 10)


# --- several processes --------------------------------------------------------------------------------------

PUBLISH = (
    HEAD
    + """
bus = EventBus(path, delivery="manual")
say(bus.log.head)
for line in sys.stdin:
    if line.strip() == "go on":
        break
    say(bus.publish(Counted(0)).position)
"""
)


def test_each_process_has_a_place_of_its_own_and_none_goes_backwards(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    publish(path, 1)
    children = [Child(PUBLISH, path) for _ in range(3)]
    try:
        assert [child.says() for child in children] == ["1"] * 3
        positions = []
        for child in (*children, children[0]):
            child.tell("publish")
            positions.append(int(child.says()))
            assert max(told(path)) == positions[-1]
        assert positions == [2, 3, 4, 5]
        assert sorted(told(path)) == [3, 4, 5]
        children[0].kill()
        children[1].tell("publish")
        assert children[1].says() == "6"
        publish(path, 7)  # takes the place of the one that was killed
        assert sorted(told(path)) == [4, 6, 7]
    finally:
        for child in children[1:]:
            child.end()
        children[0].close()


# --- its bytes ------------------------------------------------------------------------------------------


@given(st.binary(max_size=600))
def test_any_bytes_can_be_read_as_a_witness(content: bytes) -> None:
    for number, whole in slots(content):
        assert number >= 0
        assert whole == []


@given(st.uuids(), st.lists(st.integers(0, 2**64 - 1), min_size=5, max_size=5), st.integers(0, 115))
def test_a_half_comes_back_as_it_was_written_or_not_at_all(log_id: uuid.UUID, numbers: list[int], where: int) -> None:
    half = Witnessed(str(log_id), *numbers)
    packed = bytearray(half.packed())
    assert Witnessed.unpacked(bytes(packed)) == half
    packed[where] ^= 1
    assert Witnessed.unpacked(bytes(packed)) is None
