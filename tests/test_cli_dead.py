"""`eventbus dead retry`, `edit` and `discard`: on a log whose app is not there, and on one that is being delivered."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from cli_stage import contents, on_a_terminal, run, started
from samplelog import SampleLog

from eventbus import EventBus, Retry, event
from eventbus.store.opening import look
from eventbus.testing import FakeClock

PLACED = "shop.Placed"


@event(name=PLACED, stream="order-{order}")
class Placed:
    order: str
    total: int = 0


def broken(placed: Placed) -> None:
    if placed.total < 0:
        raise ValueError(f"order {placed.order} has a total of {placed.total}")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two subscriptions that gave up on the orders a (with one held behind it) and b."""
    path = tmp_path / "shop" / "shop.db"
    with EventBus(path, delivery="manual") as bus:
        bus.subscribe("invoices", Placed, handler=broken, retry=Retry(attempts=1))
        bus.subscribe("mail", Placed, handler=broken, retry=Retry(attempts=1))
        bus.publish_many([Placed("a", -1), Placed("a", 2), Placed("b", -3)])
        bus.drain()
    return path


def delivered(file: Path) -> list[int]:
    """The totals that reach "invoices" when the app is started the next time."""
    totals: list[int] = []

    def handle(placed: Placed) -> None:
        totals.append(placed.total)
        broken(placed)

    clock = FakeClock(time.time() + 60)
    with EventBus(file, delivery="manual", clock=clock) as bus:
        bus.subscribe("invoices", Placed, handler=handle, retry=Retry(attempts=1))
        bus.drain()
    return totals


def actions(file: Path) -> list[dict[str, Any]]:
    """What is recorded of people's actions, as `eventbus log` shows it."""
    found = run("log", file, "--type", "eventbus.*", "--json").records
    return [{"type": record["type"].removeprefix("eventbus."), **record["payload"]} for record in found]


def places(records: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(record["subscription"], record["position"]) for record in records]


BOTH = [("invoices", 1), ("invoices", 3), ("mail", 1), ("mail", 3)]


# --- which are meant ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ([], BOTH),
        (["--subscription", "mail"], BOTH[2:]),
        (["--type", "shop.*"], BOTH),
        (["--type", "Nope"], []),
        (["--error", "ValueError"], BOTH),
        (["--error", "Key*"], []),
        (["--text", "ORDER B"], [BOTH[1], BOTH[3]]),
        (["--since", "1h"], BOTH),
        (["--until", "1h"], []),
        (["--limit", "3"], BOTH[:3]),
    ],
)
def test_filters_say_which_are_listed_and_which_are_acted_upon(
    file: Path, options: list[str], expected: list[tuple[str, int]]
) -> None:
    assert places(run("dead", "list", file, *options, "--json").records) == expected
    assert places(run("dead", "retry", file, *options, "--dry-run", "--json").records) == expected
    assert places(run("dead", "retry", file, *options, "--yes", "--json").records) == expected
    left = places(run("dead", "list", file, "--json").records)
    assert left == [place for place in BOTH if place not in expected]


def test_a_dry_run_touches_nothing(file: Path) -> None:
    before = contents(file.parent)
    for call in (["retry"], ["discard", "--reason", "no", "--type", "*"]):
        assert run("dead", *call, file, "--dry-run").code == 0
    assert contents(file.parent) == before


