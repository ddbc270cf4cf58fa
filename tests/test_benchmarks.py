"""The benchmarks run, say what is missing, and fail where a goal is not reached; nothing here looks at a clock."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from benchmarks import __main__ as program
from benchmarks import environment, logs, machine, peers, profiling, sizes
from benchmarks.catalogue import SUBJECTS, selected
from benchmarks.goals import GOALS, Goal, goals_of
from benchmarks.measuring import Contest, Measured, Side
from benchmarks.payload import ORDER, PAYLOAD, PLACED
from benchmarks.report import Finding, Report
from benchmarks.sizes import TINY
from benchmarks.subjects import emitting
from benchmarks.subjects.subject import Run, Subject
from eventbus import EventBus

ROOT = Path(__file__).resolve().parent.parent
PEER_SIDES = {"blinker", "pyee", "psygnal", "bubus", "huey", "litequeue", "persist-queue", "eventsourcing"}

TOO_MANY = {"100 idle", "1,000 idle"}  # subscriptions, for a test that is to be light


def run_in(folder: Path, *, with_peers: bool = False) -> Run:
    work = folder / "work"
    work.mkdir()
    return Run(TINY, work, folder, with_peers, lambda what: None)


def is_of_a_peer(side: str) -> bool:
    return any(side.startswith(peer) for peer in PEER_SIDES)


def nothing(measured: Measured) -> Callable[[Run], Measured]:
    return lambda run: measured


def finding(measured: Measured, name: str = "emit-1", trouble: str = "") -> Finding:
    return Finding(Subject(name, "a title", "us", nothing(measured)), measured, 1.0, trouble)


def report(*findings: Finding) -> Report:
    return Report("tiny", "2026-11-23", machine.facts(ROOT), list(findings))


def measured(**medians: float) -> Measured:
    sides = {name: Side(name, "none", [value / 1e6]) for name, value in medians.items()}
    return Measured("1 event", sides)


# --- the goals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.name)
def test_each_benchmark_runs_and_measures_all_that_its_goals_compare(subject: Subject, tmp_path: Path) -> None:
    found = subject.measure(run_in(tmp_path))
    assert all(side.samples for side in found.sides.values())
    assert found.size
    wanted = {side for goal in goals_of(subject.name) for side in goal.sides} - TOO_MANY
    assert wanted <= set(found.sides) | set(found.missing)
    assert all(is_of_a_peer(side) for side in found.missing)


def test_every_goal_belongs_to_a_benchmark() -> None:
    assert {goal.subject for goal in GOALS} <= {subject.name for subject in SUBJECTS}


def test_names_of_benchmarks_are_there_once() -> None:
    names = [subject.name for subject in SUBJECTS]
    assert len(names) == len(set(names))


def test_performance_md_explains_every_benchmark() -> None:
    text = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert [subject.name for subject in SUBJECTS if f"`{subject.name}`" not in text] == []


@pytest.mark.parametrize(
    ("goal", "figure", "met"),
    [
        (Goal("emit-1", "cost", 0.25, "blinker"), 0.2, True),
        (Goal("emit-1", "cost", 0.1, "blinker"), 0.2, False),
        (Goal("emit-1", "speed", 5, "blinker"), 5.0, True),
        (Goal("emit-1", "speed", 5.1, "blinker"), 5.0, False),
        (Goal("emit-1", "excess", -7, "blinker"), -8.0, True),
        (Goal("emit-1", "value", 2, ""), 2.0, True),
        (Goal("emit-1", "value", 1.9, ""), 2.0, False),
    ],
)
def test_a_goal_is_judged_by_its_figure(goal: Goal, figure: float, met: bool) -> None:
    found = goal.figure(measured(eventbus=2, blinker=10), 1e6)
    assert found == pytest.approx(figure)
    assert found is not None
    assert goal.is_met(found) is met


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    one, other = Side("eventbus", "none", [1.0, 8.0, 3.0]), Side("blinker", "none", [2.0, 2.0, 4.0])
    found = Measured("3 rounds", {"eventbus": one, "blinker": other})
    assert Goal("emit-1", "cost", 1, "blinker").figure(found, 1.0) == 0.75


# --- what is missing, and what falls short --------------------------------------------------------------


def test_a_peer_that_is_not_installed_is_reported_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def room(peer: str) -> Any:
        raise ModuleNotFoundError(f"No module named {peer!r}")

    monkeypatch.setattr(peers, "room", room)
    monkeypatch.setattr(environment, "not_installed", lambda: {"bubus": "could not be installed: no wheel"})
    (emit, _) = emitting.SUBJECTS
    found = Finding(emit, emit.measure(run_in(tmp_path, with_peers=True)), 1.0)
    assert found.measured.missing["bubus"] == "could not be installed: no wheel"
    assert found.measured.missing["pyee"] == "not installed: No module named 'pyee'"
    assert "| pyee | | not measured: not installed: No module named 'pyee' | |" in report(found).as_markdown()
    assert report(found).as_data()["subjects"][0]["not_measured"]["pyee"].startswith("not installed")


def test_a_peer_that_breaks_is_reported_and_stops_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def emitting(self, handlers: int) -> Any:
            raise RuntimeError("not on\nthis Python")

    monkeypatch.setattr(peers, "room", lambda peer: Broken())
    (emit, _) = emitting.SUBJECTS
    found = emit.measure(run_in(tmp_path, with_peers=True))
    assert found.missing["pyee"] == "RuntimeError: not on this Python"
    assert found.sides["eventbus"].samples


def test_blinker_which_is_always_there_takes_part(tmp_path: Path) -> None:
    (emit, _) = emitting.SUBJECTS
    assert emit.measure(run_in(tmp_path, with_peers=True)).sides["blinker"].samples


def test_a_goal_that_is_not_reached_or_not_measured_fails_the_run() -> None:
    assert not report(finding(measured(eventbus=1, blinker=10, pyee=10))).falls_short
    assert report(finding(measured(eventbus=9, blinker=10, pyee=10))).falls_short
    assert report(finding(measured(eventbus=1, blinker=10))).falls_short
    assert report(finding(Measured(""), "publish-many-process", "OSError: disk full")).falls_short


def test_the_table_says_what_falls_short() -> None:
    table = report(finding(measured(eventbus=4, blinker=10, pyee=10))).as_markdown()
    assert "| emit-1 | eventbus: at most 0.25 of blinker | 0.4 | FALLS SHORT |" in table
    assert "| emit-1 | eventbus: at most 0.5 of pyee | 0.4 | met |" in table


def test_a_benchmark_that_breaks_stops_no_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def breaks(run: Run) -> Measured:
        raise OSError("disk full")

    both = [Subject("one", "breaks", "us", breaks), Subject("two", "works", "us", nothing(measured(eventbus=1)))]
    found = program.measure_all(both, TINY, tmp_path / "logs", peers=False, quiet=False)
    assert [each.trouble for each in found.findings] == ["OSError: disk full", ""]
    assert "broke: OSError: disk full" in capsys.readouterr().out


# --- the run --------------------------------------------------------------------------------------------


def test_sides_take_turns_and_the_first_round_does_not_count() -> None:
    calls: list[str] = []

    def side(name: str) -> Callable[[], float]:
        return lambda: float(len(calls.append(name) or calls))  # type: ignore[func-returns-value]

    with Contest("2 rounds", 2, lambda what: None) as contest:
        contest.add("one", "none", side("one"))
        contest.add("two", "none", side("two"))
        found = contest.run()
    assert calls == ["two", "one", "one", "two", "two", "one"]
    assert found.sides["one"].samples == [3.0, 6.0]


def test_a_run_of_some_writes_numbers_and_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(program, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sizes, "QUICK", TINY)
    arguments = ["--quick", "--only", "read", "--no-peers", "--json", "--folder", str(tmp_path / "logs")]
    monkeypatch.setattr(sys, "argv", ["benchmarks", *arguments])
    assert program.main() in (0, 1)
    data = json.loads((tmp_path / "results" / "partial.json").read_text())
    assert json.loads(capsys.readouterr().out) == data
    (subject,) = data["subjects"]
    assert {side["name"] for side in subject["sides"]} == {
        "eventbus",
        "scan + decode by hand",
        "scan + decode by hand, checksums compared",
    }
    assert all(side["durability"] and side["median"] > 0 for side in subject["sides"])
    assert [goal["limit"] for goal in subject["goals"]] == [0.6]
    assert "## read: a loop over log.read" in (tmp_path / "results" / "partial.md").read_text()
    assert not any((tmp_path / "logs").iterdir())


@pytest.mark.parametrize(("ours", "status", "told"), [(1.0, 0, "2 of 2 goals met."), (4.0, 1, "FALLS SHORT: emit-1")])
def test_a_run_ends_with_1_where_a_goal_is_not_reached(
    ours: float,
    status: int,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    subject = Subject("emit-1", "a title", "us", nothing(measured(eventbus=ours, blinker=10, pyee=10)))
    monkeypatch.setattr(program, "selected", lambda names: [subject])
    monkeypatch.setattr(program, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--folder", str(tmp_path / "logs")])
    assert program.main() == status
    assert told in capsys.readouterr().out


def test_the_list_has_every_benchmark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--list"])
    assert program.main() == 0
    out = capsys.readouterr().out
    assert all(subject.name in out for subject in SUBJECTS)


def test_a_name_that_is_nobodys_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--only", "publsh"])
    assert program.main() == 2
    with pytest.raises(ValueError, match="publsh"):
        selected(["publsh"])
    assert [subject.name for subject in selected(["emit-*"])] == ["emit-1", "emit-10"]


def test_what_cannot_be_installed_is_noted_with_the_reason_and_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def install(*what: str) -> CompletedProcess[str]:
        asked.append(what[-1])
        fails = what == ("huey",)
        return CompletedProcess(what, int(fails), "", "Looking\nERROR: no wheel for huey\n" if fails else "")

    monkeypatch.setattr(environment, "FOLDER", tmp_path)
    monkeypatch.setattr(environment, "NOTES", tmp_path / "not-installed.json")
    monkeypatch.setattr(environment, "READY", tmp_path / "installed.json")
    monkeypatch.setattr(environment, "make_venv", lambda: None)
    monkeypatch.setattr(environment, "install", install)
    environment.python().parent.mkdir()
    environment.python().touch()
    (tmp_path / "installed.json").write_text(json.dumps({"folder": str(environment.ROOT)}))
    environment.make()
    assert asked == [str(environment.ROOT), *environment.WANTED]
    assert environment.not_installed() == {"huey": "could not be installed: ERROR: no wheel for huey"}
    asked.clear()
    environment.make()
    assert asked == ["huey"]


def test_what_is_said_of_the_machine_names_nobody(tmp_path: Path) -> None:
    facts = json.dumps(machine.facts(tmp_path))
    assert str(tmp_path) not in facts
    assert "/" not in machine.file_system(tmp_path)


# --- what is measured with ------------------------------------------------------------------------------


def test_the_payload_is_what_the_log_stores() -> None:
    with EventBus(delivery="manual") as bus:
        bus.publish(PLACED)
        envelope = bus.log.get(1)
    assert envelope is not None
    assert envelope.payload == PAYLOAD
    assert json.loads(PAYLOAD) == ORDER


def test_a_log_written_in_bulk_is_one_that_a_bus_has_published(tmp_path: Path) -> None:
    path = logs.bulk(tmp_path, tmp_path, 12, lambda what: None)
    with EventBus(path, delivery="manual") as bus:
        envelopes = list(bus.log.read(until=12))
        assert [envelope.position for envelope in envelopes] == list(range(1, 13))
        assert [(each.stream, each.sequence) for each in envelopes[4:7]] == [
            ("order-0", 5),
            ("order-1", 1),
            ("order-1", 2),
        ]
        assert all(envelope.event == PLACED and envelope.source == "benchmark" for envelope in envelopes)
        assert len({envelope.id for envelope in envelopes}) == 12


@pytest.mark.parametrize("name", profiling.PATHS)
def test_each_path_can_be_profiled(name: str) -> None:
    assert profiling.profile(name, 3).total_calls > 0  # type: ignore[attr-defined]
