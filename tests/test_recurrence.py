"""What recurs when: crontab lines, mappings and intervals, on the days when the clocks change, too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus.errors import EventDefinitionError
from eventbus.recurrence import COUNTED, Cron, Every, as_cron, as_every, restored

BERLIN, NEW_YORK = "Europe/Berlin", "America/New_York"


def seconds(text: str, zone: str = "UTC") -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).timestamp()


def times(cron: str | dict[str, object], zone: str, after: str, count: int) -> list[str]:
    """The next times, as day and clock in the zone with its offset from UTC."""
    recurrence, found = as_cron(cron, zone), []
    moment: float | None = seconds(after, zone)
    while moment is not None and len(found) < count:
        moment = recurrence.next(moment, 0.0)
        assert moment is not None
        found.append(datetime.fromtimestamp(moment, ZoneInfo(zone)).strftime("%d. %H:%M %z"))
    return found


@pytest.mark.parametrize(
    ("zone", "after", "expected"),
    [
        (BERLIN, "2026-03-28T12:00", ["29. 03:30 +0200", "30. 02:30 +0200"]),
        (BERLIN, "2026-10-24T12:00", ["25. 02:30 +0200", "26. 02:30 +0100"]),
        (NEW_YORK, "2026-03-07T12:00", ["08. 03:30 -0400", "09. 02:30 -0400"]),
        (NEW_YORK, "2026-10-31T12:00", ["01. 02:30 -0500", "02. 02:30 -0500"]),
    ],
)
def test_a_fixed_time_comes_once_on_each_day_even_when_the_clocks_change(
    zone: str, after: str, expected: list[str]
) -> None:
    assert times("30 2 * * *", zone, after, 2) == expected


def test_a_time_that_the_clocks_show_twice_comes_the_first_time() -> None:
    assert times("30 1 * * *", NEW_YORK, "2026-10-31T12:00", 2) == ["01. 01:30 -0400", "02. 01:30 -0500"]


def test_shortly_after_midnight_no_day_is_left_out_when_the_clocks_go_forward() -> None:
    expected = ["08. 00:15 -0500", "09. 00:15 -0400", "10. 00:15 -0400"]
    assert times("15 0 * * *", NEW_YORK, "2026-03-07T12:00", 3) == expected


def test_every_hour_means_real_hours() -> None:
    assert times("0 * * * *", BERLIN, "2026-03-29T00:30", 3) == [
        "29. 01:00 +0100",
        "29. 03:00 +0200",
        "29. 04:00 +0200",
    ]
    expected = ["25. 02:00 +0200", "25. 02:00 +0100", "25. 03:00 +0100"]
    assert times("0 * * * *", BERLIN, "2026-10-25T01:30", 3) == expected


def test_times_in_the_hour_that_is_repeated_come_in_their_order() -> None:
    expected = ["25. 02:40 +0200", "25. 02:00 +0100", "25. 02:20 +0100", "25. 02:40 +0100", "25. 03:00 +0100"]
    assert times("*/20 * * * *", BERLIN, "2026-10-25T02:30", 5) == expected


def test_where_the_clocks_move_by_half_an_hour_nothing_gets_lost() -> None:
    expected = ["03. 02:40 +1030", "04. 02:40 +1100", "04. 02:45 +1100", "05. 02:15 +1100"]
    assert times("15,40 2 * * *", "Australia/Lord_Howe", "2026-10-03T02:20", 4) == expected


def plainly(zone: str, minute: int) -> set[float]:
    """By looking at each minute of a year: when the clocks show minutes past an hour."""
    first, last = seconds("2026-01-01"), seconds("2027-01-01")
    return {
        moment
        for moment in range(int(first), int(last), 60)
        if datetime.fromtimestamp(moment, ZoneInfo(zone)).minute == minute
    }


@pytest.mark.parametrize("zone", [BERLIN, NEW_YORK, "Asia/Kolkata"])
def test_an_hourly_time_comes_whenever_the_clocks_show_it(zone: str) -> None:
    cron, found, moment = as_cron("7 * * * *", zone), set(), seconds("2026-01-01") - 1
    while (following := cron.next(moment, 0.0)) is not None and following < seconds("2027-01-01"):
        assert following > moment
        moment = following
        found.add(following)
    assert found == plainly(zone, 7)


@given(
    after=st.integers(int(seconds("2026-01-01")), int(seconds("2027-12-01"))),
    line=st.sampled_from(["*/5 * * * *", "30 2 * * *", "0,30 1-3 * * *", "0 */6 * * *", "59 23 * * sun", "5 0 1 * *"]),
    zone=st.sampled_from([BERLIN, NEW_YORK, "UTC", "Australia/Lord_Howe"]),
)
def test_the_next_time_is_later_and_there_is_none_in_between(after: int, line: str, zone: str) -> None:
    cron = as_cron(line, zone)
    following = cron.next(after, 0.0)
    assert following is not None
    assert following > after
    assert cron.next((after + following) / 2, 0.0) == following
    assert cron.latest(following, 0.0) == following
    before = cron.latest(following - 1, 0.0)
    assert before is not None
    assert cron.next(before, 0.0) == following


@pytest.mark.parametrize(
    ("weekdays", "expected"),
    [
        ("1-5", [1, 2, 3, 4, 5]),
        ("0", [7]),
        ("7", [7]),
        ("mon-fri", [1, 2, 3, 4, 5]),
        ("sat-mon", [1, 6, 7]),
        ("5-7", [5, 6, 7]),
        ("*/2", [2, 4, 6, 7]),
        ("MON,3", [1, 3]),
        ("*", [1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_weekdays_are_those_of_crontab(weekdays: str, expected: list[int]) -> None:
    cron, moment, found = as_cron(f"0 9 * * {weekdays}", "UTC"), seconds("2026-03-02"), set()
    while (following := cron.next(moment, 0.0)) is not None and following < seconds("2026-03-09"):
        moment = following
        found.add(datetime.fromtimestamp(following, UTC).isoweekday())
    assert sorted(found) == expected


def test_a_day_and_a_weekday_are_either_of_them() -> None:
    expected = ["13. 00:00 +0000", "16. 00:00 +0000", "23. 00:00 +0000"]
    assert times("0 0 13 * mon", "UTC", "2026-03-10", 3) == expected


def test_macros_and_fields_by_name() -> None:
    assert times("@daily", "UTC", "2026-03-10", 1) == ["11. 00:00 +0000"]
    assert times({"hour": 7, "day_of_week": "mon"}, "UTC", "2026-03-10", 1) == ["16. 07:00 +0000"]
    fields = as_cron({"second": "*/10"}, "UTC")
    assert fields.next(5.0, 0.0) == 10.0
    assert restored("cron", fields.spec, "UTC") == fields


@pytest.mark.parametrize(
    "bad",
    [
        *("", "* * * *", "* * * * * *", "61 * * * *", "x * * * *", "0 9 * * 8", "0 9 * * wen", "0 0 30 2 *"),
        *(5, {}, {"hours": 1}, {"day_of_week": "1"}),
    ],
)
def test_what_is_no_cron_is_refused(bad: object) -> None:
    with pytest.raises(EventDefinitionError, match="cron="):
        as_cron(bad, "UTC")


@pytest.mark.parametrize("bad", ["Europe/Atlantis", "../etc/passwd", 1, timezone(timedelta(hours=1)), ""])
def test_what_is_no_zone_is_refused(bad: object) -> None:
    with pytest.raises(EventDefinitionError, match="zone"):
        as_cron("0 7 * * *", bad)


def test_a_zone_is_a_name_a_zoneinfo_or_that_of_this_machine() -> None:
    assert as_cron("0 7 * * *", ZoneInfo(BERLIN)) == as_cron("0 7 * * *", BERLIN)
    assert as_cron("0 7 * * *", UTC).timezone == "UTC"
    assert ZoneInfo(as_cron("0 7 * * *", None).timezone)


@pytest.mark.parametrize("bad", [0, -1, 0.0001, float("nan"), float("inf"), "60", True, timedelta(0), 1e12])
def test_what_is_no_interval_is_refused(bad: object) -> None:
    with pytest.raises(EventDefinitionError, match="every="):
        as_every(bad)


def test_an_interval_is_a_number_of_seconds_or_a_timedelta() -> None:
    assert as_every(timedelta(minutes=1)) == as_every(60) == Every(60.0)
    assert restored("every", Every(0.1).spec, None) == Every(0.1)


@given(
    length=st.floats(0.001, 1e6, exclude_min=True),
    start=st.floats(1.7e9, 1.8e9),
    number=st.integers(0, 1000),
)
def test_an_interval_is_counted_from_its_start_without_drifting(length: float, start: float, number: int) -> None:
    every = as_every(length)
    length = every.seconds
    after = start + number * length
    following = every.next(after, start)
    assert following is not None
    assert after < following
    assert abs((following - start) / length - round((following - start) / length)) * length < 1e-5
    assert every.latest(following, start) == following


def test_runs_are_counted_up_to_a_bound() -> None:
    cron = Cron("* * * * *", "UTC")
    assert cron.count(0.0, 600.0, 0.0) == 10
    assert cron.count(0.0, 1e7, 0.0) == COUNTED
    assert Every(1.0).count(0.0, 1e7, 0.0) == 10_000_000


def test_a_time_that_comes_once_in_eight_years_is_found_backward() -> None:
    assert as_cron("0 0 29 2 *", "UTC").latest(seconds("2028-02-28"), 0.0) == seconds("2024-02-29")
