"""What the program prints for a person: nothing in a log can fool a terminal, and every line fits it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_stage import LOOKING, on, on_a_terminal, run
from samplelog import SampleLog, shop

from eventbus.cli.plain import cut, plain, width, wrapped
from eventbus.cli.units import ago, moment, span

NASTY = "a\x1b[31m\x00\x07\n\r\t\x7f\x9b\u061c\u200b\u200f\u2028\u202e\u2066\u2069\ufeff\ufe0f\u3164\U000e0041b"


def nasty_log(path: Path) -> Path:
    log = SampleLog(path)
    for cause in (None, 1, None):
        log.event(NASTY, NASTY, {NASTY: [NASTY, "\ud800"]}, cause=cause, metadata={NASTY: NASTY}, codec=None)
    log.event(NASTY, raw=NASTY, codec=NASTY)
    log.event(NASTY, raw=b"\x1b", codec=NASTY)
    log.db.execute("UPDATE eventbus_sources SET name = ?", (NASTY,))
    log.db.execute("UPDATE eventbus_types SET kind = ?", (NASTY,))
    log.db.execute("UPDATE eventbus_events SET time = ? WHERE position = 4", (NASTY,))
    sick = log.subscription(NASTY, (NASTY, "pattern"), state=NASTY, reason=NASTY, cursor=5)
    log.delivery(sick, 3, "dead", key=NASTY, attempts=1, error=NASTY)
    log.delivery(sick, 4, "retrying", key=NASTY, attempts=1, error=NASTY)
    log.db.execute("UPDATE eventbus_deliveries SET due = ?, since = ?", (NASTY, NASTY))
    log.db.execute("UPDATE eventbus_attempts SET error_type = ?, traceback = ?, started_at = ?", (NASTY, NASTY, NASTY))
    definition = {"version": NASTY, "tables": [NASTY]}
    log.subscription(f"{NASTY}2", role="projection", state=NASTY, definition=definition)
    log.db.execute("UPDATE eventbus_subscriptions SET order_by = ?, owner = ?, updated_at = ?", (NASTY, NASTY, NASTY))
    return log.close()


@pytest.mark.parametrize("columns", [None, 50, 10])
def test_nothing_in_a_log_reaches_the_terminal_as_anything_but_ink(tmp_path: Path, columns: int | None) -> None:
    file = nasty_log(tmp_path / "nasty.db")
    calls = [*(on(file, arguments) for arguments in LOOKING), ["log", str(file), "--type", NASTY + "*"]]
    calls += [["show", str(file), NASTY], ["dead", "list", str(file), "--subscription", NASTY + "*"], ["log", NASTY]]
    for arguments in calls:
        ran = run(*arguments, columns=columns)
        for line in (ran.out + ran.err).split("\n"):
            assert line == plain(line), arguments
        assert ran.out + ran.err != ""
        if columns is not None:
            assert max(map(width, ran.out.split("\n"))) <= columns, arguments
        as_json = run(*arguments, "--json").out
        assert as_json.isascii()
        assert all(line.isprintable() for line in as_json.split("\n"))


@pytest.mark.parametrize("code", [*range(32), *range(0x7F, 0xA0), 0xAD, 0x61C, 0x200B, 0x200D, 0x2060, 0xFEFF, 0xE0001])
def test_characters_without_ink_are_escaped(code: int) -> None:
    shown = plain(f"a{chr(code)}b")
    assert shown.isascii()
    assert shown.isprintable()
    assert len(shown) > 3


@pytest.mark.parametrize("text", ["plain", "Grüße", "東京", "naïve café", "emoji 🎉", "a\u00a0b", ""])
def test_text_with_ink_is_left_alone(text: str) -> None:
    assert plain(text) == text


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [
        ("hello", 5, "hello"),
        ("hello", 4, "hel…"),
        ("東京都", 6, "東京都"),
        ("東京都", 5, "東京…"),
        ("x", 0, ""),
        ("xy", None, "xy"),
    ],
)
def test_text_is_cut_by_the_columns_it_takes(text: str, columns: int | None, expected: str) -> None:
    assert cut(text, columns) == expected


def test_wrapping_loses_nothing() -> None:
    assert wrapped("東京abc", 3) == ["東", "京a", "bc"]
    assert wrapped("", 3) == [""]
    assert wrapped("東", 1) == ["東"]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 ms"),
        (0.12, "120 ms"),
        (1, "1 s"),
        (60, "1 m"),
        (200, "3 m 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 m"),
        (190_000, "2 d 4 h"),
    ],
)
def test_a_duration_is_said_in_its_two_largest_units(seconds: float, expected: str) -> None:
    assert span(seconds) == expected


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_a_moment_is_said_from_now() -> None:
    assert ago(NOW - timedelta(seconds=200), NOW) == "3 m 20 s ago"
    assert ago(NOW + timedelta(seconds=12), NOW) == "in 12 s"
    assert ago(NOW, NOW) == "now"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90s", NOW - timedelta(seconds=90)),
        ("1h30m", NOW - timedelta(minutes=90)),
        ("1.5d", NOW - timedelta(hours=36)),
        ("2026-02-01T00:00+00:00", datetime(2026, 2, 1, tzinfo=UTC)),
        ("2026-02-01", datetime(2026, 2, 1).astimezone(UTC)),
        ("2026-02-01 14:30", datetime(2026, 2, 1, 14, 30).astimezone(UTC)),
    ],
)
def test_a_person_s_words_for_a_moment_are_understood(text: str, expected: datetime) -> None:
    assert moment(text, NOW) == expected


def test_a_terminal_gets_colours_and_no_line_longer_than_it_is(tmp_path: Path) -> None:
    seen = on_a_terminal("log", shop(tmp_path / "shop.db"))
    assert "\x1b[36mOrderPlaced" in seen
    assert max(len(re.sub(r"\x1b\[\d+m", "", line)) for line in seen.splitlines()) == 60


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_colours_are_left_out_where_they_are_not_wanted(tmp_path: Path, environment: dict[str, str]) -> None:
    assert "\x1b" not in on_a_terminal("log", shop(tmp_path / "shop.db"), **environment)


def test_every_command_explains_itself() -> None:
    commands = [[], ["log"], ["tail"], ["show"], ["subscriptions"], ["dead"], ["dead", "list"], ["dead", "show"]]
    commands += [["projections"], ["projections", "list"], ["projections", "rebuild"]]
    commands += [["run"], ["rewind"], ["replay"], ["plugins"], ["demo"]]
    for command in commands:
        ran = run(*command, "--help")
        assert ran.code == 0
        assert ran.out.startswith("Usage: eventbus")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no device that is always full")
@pytest.mark.parametrize("arguments", [["log", "FILE"], ["show", "FILE", "1"], ["--help"]], ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_an_output_that_is_full_is_one_sentence(tmp_path: Path, arguments: list[str], unbuffered: str) -> None:
    command = [sys.executable, "-m", "eventbus", *on(shop(tmp_path / "shop.db"), arguments)]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False, env=environment)
    assert (done.returncode, done.stderr) == (
        1,
        "eventbus: The output cannot be written: No space left on device.\n",
    )


@pytest.mark.parametrize("closed", ["stdin", "stdout", "stderr"])
@pytest.mark.parametrize(("arguments", "code"), [(["log", "FILE"], 0), (["log", "nowhere.db"], 2)])
def test_a_stream_that_is_closed_is_left_in_peace(tmp_path: Path, closed: str, arguments: list[str], code: int) -> None:
    """As `>&-` closes it in a shell: Python has no stream there then."""
    program = f"import sys; sys.{closed} = None; from eventbus.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, *on(shop(tmp_path / "shop.db"), arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert (done.stdout != "") == (closed != "stdout" and code == 0)
    assert (done.stderr != "") == (closed != "stderr" and code != 0)


@pytest.mark.parametrize("command", [[], ["dead"], ["projections"]])
def test_a_group_without_a_command_shows_its_help_as_it_is(command: list[str]) -> None:
    ran = run(*command)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == run(*command, "--help").out


def test_an_unknown_command_is_told_the_one_that_was_meant() -> None:
    assert "Did you mean log?" in run("lgo").err
    assert run("lgo").code == run("xyz").code == 2
    assert "Did you mean" not in run("xyz").err


@pytest.mark.parametrize("command", [["show"], ["dead", "show"]])
def test_a_file_alone_is_asked_for_the_event(tmp_path: Path, command: list[str]) -> None:
    ran = run(*command, shop(tmp_path / "shop.db"))
    assert (ran.code, ran.err.startswith("eventbus: Which event? Give a position or id")) == (2, True)


@pytest.mark.parametrize("columns", [50, 80])
@pytest.mark.parametrize("command", [["show"], ["dead", "show"]])
def test_long_values_are_wrapped_and_not_cut(tmp_path: Path, command: list[str], columns: int) -> None:
    long = "".join(f"{number:03d}-" for number in range(100))
    sample = SampleLog(tmp_path / "sample.db")
    sample.event("Long" + long[:180], long, {"n": 1}, metadata={"k": long})
    row = sample.subscription("of-" + long[:100], cursor=1)
    sample.delivery(row, 1, "dead", key=long, attempts=1, error=long)
    sample.close()
    ran = run(*command, sample.path, "1", columns=columns)
    assert max(map(len, ran.lines)) <= columns
    together = "".join(line.strip() for line in ran.lines)
    times = 3 if command == ["show"] else 4
    assert together.replace(" ", "").count(long) >= times
    assert "Long" + long[:180] in together


FULL = ["NAME", "STATE", "BEHIND", "LAG", "HANDLED", "RETRY", "WAIT", "HELD", "DEAD", "NEXT", "ORDER", "OWNER"]


@pytest.mark.parametrize(
    ("columns", "left_out"),
    [
        (120, []),
        (92, ["WAIT"]),
        (87, ["WAIT", "HANDLED"]),
        (72, ["WAIT", "HANDLED", "HELD", "OWNER"]),
        (60, ["WAIT", "HANDLED", "HELD", "OWNER", "ORDER", "RETRY"]),
        (40, ["WAIT", "HANDLED", "HELD", "OWNER", "ORDER", "RETRY", "LAG"]),
    ],
)
def test_a_narrow_terminal_leaves_out_what_says_nothing_then_what_weighs_least_and_never_when_it_goes_on(
    tmp_path: Path, columns: int, left_out: list[str]
) -> None:
    sample = SampleLog(tmp_path / "sample.db")
    sample.event("Odd", ago=90_000)
    row = sample.subscription("a-name-of-18-chars", cursor=1)
    sample.delivery(row, 1, "retrying", attempts=1)
    sample.db.execute("UPDATE eventbus_deliveries SET due = ?", ("2000-01-01T00:00:00Z",))
    ran = run("subscriptions", sample.close(), columns=columns)
    assert ran.lines[0].split() == [title for title in FULL if title not in left_out]
    assert "now" in ran.lines[1].split()
    assert max(map(len, ran.lines)) <= columns
    assert len(ran.lines[1].split()[0]) >= 10, "the name can be told from others"


def test_a_name_is_whole_as_long_as_a_column_can_leave_for_it(tmp_path: Path) -> None:
    name = "shop-emails-production-europe [2026]"
    sample = SampleLog(tmp_path / "sample.db")
    sample.event("Odd")
    sample.subscription(name, ("Odd", "pattern"), handled=12, owner="pid 4711")
    ran = run("subscriptions", sample.close(), columns=80)
    assert ran.lines[1].startswith(name)
    assert ran.lines[0].split() == ["NAME", "STATE", "BEHIND", "LAG", "DEAD", "NEXT", "OWNER"]


def test_the_type_of_what_an_event_led_to_is_whole_and_its_payload_is_cut(tmp_path: Path) -> None:
    sample = SampleLog(tmp_path / "sample.db")
    sample.event("Placed")
    sample.event("eventbus.DeadLetterRetried", payload={"text": "long " * 100}, cause=1)
    (line,) = [line for line in run("show", sample.close(), "1", columns=80).lines if "long long" in line]
    assert "  eventbus.DeadLetterRetried  " in line
    assert line.endswith("…")
