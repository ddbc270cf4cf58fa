"""Proof that the judges of the storm over three processes are awake; test_kills.py has the storm."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from clerks import ASYNC_WAYS, WAYS, Clerks
from kinds import Declared, make_tables
from snapshots import Reader
from verdicts import Verdict

from eventbus import EventBus

CLOSED = "7.7"  # a life that closed its bus and ended in order
QUIET = 30  # events, of which some are void and some are published by handlers


def _tell(path: Path, *fields: object) -> None:
    with path.open("a") as file:
        file.write("\t".join(map(str, (*fields, os.getpid()))) + "\n")


def _first(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()[0].split("\t")[:-1]


def _again(path: Path) -> None:
    """What is done first was done before, by a life that recorded it."""
    position, _, *rest = _first(path)
    path.write_text("\t".join((position, CLOSED, *rest, "0")) + "\n" + path.read_text("utf-8"), "utf-8")


def _execute(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(folder / "events.db", isolation_level=None)) as connection:
        connection.execute(statement)


WRONG: dict[str, Callable[[Path], None]] = {
    "an acknowledged event is lost": lambda folder: _tell(folder / "stored-end.txt", "0.0.one.x", "no such id", 7),
    "a key was never stored": lambda folder: _tell(folder / "said-end.txt", "0.0.one.x"),
    "an order without its event": lambda folder: _execute(folder, "INSERT INTO orders VALUES ('0.0.rows.x', 'id')"),
    "a transactional effect twice": lambda folder: _execute(
        folder, "INSERT INTO effects (kind, position) SELECT kind, position FROM effects LIMIT 1"
    ),
    "a transactional effect missing": lambda folder: _execute(folder, "DELETE FROM effects WHERE number = 9"),
    "transactional effects out of order": lambda folder: _execute(
        folder, "UPDATE effects SET number = -number WHERE kind = 'log_ledger'"
    ),
    "a plain effect twice in one life": lambda folder: _tell(folder / "plain.txt", *_first(folder / "plain.txt")),
    "a plain effect again that a life had closed after": lambda folder: _again(folder / "plain.txt"),
    "a step that ran again": lambda folder: _tell(folder / "step.txt", *_first(folder / "step.txt")[:1], "x", "other"),
    "an event not accounted for": lambda folder: _execute(
        folder, "UPDATE eventbus_subscriptions SET handled = handled - 1 WHERE name = 'async'"
    ),
}


@pytest.fixture
def quiet(tmp_path: Path) -> Path:
    """What a storm without any kill leaves behind."""
    with EventBus(tmp_path / "events.db", delivery="manual", durability="process") as bus:
        make_tables(bus)
        declared, clerks = Declared(bus, tmp_path, "end", mended=True), Clerks(bus, tmp_path, "end")
        for number in range(QUIET):
            clerks.say(f"0.0.{(*WAYS, *ASYNC_WAYS)[number % 9]}.a{number}")
        while bus.drain():
            pass
        declared.close()
        clerks.close()
    return tmp_path


def judge(folder: Path) -> dict[str, int]:
    with EventBus(folder / "events.db", delivery="manual", durability="process") as bus:
        return Verdict(bus, folder, Reader(), {CLOSED}).all()


def test_a_quiet_run_is_found_to_be_in_order(quiet: Path) -> None:
    figures = judge(quiet)
    assert figures["acknowledged"] == figures["delivered"] > QUIET


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_found(wrong: str, quiet: Path) -> None:
    WRONG[wrong](quiet)
    with pytest.raises(AssertionError):
        judge(quiet)
