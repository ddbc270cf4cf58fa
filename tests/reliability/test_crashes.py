"""What a process leaves behind when it dies in a handler, when it dies idle, and when it ends in order."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

import pytest
from crashing import ATTEMPTS, Bomb, defused, live

from eventbus import EventBus

KILLED = -signal.SIGKILL
MOST_LIVES = 12
KINDS = ("plain", "async", "transactional", "log", "projection")


def store(folder: Path, *events: Bomb) -> None:
    with EventBus(folder / "events.db", delivery="manual") as bus:
        bus.publish_many(events)


def live_until_it_ends_in_order(life: str, folder: Path, kind: str) -> int:
    """How many died before."""
    return next(lives for lives in range(MOST_LIVES) if live(life, folder, kind) == 0)


@pytest.mark.parametrize(("kind", "life"), [*[(kind, "work") for kind in KINDS], ("plain", "drain")])
def test_a_handler_that_kills_the_process_becomes_a_dead_letter_and_others_go_on(
    tmp_path: Path, kind: str, life: str
) -> None:
    store(tmp_path, Bomb(1, 1), Bomb(2, 2, live=True), Bomb(3, 2), Bomb(4, 3))
    deaths = live_until_it_ends_in_order(life, tmp_path, kind)
    assert deaths <= 6, "the first one was in a batch, where nothing is counted"
    name = "shelves" if kind == "projection" else "defuser"
    with EventBus(tmp_path / "events.db", delivery="manual") as bus:
        status = [bus.status(position)[name] for position in (1, 2, 3, 4)]
    in_strict_order = kind in ("log", "projection")
    assert status == ["handled", "dead", "held", "held" if in_strict_order else "handled"]
    assert "process" in (status[1].error or "")
    if kind != "projection":
        assert deaths == ATTEMPTS + 1
        assert status[1].attempts == ATTEMPTS
        assert [attempt for number, attempt in defused(tmp_path) if number == 2] == [1, 1, 2]


def test_a_kill_while_idle_costs_nothing(tmp_path: Path) -> None:
    store(tmp_path, Bomb(1, 1), Bomb(2, 2))
    assert live("die_idle", tmp_path, "plain") == KILLED
    assert live("publish", tmp_path, "3") == 0
    assert live("die_idle", tmp_path, "plain") == KILLED
    assert live("work", tmp_path, "plain") == 0
    assert defused(tmp_path) == [(1, 1), (2, 1), (3, 1)], "each was handled once, in its first attempt"


@pytest.mark.parametrize("kept", [0, 32])
def test_a_kill_before_the_first_frame_of_a_wal_is_no_hindrance(tmp_path: Path, kept: int) -> None:
    """The kill left the header of the -wal alone, or not even that: all that is stored is in the file."""
    store(tmp_path, Bomb(1, 1))
    assert live("die_idle", tmp_path, "plain") == KILLED
    os.truncate(tmp_path / "events.db-wal", kept)
    with EventBus(tmp_path / "events.db", delivery="manual") as bus:
        assert bus.publish(Bomb(2, 1)).position == 2


def test_a_clean_end_gives_the_claims_back(tmp_path: Path) -> None:
    store(tmp_path, *[Bomb(number, number) for number in range(1, 6)])
    assert live("work", tmp_path, "plain") == 0
    with EventBus(tmp_path / "events.db", delivery="manual") as bus:
        row = bus.subscriptions["defuser"].row
        assert (row.cursor, row.claim, row.handled) == (5, 5, 5)


@pytest.mark.parametrize("kind", ["plain", "transactional", "projection"])
def test_an_exit_without_a_close_gives_the_claims_back_and_loses_nothing(tmp_path: Path, kind: str) -> None:
    store(tmp_path, *[Bomb(number, number) for number in range(1, 301)])
    assert live("exit_at_once", tmp_path, kind) == 0
    with EventBus(tmp_path / "events.db", delivery="manual") as bus:
        row = (bus.projections if kind == "projection" else bus.subscriptions)[row_name(kind)].row
        assert row.claim == row.cursor
    assert live("work", tmp_path, kind) == 0
    assert Counter(number for number, *_ in defused(tmp_path)) == Counter(range(1, 301))


def test_what_was_submitted_is_stored_before_the_interpreter_ends(tmp_path: Path) -> None:
    assert live("submit_and_leave", tmp_path, "300") == 0
    with EventBus(tmp_path / "events.db", delivery="manual") as bus:
        assert [envelope.event.number for envelope in bus.log.read()] == list(range(300))


def row_name(kind: str) -> str:
    return "shelves" if kind == "projection" else "defuser"