@pytest.mark.parametrize(
    ("call", "code", "said"),
    [
        (["retry", "FILE", "99", "--yes"], 1, "has no event"),
        (["retry", "FILE", "2", "--yes"], 1, "position 2 is no dead letter"),
        (["retry", "FILE", "--subscription", "nobody", "--yes"], 1, "no subscription 'nobody'"),
        (["retry", "FILE", "1", "--text", "a", "--yes"], 2, "not both"),
        (["retry", "FILE"], 2, "--yes"),
        (["retry", "FILE", "--since", "soon"], 2, "--since"),
        (["retry", "FILE", "--until", "soon"], 2, "--until"),
        (["retry", "nowhere.db", "--yes"], 2, "no such file"),
        (["retry"], 2, "Which log?"),
        (["discard", "FILE", "1", "--yes"], 2, "--reason"),
        (["discard", "FILE", "--reason", "no", "--yes"], 2, "Which ones?"),
        (["edit", "FILE", "1", "--payload", "{}", "--yes"], 1, "several subscriptions"),
        (["edit", "FILE", "1", "--subscription", "mail", "--payload", "[]", "--yes"], 1, "no JSON object"),
    ],
)
def test_a_call_that_cannot_be_meant_changes_nothing(
    file: Path, call: list[str], code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EVENTBUS_LOG", raising=False)
    ran = run("dead", *(file if word == "FILE" else word for word in call))
    assert ran.code == code
    assert said in ran.err
    assert actions(file) == []
    assert not Path("nowhere.db").exists()


def test_a_list_says_whether_it_is_empty_or_a_filter_or_a_limit_leaves_nothing_or_something_out(file: Path) -> None:
    assert run("dead", "list", file, "--error", "KeyError").out == "No dead letter matches.\n"
    assert run("dead", "list", file, "--limit", "0").out == "There are more than --limit 0.\n"
    assert run("dead", "list", file, "--limit", "3").lines[-1] == "There are more than --limit 3."
    assert run("dead", "list", file, "--limit", "4").lines[-1].startswith("  └ ValueError")
    assert len(run("dead", "list", file, "--limit", "3", "--json").lines) == 3
    cut = run("dead", "retry", file, "--limit", "3", "--dry-run").lines[-2:]
    assert cut == ["There are more than --limit 3.", "Would retry 3 dead letters (2 held behind follow)."]
    assert run("dead", "retry", file, "1", "3", "--limit", "3", "--dry-run").lines[-2:] == cut
    run("dead", "discard", file, "--type", "*", "--reason", "no", "--yes")
    assert run("dead", "list", file, "--limit", "0").out == "No dead letters.\n"


# --- what is done ---------------------------------------------------------------------------------------


def test_a_retry_is_delivered_when_the_app_starts(file: Path) -> None:
    ran = run("dead", "retry", file, "1", "--subscription", "invoices", "--reason", "again", "--yes")
    assert ran.lines[-1] == "Retried 1 dead letter (1 held behind follows)."
    (action,) = actions(file)
    assert (action["type"], action["subscription"], action["why"]) == ("DeadLetterRetried", "invoices", "again")
    assert action["who"] != ""
    assert delivered(file) == [-1]
    assert places(run("dead", "list", file, "--json").records) == BOTH


def test_an_event_is_named_by_how_its_id_begins_and_the_log_by_the_environment(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (record,) = run("show", file, "3", "--json").records
    monkeypatch.setenv("EVENTBUS_LOG", str(file))
    ran = run("dead", "retry", record["id"], "1", "--yes", "--json")
    assert places(ran.records) == BOTH
    assert {(each["action"], each["dry_run"]) for each in ran.records} == {("retry", False)}


def test_an_edit_is_delivered_instead_and_shown(file: Path) -> None:
    call = ["--subscription", "invoices", "--payload", '{"order": "a", "total": 7}', "--reason", "typo", "--yes"]
    assert run("dead", "edit", file, "1", *call).lines[-1].startswith("Edited 1 dead letter")
    assert "  edited       order=a total=7" in run("dead", "show", file, "1", "--subscription", "invoices").lines
    assert run("show", file, "1", "--json").records[0]["payload"] == {"order": "a", "total": -1}
    run("dead", "retry", file, "1", "--subscription", "invoices", "--yes")
    assert delivered(file) == [7, 2]
    assert [action["type"] for action in actions(file)] == ["DeadLetterEdited", "DeadLetterRetried"]


def shop(path: str) -> EventBus:
    """What --bus names: the app."""
    return EventBus(path)


@pytest.mark.parametrize(("payload", "code"), [('{"order": "a", "totl": 7}', 1), ('{"order": "a", "total": 7}', 0)])
def test_with_the_apps_code_an_edit_is_checked_at_once(file: Path, payload: str, code: int) -> None:
    call = ["--subscription", "mail", "--bus", f"{__name__}:shop", "--payload", payload, "--yes"]
    ran = run("dead", "edit", file, "1", *call)
    assert ran.code == code
    assert len(actions(file)) == 1 - code
    assert code == 0 or "Nothing was stored. The dead letter is as it was." in ran.err


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--payload", '{"order": '], 1, "no JSON object"),
        (["--payload", '{"order": "a", "total": "x"}', "--bus", f"{__name__}:shop"], 1, "Placed.total: cannot be read"),
        (["--payload", "{}", "--bus", "nope:nope"], 2, "importing nope failed"),
        (["--payload", '{"order": "a", "total": "x"}'], 0, ""),
        (["--payload", '{"order": "a", "total": 7}', "--bus", f"{__name__}:shop"], 0, ""),
    ],
)
def test_a_dry_run_of_an_edit_refuses_what_the_edit_would(file: Path, options: list[str], code: int, said: str) -> None:
    before = contents(file.parent)
    ran = run("dead", "edit", file, "1", "--subscription", "mail", *options, "--dry-run")
    assert ran.code == code
    assert said in ran.err
    assert contents(file.parent) == before


def test_an_edit_shows_the_payload_and_what_it_becomes(file: Path) -> None:
    call = ["dead", "edit", str(file), "1", "--subscription", "mail", "--payload", '{"order": "a", "total": 7}']
    told = ["  payload      order=a total=-1", "  becomes      order=a total=7"]
    assert run(*call, "--dry-run").lines[-3:] == [*told, "Would edit 1 dead letter."]
    assert run(*call, "--dry-run", "--json").records[0]["becomes"] == {"order": "a", "total": 7}
    said = on_a_terminal(*call, keys="n\n", NO_COLOR="1")
    assert "\n".join([*told, "Edit 1 dead letter? [y/N]"]) in said
    assert run(*call, "--yes").lines[-3:] == [*told, "Edited 1 dead letter."]
    again = run(*call[:-1], "{}", "--dry-run").lines
    assert again[-3:-1] == ["  payload      order=a total=7", "  becomes      {}"]
    assert "  └ edited: order=a total=7" in run("dead", "list", file).lines


