"""The commands that need the app's code: run, replay, projections rebuild."""

from __future__ import annotations

import signal
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_stage import next_record, on_a_terminal, run, started
from clishop_stage import BUS, publish, shop_in


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An app's module in the folder where the person stands."""
    with shop_in(tmp_path, monkeypatch) as module:
        yield module


# --- run ------------------------------------------------------------------------------------------------


def test_run_until_idle_delivers_what_is_due_and_says_what_became_of_it(app: Any) -> None:
    publish(app, 1.0, -1.0, 2.0)
    ran = run("run", "--bus", BUS, "--until-idle")
    assert ran.code == 0
    assert ran.out.endswith(": handled 5, dead 1.\n")
    assert Path("sent.txt").read_text() == "o-0\no-2\n"
    assert run("log", "shop.db", "--type", "clishop.InvoiceSent", "--json").records[0]["causation_id"]


def test_run_as_json_ends_with_a_line_that_says_it_is_done(app: Any) -> None:
    publish(app, 1.0)
    last = run("run", "--bus", BUS, "--until-idle", "--json").records[-1]
    assert (last["done"], last["handled"], last["dead"]) == (True, 2, 0)


def test_run_delivers_until_ctrl_c(app: Any, tmp_path: Path) -> None:
    publish(app, 1.0)
    with started("run", "--bus", BUS, "--json", folder=tmp_path) as process:
        while next_record(process)["handled"] < 2:
            pass
        publish(app, 3.0, first=1)
        while next_record(process)["handled"] < 4:
            pass
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, err) == (130, "")
    assert '"done": true' in out


def test_run_ended_by_sigterm_stops_as_cleanly_with_exit_code_143(app: Any, tmp_path: Path) -> None:
    publish(app, 1.0)
    with started("run", "--bus", BUS, "--json", folder=tmp_path) as process:
        while next_record(process)["handled"] < 2:
            pass
        process.terminate()
        out, err = process.communicate()
    assert (process.returncode, err) == (143, "")
    assert '"done": true' in out


def test_run_on_a_bus_in_memory_is_refused(app: Any) -> None:
    ran = run("run", "--bus", "clishop:in_memory", "--until-idle")
    assert (ran.code, ran.out) == (2, "")
    assert "in memory" in ran.err


# --- replay ---------------------------------------------------------------------------------------------


def test_replay_runs_a_handler_again_and_changes_nothing_in_the_log(app: Any) -> None:
    publish(app, 1.0, -1.0, 2.0)
    run("run", "--bus", BUS, "--until-idle")
    before = run("log", "shop.db", "--json").out, run("show", "shop.db", "2", "--json").out
    ran = run("replay", "invoices", "--bus", BUS, "--yes")
    assert ran.code == 1, "one of them failed"
    assert ran.out == textwrap.dedent(
        """\
        ok      1  clishop.OrderPlaced  order-0 #1
                would publish clishop.InvoiceSent  order_id=o-0
        failed  2  clishop.OrderPlaced  order-1 #1
                ValueError: no invoice for \\x1b[31m-1.0
        ok      3  clishop.OrderPlaced  order-2 #1
                would publish clishop.InvoiceSent  order_id=o-2

        Ran invoices on 3 events, 1 failed. Nothing in the log has changed.
        """
    )
    assert (run("log", "shop.db", "--json").out, run("show", "shop.db", "2", "--json").out) == before
    assert Path("sent.txt").read_text() == "o-0\no-2\no-0\no-2\n", "effects outside the log are real"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--after", "2"], [3]),
        (["--until", "1"], [1]),
        (["--stream", "order-2"], [3]),
        (["--after", "99"], []),
    ],
)
def test_replay_keeps_to_a_range_or_a_stream(app: Any, options: list[str], expected: list[int]) -> None:
    publish(app, 1.0, 2.0, 3.0)
    ran = run("replay", "shop.db", "invoices", "--bus", BUS, "--yes", "--json", *options)
    assert [record["position"] for record in ran.records] == expected
    assert ran.code == 0
    for record in ran.records:
        assert record["published"][0]["type"] == "clishop.InvoiceSent"


def test_replay_of_a_projection_leaves_its_tables_alone(app: Any) -> None:
    publish(app, 1.0)
    run("run", "--bus", BUS, "--until-idle")
    ran = run("replay", "sales", "--bus", BUS, "--yes")
    assert "1 failed" in ran.out, "the row is there already, and stays"


def test_replay_runs_nothing_unless_it_is_told_to(app: Any, tmp_path: Path) -> None:
    publish(app, 1.0)
    piped = run("replay", "invoices", "--bus", BUS)
    assert (piped.code, piped.out) == (2, "")
    assert "--yes" in piped.err
    said_no = on_a_terminal("replay", "invoices", "--bus", BUS, folder=tmp_path, keys="n\n")
    assert "(mail, requests, files) is real" in said_no
    assert "Nothing was run." in said_no
    assert not Path("sent.txt").exists()
    said_yes = on_a_terminal("replay", "invoices", "--bus", BUS, folder=tmp_path, keys="y\n")
    assert "Ran invoices on 1 event, 0 failed." in said_yes


def test_replay_of_a_subscription_that_there_is_not_is_one_sentence(app: Any) -> None:
    ran = run("replay", "nobody", "--bus", BUS, "--yes")
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)


# --- projections ----------------------------------------------------------------------------------------


def test_a_projection_is_rebuilt_from_the_log(app: Any) -> None:
    publish(app, 1.0, 2.0)
    run("run", "--bus", BUS, "--until-idle")
    ran = run("projections", "rebuild", "sales", "--bus", BUS)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("Rebuilt sales from ")
    (record,) = run("projections", "list", "shop.db", "--json").records
    assert (record["name"], record["generation"], record["behind"]) == ("sales", 2, 0)
    assert record["tables"] == ["sales"]
    assert record["version"] == 1


def test_a_rebuild_shows_a_bar_on_a_terminal(app: Any, tmp_path: Path) -> None:
    publish(app, *[1.0] * 300)
    assert "Rebuilding sales █" in on_a_terminal("projections", "rebuild", "sales", "--bus", BUS, folder=tmp_path)


def test_a_projection_that_there_is_not_cannot_be_rebuilt(app: Any) -> None:
    ran = run("projections", "rebuild", "nothing", "--bus", BUS)
    assert ran.code == 1
    assert ran.err.endswith("has no projection 'nothing'. It has: sales.\n")
