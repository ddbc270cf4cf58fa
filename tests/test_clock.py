import threading
import uuid
from datetime import UTC, datetime, timedelta

from eventbus import clock as clocks
from eventbus.clock import Bell, SystemClock, format_uuid7, from_iso, iso, new_ids
from eventbus.testing import FakeClock


def test_ids_increase_strictly_within_a_thread():
    clock = SystemClock()
    ids = [clock.new_id() for _ in range(20_000)]
    assert ids == sorted(set(ids))


def test_ids_of_many_threads_never_meet_and_increase_in_each():
    clock = SystemClock()
    made: list[list[str]] = []

    def make() -> None:
        made.append([clock.new_id() for _ in range(2_000)])

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(ids == sorted(ids) for ids in made)
    assert len({each for ids in made for each in ids}) == 16_000


def test_ids_made_at_once_increase_among_those_that_are_made_one_by_one():
    clock = SystemClock()
    ids = [clock.new_id(), *new_ids(clock, 9_000), clock.new_id(), *new_ids(clock, 1), *new_ids(clock, 0)]
    assert ids == sorted(set(ids))
    made = [uuid.UUID(each) for each in ids]
    assert {(each.version, each.variant) for each in made} == {(7, uuid.RFC_4122)}
    assert [str(each) for each in made] == ids


def test_a_clock_that_makes_one_id_at_a_time_is_asked_for_each():
    assert new_ids(FakeClock(seed=3), 5) == [clock.new_id() for clock in [FakeClock(seed=3)] for _ in range(5)]


def test_ids_go_on_increasing_when_the_wall_clock_is_set_back(monkeypatch):
    clock = SystemClock()
    before = clock.new_id()
    yesterday = clocks.time.time_ns() - 86_400 * 10**9
    monkeypatch.setattr(clocks.time, "time_ns", lambda: yesterday)
    after = [clock.new_id() for _ in range(10_000)]
    assert [before, *after] == sorted({before, *after})


def test_an_id_is_a_uuid_of_version_7_that_carries_its_time(monkeypatch):
    moment = 1767225600_123
    monkeypatch.setattr(clocks.time, "time_ns", lambda: moment * 1_000_000)
    made = uuid.UUID(SystemClock().new_id())
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made.int >> 80 == moment


def test_the_layout_of_an_id_is_that_of_the_rfc():
    # RFC 9562, appendix A.6
    text = format_uuid7(0x017F22E279B0, 0xCC3, 0x18C4DC0C0C07398F)
    assert text == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


def test_parts_that_are_too_wide_do_not_reach_the_version_or_the_variant():
    made = uuid.UUID(format_uuid7(1 << 60, 1 << 20 | 5, 1 << 70 | 9))
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert made == uuid.UUID(format_uuid7(0, 5, 9))


def test_the_stored_time_has_a_fixed_width_so_that_text_order_is_time_order():
    moments = [0.0, 0.000001, 1767225600.0, 1767225600.5, 1767225600.000001, 253402300799.0]
    texts = [iso(each) for each in moments]
    assert {len(each) for each in texts} == {len("2026-01-01T00:00:00.000000Z")}
    assert sorted(texts) == [iso(each) for each in sorted(moments)]
    assert iso(1767225600.5) == "2026-01-01T00:00:00.500000Z"


def test_the_stored_time_is_rounded_to_microseconds_as_datetime_does():
    for seconds in (0.0000005, 0.0000015, 1767225600.9999995, 1767225600.9999996, 1767225599.999999, 1e9 + 1 / 3, -0.5):
        assert from_iso(iso(seconds)) == datetime.fromtimestamp(seconds, UTC)


def test_a_stored_time_comes_back_as_an_aware_datetime():
    back = from_iso(iso(1767225600.25))
    assert back == datetime(2026, 1, 1, 0, 0, 0, 250_000, UTC)
    assert back.utcoffset() == timedelta(0)


def test_a_bell_remembers_that_it_rang_until_it_is_heard():
    bell = Bell()
    bell.ring()
    bell.ring()
    assert bell.wait(0) is True
    assert bell.wait(0) is False


def test_a_bell_wakes_a_thread_that_waits():
    bell, heard = Bell(), []
    thread = threading.Thread(target=lambda: heard.append(SystemClock().wait(bell, 60)))
    thread.start()
    bell.ring()
    thread.join()
    assert heard == [True]


def test_jitter_stays_within_its_bounds():
    drawn = [SystemClock().jitter(3.0) for _ in range(1_000)]
    assert min(drawn) >= 0
    assert max(drawn) <= 3.0
    assert len(set(drawn)) > 900


def test_the_monotonic_clock_does_not_go_back():
    clock = SystemClock()
    assert clock.monotonic() <= clock.monotonic()