def test_one_that_is_dead_for_another_subscription_is_said_to_be(file: Path) -> None:
    run("dead", "discard", file, "1", "--subscription", "mail", "--reason", "no", "--yes")
    ran = run("dead", "show", file, "1", "--subscription", "mail")
    assert ran.code == 1
    assert "The event at position 1 is no dead letter of 'mail'. It is one of 'invoices'." in ran.err


def test_a_discarded_one_is_counted_and_what_was_held_goes_on(file: Path) -> None:
    ran = run("dead", "discard", file, "--text", "order a", "--subscription", "invoices", "--reason", "void", "--yes")
    assert ran.lines[-1] == "Discarded 1 dead letter (1 held behind goes on)."
    assert delivered(file) == [2]
    assert [record["discarded"] for record in run("subscriptions", file, "--json").records] == [1, 0]
    standing = {
        each["subscription"]: each["status"] for each in run("show", file, "1", "--json").records[0]["deliveries"]
    }
    assert standing == {"invoices": "discarded", "mail": "dead"}


def test_a_whole_key_is_discarded(file: Path) -> None:
    run("dead", "discard", file, "1", "--subscription", "invoices", "--whole-key", "--reason", "void", "--yes")
    assert [action["position"] for action in actions(file)] == [1, 2]
    assert delivered(file) == []


@pytest.mark.parametrize(
    ("options", "count"),
    [([], "4 dead letters (2 held behind go on)"), (["--whole-key"], "4 dead letters and 2 held behind, for good")],
)
def test_before_and_after_discarding_it_says_what_becomes_of_what_is_held_behind(
    file: Path, options: list[str], count: str
) -> None:
    call = ["dead", "discard", str(file), "--type", "*", "--reason", "no", *options]
    assert run(*call, "--dry-run").lines[-1] == f"Would discard {count}."
    assert f"Discard {count}? [y/N]" in on_a_terminal(*call, keys="n\n")
    assert run(*call, "--dry-run", "--json").records[0]["whole_key"] == bool(options)
    assert run(*call, "--yes").lines[-1] == f"Discarded {count}."


@pytest.mark.parametrize(("keys", "left"), [("n\n", 4), ("y\n", 0)])
def test_a_person_is_shown_what_is_meant_and_asked(file: Path, keys: str, left: int) -> None:
    said = on_a_terminal("dead", "retry", str(file), keys=keys)
    assert "Retry 4 dead letters (2 held behind follow)? [y/N]" in said
    assert "ValueError: order b has a total of -3" in said
    assert len(run("dead", "list", file, "--json").records) == left


def test_what_a_crash_left_is_brought_up_to_date_and_acted_upon(tmp_path: Path, file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("UPDATE eventbus_deliveries SET attempts = 5")
    connection.commit()
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in ("shop.db", "shop.db-wal", "shop.db-shm"):
        (crashed / name).write_bytes((file.parent / name).read_bytes())
    connection.close()
    assert run("dead", "retry", crashed / "shop.db", "--yes").code == 0
    assert run("dead", "list", crashed / "shop.db").lines == ["No dead letters."]


def test_an_app_that_runs_takes_a_retry_up_by_itself(file: Path) -> None:
    totals: list[int] = []
    with EventBus(file) as bus:
        bus.subscribe("invoices", Placed, handler=lambda placed: totals.append(placed.total), retry=Retry(attempts=1))
        with started("dead", "retry", file, "1", "--subscription", "invoices", "--yes") as process:
            assert process.wait() == 0
        assert bus.wait_for(2, "invoices", timeout=20) == "handled"
    assert totals == [-1, 2]


def test_a_log_that_no_app_of_ours_wrote_is_worked_on_all_the_same(tmp_path: Path) -> None:
    log = SampleLog(tmp_path / "sample.db")
    for payload in ('{"a": 1}', "not json", b"\x00"):
        log.event("Odd", "s", raw=payload)
    row = log.subscription("odd", ("Odd", "pattern"), cursor=3)
    log.delivery(row, 1, "dead", key="s", attempts=2, error="Boom: no")
    log.delivery(row, 2, "held", key="s")
    path = log.close()
    assert run("dead", "discard", path, "1", "--reason", "no", "--whole-key", "--yes").code == 0
    assert [action["position"] for action in actions(path)] == [1, 2]
    with_look = look(path)
    assert with_look.execute("SELECT discarded FROM eventbus_subscriptions").fetchone() == (2,)
    with_look.close()
    assert [run("show", path, position).code for position in (1, 2, 3)] == [0, 0, 0]
