"""`eventbus inbox`: who numbers what it sends, and what is missing of that; the file is only looked at."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_stage import contents, run
from delivery_stage import standing_still
from inbox_stage import SOURCE, send

from eventbus.testing import FakeClock


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two senders, one of which waits for two numbers."""
    path = tmp_path / "log.db"
    with standing_still(path) as bus:
        send(bus, 1, shelf="b")
        send(bus, 1)
        send(bus, 4, gap_timeout=30, on_gap="skip")
    return path


def test_each_sender_is_a_line(file: Path) -> None:
    before = contents(file.parent)
    ran = run("inbox", file)
    assert ran.code == 0
    assert [line.split()[:5] for line in ran.lines] == [
        ["SOURCE", "STREAM", "NEXT", "WAIT", "MISSING"],
        [SOURCE, "shelf-a", "2", "1", "2"],
        [SOURCE, "shelf-b", "2", "·", "·"],
    ]
    assert "2 to 3" in ran.lines[1]
    assert "skip after 30 s" in ran.lines[1]
    assert contents(file.parent) == before


def test_json_has_all_of_it(file: Path) -> None:
    first, second = run("inbox", file, "--json").records
    assert first == {
        "source": SOURCE,
        "stream": "shelf-a",
        "first": 1,
        "expected": 2,
        "buffered": 1,
        "missing": {"first": 2, "last": 3},
        "since": "2026-01-01T00:00:00.000000Z",
        "on_gap": "skip",
        "gap_timeout": 30.0,
        "due": "2026-01-01T00:00:30.000000Z",
        "gap_event": None,
    }
    assert (second["missing"], second["since"]) == (None, None)


def test_only_those_with_a_gap(file: Path) -> None:
    assert [record["stream"] for record in run("inbox", file, "--gaps", "--json").records] == ["shelf-a"]
    with standing_still(file) as bus:
        send(bus, 2)
        send(bus, 3)
    assert run("inbox", file, "--gaps").lines == ["Nothing is missing."]


def test_a_gap_that_a_person_decides_about_says_so(file: Path) -> None:
    clock = FakeClock(seed=5)
    with standing_still(file, clock) as bus:
        send(bus, 2, shelf="c", gap_timeout=1, on_gap="dead")
        clock.advance(2)
        bus.drain()
    (line,) = [line for line in run("inbox", file).lines if "shelf-c" in line]
    assert line.endswith("asked")
    assert "eventbus.gaps" in run("dead", "list", file).out


def test_a_log_without_senders_says_so(tmp_path: Path) -> None:
    with standing_still(tmp_path / "log.db") as bus:
        bus.start()
    ran = run("inbox", tmp_path / "log.db")
    assert ran.lines == ["No sender has numbered what was ingested into this log."]
    assert run("inbox", tmp_path / "log.db", "--json").records == []
