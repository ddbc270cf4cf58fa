"""The `eventbus` program on a log that it only looks at: what it shows, and that it touches nothing."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_stage import LOOKING, contents, next_record, on, run, started
from samplelog import SampleLog, shop


@pytest.fixture
def file(tmp_path: Path) -> Path:
    folder = tmp_path / "shop"
    folder.mkdir()
    return shop(folder / "shop.db")


@pytest.fixture
def sample(tmp_path: Path) -> Iterator[SampleLog]:
    log = SampleLog(tmp_path / "sample.db")
    yield log
    log.db.close()


# --- log and tail ---------------------------------------------------------------------------------------


def test_log_lists_events_oldest_first_with_place_and_content(file: Path) -> None:
    ran = run("log", file)
    assert ran.positions == [1, 2, 3, 4, 5, 6]
    assert ran.lines[1].endswith('OrderPlaced   order-1  #1  order_id=o-1 customer="Ada Lovelace" total=99.5')
    assert ran.lines[0].startswith("── ")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--stream", "order-1"], [1, 2, 4]),
        (["--type", "OrderPlaced"], [1, 3]),
        (["--type", "OrderPlaced", "--type", "T*"], [1, 3, 6]),
        (["--type", "orderplaced"], []),
        (["--after", "2", "--until", "4"], [3, 4]),
        (["--since", "100s"], [5, 6]),
        (["--limit", "2"], [1, 2]),
        (["--limit", "0"], []),
        (["--last", "2"], [5, 6]),
        (["--last", "2", "--type", "OrderPlaced"], [1, 3]),
        (["--last", "3", "--backward"], [6, 5, 4]),
        (["--backward", "--limit", "2"], [6, 5]),
        (["--stream", "order-1", "--backward"], [4, 2, 1]),
        (["--stream", "order-1", "--last", "2"], [2, 4]),
        (["--until", str(2**63 - 1), "--last", str(2**63 - 1), "--limit", "1"], [1]),
        (["--after", str(2**63 - 1)], []),
    ],
)
def test_log_shows_what_is_asked_for(file: Path, options: list[str], expected: list[int]) -> None:
    assert run("log", file, *options).positions == expected
    assert [record["position"] for record in run("log", file, *options, "--json").records] == expected


def test_log_reads_past_its_first_page_in_both_directions(sample: SampleLog) -> None:
    for index in range(600):
        sample.event("Odd" if index % 2 else "Even", f"stream-{index % 2}")
    assert run("log", sample.path).positions == list(range(1, 601))
    assert run("log", sample.path, "--type", "Odd", "--backward").positions == list(range(600, 0, -2))
    assert run("log", sample.path, "--stream", "stream-0", "--last", "280").positions[0] == 41


def test_log_says_on_stderr_why_nothing_is_listed(file: Path, sample: SampleLog) -> None:
    assert "No type matches Nope. This log has: OrderChanged" in run("log", file, "--type", "Nope").err
    assert run("log", file, "--stream", "nobody").err == "No event matches.\n"
    assert run("log", sample.path).err == "The log is empty.\n"
    assert run("log", sample.path, "--json").err == ""


def test_a_record_is_the_whole_event(file: Path) -> None:
    record = run("log", file, "--limit", "2", "--json").records[1]
    assert record["payload"] == {"order_id": "o-1", "amount": 99.5}
    assert record["type"] == "OrderPaid"
    assert record["causation_id"] == record["correlation_id"] == "00000001-0000-7000-8000-000000000000"


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ('{"a": NaN}', {"payload": None, "payload_text": '{"a": NaN}'}),
        ('{"a": 1e999}', {"payload": None, "payload_text": '{"a": 1e999}'}),
        ("[" * 100_000, {"payload": None, "payload_text": "[" * 100_000}),
        ("9" * 5000, {"payload": None, "payload_text": "9" * 5000}),
        ("not json", {"payload": None, "payload_text": "not json"}),
        (b"\x00\xff", {"payload": None, "payload_base64": "AP8="}),
        ("null", {"payload": None}),
        ('"\\ud800"', {"payload": "\ud800"}),
    ],
)
def test_a_payload_that_json_cannot_carry_is_given_as_it_is(
    sample: SampleLog, raw: str | bytes, expected: dict[str, Any]
) -> None:
    sample.event("Odd", raw=raw)
    (record,) = run("log", sample.path, "--json").records
    assert {key: record[key] for key in record if key.startswith("payload")} == expected
    assert run("log", sample.path).code == run("show", sample.path, "1").code == 0


def test_an_erased_payload_is_called_so(sample: SampleLog) -> None:
    sample.event("Secret")
    sample.db.execute("UPDATE eventbus_events SET payload = NULL")
    assert "(erased)" in run("log", sample.path).out
    assert run("log", sample.path, "--json").records[0]["payload"] is None


def test_tail_shows_the_last_events(file: Path) -> None:
    assert run("tail", file, "-n", "2").positions == [5, 6]
    assert run("tail", file).positions == [1, 2, 3, 4, 5, 6]


def test_tail_follows_what_other_processes_publish_until_ctrl_c(file: Path) -> None:
    with started("tail", "-f", file, "-n", "1", "--type", "Order*", "--type", "New", "--json") as process:
        assert next_record(process)["position"] == 5
        other = SampleLog.__new__(SampleLog)
        other.open(file)
        other.event("OrderPaid", "order-2")
        other.event("Ticked")
        other.event("New")
        assert [next_record(process)["position"] for _ in range(2)] == [7, 9]
        other.close()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (130, "", "")


def test_a_reader_that_has_seen_enough_ends_the_program_quietly(sample: SampleLog) -> None:
    for index in range(3000):
        sample.event("Counted", None, {"index": index, "text": "x" * 200})
    with started("log", sample.path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait() == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_a_long_log_takes_constant_memory(sample: SampleLog) -> None:
    sample.event("Counted", None, {"text": "x" * 4000})
    sample.db.executescript(
        """WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM n WHERE i < 40000)
        INSERT INTO eventbus_events (id, type_id, time, source_id, payload, payload_crc, header_crc)
        SELECT i, 1, e.time, 1, e.payload, 0, 0 FROM n, eventbus_events e"""
    )
    sample.close()
    code = (
        "import sys; from eventbus.cli import main; main(sys.argv[1:]);"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0], file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "log", str(sample.path), "--json"]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=True)
    assert sample.path.stat().st_size > 150 << 20
    assert int(done.stderr) < 80 << 10  # kilobytes


# --- show -----------------------------------------------------------------------------------------------


def test_show_tells_an_event_s_whole_story(file: Path) -> None:
    out = run("show", file, "4").out
    assert out.startswith("OrderShipped  domain, position 4\n")
    assert '    "parcels": [' in out
    assert "Caused by\n  1  OrderPlaced  order-1  #1  order_id=o-1" in out
    assert re.search(r"plugin-mail/receipts  retrying  after 1 try, next in .*, ConnectionError: mail is down", out)
    assert re.search(r"audit +waiting +paused", out)
    assert "payments" not in out, "it does not subscribe to this type"


def test_show_lists_what_an_event_led_to(file: Path) -> None:
    assert "Led to\n  2  OrderPaid     order-1  #2" in run("show", file, "1").out
    record = run("show", file, "1", "--json").records[0]
    assert [effect["position"] for effect in record["effects"]] == [2, 4]


def test_show_finds_an_event_by_its_id_or_the_beginning_of_it(file: Path) -> None:
    by_position = run("show", file, "3", "--json").out
    assert run("show", file, "00000003-0000-7000-8000-000000000000", "--json").out == by_position
    assert run("show", file, "00000003-", "--json").out == by_position


def test_show_of_no_event_or_of_several_is_one_clear_sentence(file: Path) -> None:
    missing, several = run("show", file, "99"), run("show", file, "0000000")
    assert (missing.code, missing.out) == (1, "")
    assert missing.err.endswith("shop.db has no event with the position or id '99'.\n")
    assert several.err.startswith("eventbus: More than one id begins with '0000000'.")


def test_the_file_and_the_event_are_told_apart_in_either_order(file: Path) -> None:
    assert run("show", "3", file).out == run("show", file, "3").out


def test_nothing_of_a_payload_is_missing_in_show(sample: SampleLog) -> None:
    sample.event("Long", None, {"text": "0123456789" * 30})
    payload = run("show", sample.path, "1", columns=40).out.partition("Payload\n")[2]
    assert "0123456789" * 30 in re.sub(r"\n +", "", payload)
    assert max(map(len, payload.splitlines())) <= 40


# --- subscriptions, dead letters, projections -----------------------------------------------------------


def test_subscriptions_show_how_far_each_is_and_what_is_stuck(file: Path) -> None:
    out = run("subscriptions", file).out
    assert re.search(r"^NAME +STATE +BEHIND +LAG +HANDLED +RETRY +WAIT +HELD +DEAD +NEXT +ORDER +OWNER$", out, re.M)
    assert re.search(r"^audit +paused +6 +[\dms ]+ +· +· +· +· +· +stream +·\n  └ paused by a person$", out, re.M)
    assert re.search(r"^payments +active +· +· +1 +· +· +1 +1 +stream +·\n  └ CardRefused: no such card$", out, re.M)
    assert re.search(r"^plugin-mail/receipts +active +1 +[\dms ]+ +2 +1 +· +· +· +in \d.* +stream +·$", out, re.M)
    assert re.search(r"^sales \[projection\] +active", out, re.M)


def test_subscriptions_as_records(file: Path) -> None:
    by_name = {record["name"]: record for record in run("subscriptions", file, "--json").records}
    assert by_name["payments"]["dead"] == by_name["payments"]["held"] == 1
    assert by_name["audit"]["behind"] == 6
    assert by_name["audit"]["lag_seconds"] > by_name["plugin-mail/receipts"]["lag_seconds"] > 0
    assert by_name["payments"]["lag_seconds"] == 0, "a dead letter waits for a person"
    assert by_name["sales"]["role"] == "projection"


def test_a_log_that_nobody_reads_says_so(sample: SampleLog) -> None:
    assert run("subscriptions", sample.path).out == "Nothing has subscribed to this log yet.\n"
    assert run("dead", "list", sample.path).out == "No dead letters.\n"
    assert run("projections", "list", sample.path).out == "This log has no projections.\n"


def test_dead_letters_are_listed_with_what_they_hold_and_why(file: Path) -> None:
    out = run("dead", "list", file).out
    assert re.search(r"^payments +3 +OrderPlaced +order-2 #1 +2 +1 +3 m 2\d s ago$", out, re.M)
    assert "└ CardRefused: no such card" in out
    (record,) = run("dead", "list", file, "--json").records
    assert (record["subscription"], record["position"], record["held"]) == ("payments", 3, 1)
    assert record["event"]["payload"]["order_id"] == "o-2"


def test_dead_letters_are_listed_past_the_first_page_and_up_to_a_limit(sample: SampleLog) -> None:
    for name in ("one", "two"):
        subscription = sample.subscription(name, ("Odd", "pattern"), cursor=300)
        for position in range(1, 301):
            sample.delivery(subscription, position, "dead")
    assert len(run("dead", "list", sample.path, "--json").records) == 600
    assert len(run("dead", "list", sample.path, "--json", "--limit", "301").records) == 301
    assert len(run("dead", "list", sample.path, "--json", "--subscription", "two").records) == 300


def test_a_dead_letter_is_shown_with_every_attempt(file: Path) -> None:
    out = run("dead", "show", file, "3").out
    assert out.startswith("payments gave up after 2 tries\n")
    assert len(re.findall(r"^Attempt \d, .*took 250 ms$", out, re.M)) == 2
    assert '  File "mail.py", line 7, in send' in out
    assert "OrderPlaced  domain, position 3" in out
    (record,) = run("dead", "show", file, "3", "--json").records
    assert [attempt["attempt"] for attempt in record["failures"]] == [1, 2]


def test_what_is_no_dead_letter_is_not_shown_as_one(file: Path) -> None:
    assert run("dead", "show", file, "4").err.startswith("eventbus: The event at position 4 is no dead letter.")
    assert "has no subscription 'nobody'" in run("dead", "list", file, "--subscription", "nobody").err


def test_projections_are_listed_with_their_version(file: Path) -> None:
    assert re.search(r"^sales +1 +active +· +2 +\d+ s ago", run("projections", "list", file).out, re.M)
    assert run("projections", "list", file, "--json").records[0]["version"] == 1


# --- which log ------------------------------------------------------------------------------------------


def test_the_environment_names_the_log_when_the_call_does_not(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVENTBUS_LOG", str(file))
    assert run("log").out == run("log", file).out
    assert run("show", "3").out == run("show", file, "3").out
    assert run("log", "elsewhere.db").code == 2, "FILE goes before the environment"


def test_an_app_s_log_lies_in_the_folder_for_user_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    (tmp_path / "shop").mkdir()
    shop(tmp_path / "shop" / "events.db")
    assert run("log", "--app", "shop", "--last", "1").positions == [6]


@pytest.mark.parametrize(
    "arguments",
    [
        ["log"],
        ["log", "a.db", "--app", "b"],
        ["log", "a.db", "b.db"],
        ["log", "a.db", "--since", "tomorrowish"],
        ["log", "a.db", "--since", "99999999999999999999d"],
        ["log", "a.db", "--after", "x"],
        *(["log", "--app", name] for name in ("../../etc", "..", "", "/etc", "a/b", "a\nb")),
        ["show"],
        ["show", "a", "b", "c"],
        ["nonsense"],
        ["run"],
        ["plugins"],
        ["--nonsense"],
    ],
)
def test_a_wrong_call_is_one_sentence_and_exit_code_2(arguments: list[str]) -> None:
    ran = run(*arguments)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert ran.err.startswith("eventbus: ")


@pytest.mark.parametrize(
    "arguments",
    [
        *(["log", "FILE", option] for option in ("--after", "--until", "--last", "--limit")),
        ["tail", "FILE", "-n"],
        ["dead", "list", "FILE", "--limit"],
        *(["replay", "FILE", "x", "--bus", "a:b", option] for option in ("--after", "--until")),
    ],
)
def test_a_number_that_no_log_can_hold_is_refused(file: Path, arguments: list[str]) -> None:
    ran = run(*on(file, arguments), str(2**63))
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert f"{2**63} is not in the range" in ran.err


def foreign_files(folder: Path) -> dict[str, Path]:
    text, empty = folder / "notes.txt", folder / "empty.db"
    text.write_text("no database at all, but long enough to hold a header of one hundred bytes." * 3)
    empty.touch()
    other = SampleLog(folder / "other.db")
    for (name,) in other.db.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        if name.startswith("eventbus_"):
            other.db.execute(f"ALTER TABLE {name} RENAME TO other{name}")
    other.db.execute("PRAGMA application_id = 77")
    newer = SampleLog(folder / "newer.db")
    newer.db.execute("UPDATE eventbus_log SET schema_version = 999")
    missing = folder / "missing.db"
    return {
        "text": text,
        "empty": empty,
        "other": other.close(),
        "newer": newer.close(),
        "folder": folder,
        "gone": missing,
    }


@pytest.mark.parametrize("kind", ["text", "empty", "other", "newer", "folder", "gone"])
@pytest.mark.parametrize("arguments", LOOKING, ids=lambda arguments: " ".join(arguments))
def test_what_is_not_a_log_is_refused_in_one_sentence_and_left_alone(
    tmp_path: Path, kind: str, arguments: list[str]
) -> None:
    file = foreign_files(tmp_path)[kind]
    before = contents(tmp_path)
    ran = run(*on(file, arguments))
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert ran.err.startswith(f"eventbus: {file}: ")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("arguments", LOOKING, ids=lambda arguments: " ".join(arguments))
def test_looking_leaves_no_trace(file: Path, arguments: list[str]) -> None:
    before = contents(file.parent)
    assert run(*on(file, arguments)).code == 0
    assert run(*on(file, arguments), "--json").code == 0
    assert contents(file.parent) == before


def test_looking_beside_a_living_bus_sees_what_is_not_yet_in_the_file(sample: SampleLog) -> None:
    sample.event("Fresh", "stream")
    assert Path(f"{sample.path}-wal").stat().st_size > 0
    assert run("log", sample.path).positions == [1]
    sample.event("Fresh", "stream")
    assert run("log", sample.path).positions == [1, 2]
