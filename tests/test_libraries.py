"""A second SQLite in the process is warned of; so is a second name of the file, which is refused while it is in use."""

from __future__ import annotations

import os
import sys
import types
from pathlib import Path

import pytest
from bus_stage import Placed
from process_stage import HEAD, Child

from eventbus import EventBus
from eventbus.errors import LogBusy
from eventbus.store import libraries
from eventbus.store.libraries import others

ONE = """
7f00-7f01 r-xp 00000000 fe:00 11 /usr/lib/python3.11/lib-dynload/_sqlite3.cpython-311-x86_64-linux-gnu.so
7f01-7f02 r-xp 00000000 fe:00 12 /usr/lib/x86_64-linux-gnu/libsqlite3.so.0.8.6
7f02-7f03 rw-p 00000000 fe:00 12 /usr/lib/x86_64-linux-gnu/libsqlite3.so.0.8.6
7f03-7f04 rw-p 00000000 00:00 0
7f04-7f05 rw-p 00000000 fe:00 13 /home/ada/sqlite3.db
"""
BUNDLED = "7f05-7f06 r-xp 00000000 fe:00 14 /opt/my app/lib/libsqlite3-5f2a.so.0.8.6\n"
QT = "7f05-7f06 r-xp 00000000 fe:00 14 /opt/qt/plugins/sqldrivers/libqsqlite.so\n"


def test_python_alone_brings_one() -> None:
    assert others(["sqlite3", "_sqlite3", "os"], ONE) == []
    assert others([], "") == []


@pytest.mark.parametrize("name", ["apsw", "pysqlite3", "PySide6.QtSql"])
def test_modules_that_bring_their_own_are_named(name: str) -> None:
    assert others(["sqlite3", name], ONE) == [name]


@pytest.mark.parametrize("more", [BUNDLED, QT])
def test_two_libraries_are_named_by_their_files(more: str) -> None:
    found = others(["sqlite3"], ONE + more)
    assert len(found) == 2
    assert more.split(None, 5)[-1].strip() in found


def test_it_is_said_once_in_a_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(libraries, "_told", set())
    monkeypatch.setitem(sys.modules, "apsw", types.ModuleType("apsw"))
    for name in ("one.db", "two.db"):
        with EventBus(tmp_path / name, delivery="manual") as bus:
            bus.publish(Placed(1))
    assert caplog.text.count("apsw: another SQLite") == 1


def test_a_file_with_a_second_name_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "shop.db"
    with EventBus(path, delivery="manual") as bus:
        bus.publish(Placed(1))
    assert "hard links" not in caplog.text
    os.link(path, tmp_path / "other.db")
    with EventBus(path, delivery="manual") as bus:
        bus.publish(Placed(2))
    assert "has 2 names (hard links)" in caplog.text


@pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="only Linux lists locks")
def test_a_log_that_another_process_has_open_by_another_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with EventBus(path, delivery="manual") as bus:
        bus.publish(Placed(1))
    os.link(path, tmp_path / "other.db")
    code = HEAD + "bus = EventBus(path, delivery='manual')\nsay(bus.log.head)\nsys.stdin.readline()\nbus.close()\n"
    child = Child(code, path)
    assert child.says() == "1"
    with EventBus(path, delivery="manual") as bus:
        assert bus.log.head == 1
    with pytest.raises(LogBusy, match="another of its names"), EventBus(tmp_path / "other.db") as bus:
        bus.publish(Placed(2))
    child.end()
    with EventBus(tmp_path / "other.db", delivery="manual") as bus:
        assert bus.log.head == 1


def test_two_names_in_one_process_are_one_log(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with EventBus(path, delivery="manual") as bus:
        bus.publish(Placed(1))
        os.link(path, tmp_path / "other.db")
        with EventBus(tmp_path / "other.db", delivery="manual") as other:
            other.publish(Placed(2))
        assert bus.log.head == 2
