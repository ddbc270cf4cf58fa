"""`eventbus demo`: the story takes place, everything told of it is true, and what it says to type works."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eventbus.cli.demo.provider import CardDeclined, Provider

EVENTBUS = [sys.executable, "-W", "error", "-m", "eventbus"]
ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"}
SECONDS = 60  # for one command; a demo that hangs fails here


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*EVENTBUS, *map(str, arguments)],
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )


def records(*arguments: object) -> list[dict[str, Any]]:
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    done = run("demo", "--folder", tmp_path_factory.mktemp("told") / "demo", COLUMNS="80")
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    (story,) = records("demo", "--folder", tmp_path_factory.mktemp("story") / "demo")
    return story


def commands(told: str) -> list[str]:
    lines = told.partition("Type next:\n")[2].splitlines()
    return [line.partition("  # ")[0].strip() for line in lines]


def table(told: str, title: str) -> list[list[str]]:
    """The rows under a line of titles, in pieces."""
    rows = told.partition(f"{title} ")[2].splitlines()[1:]
    return [re.split(r"  +", row) for row in rows[: next(i for i, row in enumerate(rows) if not row or "." in row)]]


# --- what is told ---------------------------------------------------------------------------------------


def test_the_story_fits_into_25_lines_of_80_columns(told: str) -> None:
    lines = told.splitlines()
    assert len(lines) <= 25
    story = lines[1 : lines.index("Type next:")]  # the name of the folder may be long, and so may a command be
    assert [line for line in story if len(line) > 79 or "…" in line] == []
    assert "\x1b" not in told


def test_it_says_what_became_of_each_order(told: str) -> None:
    *orders, last = table(told, "ORDER")
    assert orders == [
        ["order-1", "placed, paid, shipped", "timed out, charged", "nothing"],
        ["order-2", "placed, paid, shipped", "charged, charged before", "nothing"],
        ["order-3", "placed, item added", "declined 3 times", "dead, held"],
    ]
    assert last[:3] == ["order-4", "placed, paid", "charged"]
    assert re.fullmatch(r"shipping in (1 m|\d\d s)", last[3])


def test_it_says_what_is_handled_waiting_held_and_dead(told: str) -> None:
    assert table(told, "SUBSCRIPTION") == [
        ["payments", "3", "·", "1", "1"],
        ["sales [projection]", "3", "·", "·", "·"],
        ["shipping", "2", "1", "·", "·"],
    ]
    assert "The provider was asked 8 times and charged 3 times, no order twice." in told


def test_every_command_it_prints_works_on_that_log(told: str) -> None:
    setting, *rest = commands(told)
    assert [command.partition("eventbus ")[2].split()[0] for command in rest] == [
        "log",
        "show",
        "subscriptions",
        "dead",
        "projections",
        "run",
    ]
    for command in rest:
        done = subprocess.run(
            ["/bin/sh", "-c", f"{setting}\n{command}"],
            env=ENVIRONMENT,
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), command
        assert done.stdout, command


def test_on_a_terminal_it_is_coloured(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    environment = {key: value for key, value in ENVIRONMENT.items() if key not in ("NO_COLOR", "COLUMNS")}
    process = subprocess.Popen(
        [*EVENTBUS, "demo", "--folder", str(tmp_path / "demo")],
        stdout=theirs,
        env={**environment, "TERM": "xterm"},
    )
    os.close(theirs)
    seen = b""
    while chunk := read(ours):
        seen += chunk
    os.close(ours)
    assert process.wait(SECONDS) == 0
    assert b"\x1b[31mkilled by signal 9\x1b[0m" in seen


def read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # the other end of a terminal is closed
        return b""


# --- whether it is true ---------------------------------------------------------------------------------


def test_the_first_process_is_killed_after_a_charge_that_it_could_not_note(story: dict[str, Any]) -> None:
    first, second = story["processes"]
    assert (first["exit"], first["charged_only"]) == (-signal.SIGKILL, ["2"])
    assert (second["exit"], second["charged_only"]) == (0, [])
    assert first["pid"] != second["pid"]


def test_what_it_counts_is_what_the_log_and_the_provider_hold(story: dict[str, Any]) -> None:
    log = story["log"]
    events = records("log", log)
    assert [order["happened"] for order in story["orders"]] == [
        [event["type"] for event in events if event["stream"] == f"order-{order['order']}"] for order in story["orders"]
    ]
    first, second = story["processes"]
    assert second["stored"] == len(events)
    # A process that is killed may have stored what its live handlers had no time to hear; one that closes has not.
    assert first["heard"] <= first["stored"]
    assert second["heard"] == second["stored"] - first["stored"]
    requests = [json.loads(line) for line in Path(story["provider"]["file"]).read_text("utf-8").splitlines()]
    assert story["provider"]["answers"] == requests
    assert story["provider"]["asked"] == len(requests)
    assert story["provider"]["charged"] == sum(request["answer"] == "charged" for request in requests)
    for mine, theirs in zip(story["subscriptions"], records("subscriptions", log), strict=True):
        assert mine["waiting"] == theirs["behind"] + theirs["waiting"] + theirs["retrying"]
        assert {key: mine[key] for key in ("name", "handled", "held", "dead")} == {
            key: theirs[key] for key in ("name", "handled", "held", "dead")
        }


def test_nothing_is_lost_and_nothing_is_charged_or_shipped_twice(story: dict[str, Any]) -> None:
    charged = [answer["order"] for answer in story["provider"]["answers"] if answer["answer"] == "charged"]
    paid = [order["order"] for order in story["orders"] if "OrderPaid" in order["happened"]]
    assert sorted(charged) == paid == ["1", "2", "4"]
    shipped = [order["happened"].count("OrderShipped") for order in story["orders"]]
    assert shipped == [1, 1, 0, 0]


def test_every_step_of_the_story_adds_up(story: dict[str, Any]) -> None:
    due = {"payments": 0, "sales": 0, "shipping": 0}
    for order in story["orders"]:
        for happened in order["happened"]:
            due["payments"] += happened in ("OrderPlaced", "ItemAdded")
            due["sales"] += happened == "OrderPaid"
            due["shipping"] += happened == "OrderPaid"
    settled = {
        each["name"]: each["handled"] + each["waiting"] + each["held"] + each["dead"] for each in story["subscriptions"]
    }
    assert settled == due


def test_a_folder_that_has_a_demo_is_left_alone(story: dict[str, Any]) -> None:
    folder = Path(story["log"]).parent
    before = (folder / "shop.db").read_bytes()
    done = run("demo", "--folder", folder)
    assert done.returncode == 1
    assert "already. Choose another folder." in done.stderr
    assert (folder / "shop.db").read_bytes() == before


def test_without_a_folder_it_makes_a_temporary_one(tmp_path: Path) -> None:
    done = run("demo", "--json", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    (folder,) = tmp_path.iterdir()
    assert Path(json.loads(done.stdout)["log"]).parent == folder
    assert folder.name.startswith("eventbus-demo-")


# --- the provider ---------------------------------------------------------------------------------------


def test_the_provider_charges_a_key_once(tmp_path: Path) -> None:
    provider = Provider(tmp_path / "provider.jsonl")
    with pytest.raises(TimeoutError):
        provider.charge("a", "1", "4242", 5.0)
    for _ in range(3):
        provider.charge("a", "1", "4242", 5.0)
    with pytest.raises(CardDeclined, match="0002"):
        provider.charge("b", "2", "4000 0002", 5.0)
    assert [request.answer for request in provider.requests()] == [
        "timed out",
        "charged",
        "charged before",
        "charged before",
        "declined",
    ]
