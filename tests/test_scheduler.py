import logging
import subprocess
import sys
import threading

from eventbus.clock import SystemClock
from eventbus.scheduler import AlarmClock
from eventbus.testing import FakeClock

HOUR = 3600.0
PATIENCE = 60.0  # seconds until a test that waits for a ring gives up


class Ring:
    """Counts its rings; `wait` returns when the next one came."""

    def __init__(self) -> None:
        self.count = 0
        self._rung = threading.Semaphore(0)

    def __call__(self) -> None:
        self.count += 1
        self._rung.release()

    def wait(self) -> bool:
        return self._rung.acquire(timeout=PATIENCE)


def jobs(alarm: AlarmClock) -> list[object]:
    return alarm._scheduler.get_jobs() if alarm._scheduler else []


def scheduler_threads() -> set[threading.Thread]:
    return {each for each in threading.enumerate() if each.name == "APScheduler"}


def test_it_rings_when_the_time_has_come_and_not_before():
    clock, ring, rang_at = SystemClock(), Ring(), []

    def note() -> None:
        rang_at.append(clock.time())
        ring()

    alarm = AlarmClock(note, clock)
    when = clock.time() + 0.02
    alarm.set(when)
    assert ring.wait()
    assert rang_at[0] >= when
    alarm.close()


def test_a_time_that_was_slept_through_still_rings():
    ring = Ring()
    alarm = AlarmClock(ring, SystemClock())
    alarm.set(SystemClock().time() - 5 * HOUR)
    assert ring.wait()
    alarm.close()


def test_only_the_time_set_last_counts():
    clock, ring = SystemClock(), Ring()
    alarm = AlarmClock(ring, clock)
    for hours in range(1, 50):
        alarm.set(clock.time() + hours * HOUR)
        assert len(jobs(alarm)) == 1
    alarm.set(clock.time())
    assert ring.wait()
    alarm.close()
    assert ring.count == 1


def test_setting_none_takes_the_alarm_back():
    clock = SystemClock()
    alarm = AlarmClock(Ring(), clock)
    alarm.set(None)
    assert alarm._scheduler is None
    alarm.set(clock.time() + HOUR)
    alarm.set(None)
    alarm.set(None)
    assert jobs(alarm) == []
    alarm.close()


def test_the_same_time_can_be_set_again_after_it_rang():
    ring = Ring()
    alarm = AlarmClock(ring, SystemClock())
    when = SystemClock().time()
    for _ in range(3):
        alarm.set(when)
        assert ring.wait()
    alarm.close()


def test_threads_may_set_it_at_the_same_time_and_one_job_is_left():
    clock, ring = SystemClock(), Ring()
    alarm = AlarmClock(ring, clock)
    start = threading.Barrier(8)

    def quarrel(seed: int) -> None:
        start.wait()
        for turn in range(100):
            choice = (seed + turn) % 3
            alarm.set((None, clock.time(), clock.time() + HOUR)[choice])

    threads = [threading.Thread(target=quarrel, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    alarm.set(clock.time() + HOUR)
    assert len(jobs(alarm)) == 1
    alarm.close()


def test_a_ring_that_raises_is_logged_and_the_next_one_comes(caplog):
    ring = Ring()

    def broken() -> None:
        ring()
        raise RuntimeError("no bell")

    alarm = AlarmClock(broken, SystemClock())
    for _ in range(2):
        alarm.set(SystemClock().time())
        assert ring.wait()
    alarm.close()
    assert caplog.text.count("RuntimeError: no bell") == 2


def test_nothing_starts_before_the_first_due_time():
    before = scheduler_threads()
    alarm = AlarmClock(Ring(), SystemClock())
    assert scheduler_threads() == before
    alarm.set(SystemClock().time() + HOUR)
    (thread,) = scheduler_threads() - before
    assert thread.daemon
    alarm.close()


def test_closing_ends_its_thread_and_later_settings_are_ignored():
    before, ring = scheduler_threads(), Ring()
    alarm = AlarmClock(ring, SystemClock())
    alarm.set(SystemClock().time() + HOUR)
    alarm.close()
    alarm.close()
    alarm.set(SystemClock().time())
    assert scheduler_threads() == before
    assert ring.count == 0


def test_closing_in_the_middle_of_a_ring_is_quiet():
    for _ in range(50):
        ringing = Ring()

        def slow(ringing: Ring = ringing) -> None:
            ringing()
            sum(range(20_000))

        alarm = AlarmClock(slow, SystemClock())
        alarm.set(SystemClock().time())
        assert ringing.wait()
        alarm.close()  # a scheduler thread that ends with a traceback fails the test


def test_retries_leave_no_line_in_the_log_of_the_app(caplog):
    ring = Ring()
    with caplog.at_level(logging.INFO):
        alarm = AlarmClock(ring, SystemClock())
        alarm.set(SystemClock().time())
        assert ring.wait()
        alarm.set(SystemClock().time() + HOUR)
        alarm.close()
    assert caplog.records == []


def test_apscheduler_is_imported_with_the_first_due_time_and_never_delays_the_exit():
    code = """
import sys
from eventbus.clock import SystemClock
from eventbus.scheduler import AlarmClock
alarm = AlarmClock(print, SystemClock())
alarm.set(None)
assert "apscheduler" not in sys.modules
alarm.set(SystemClock().time() + 3600)
assert "apscheduler" in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_with_a_simulated_clock_it_rings_when_that_advances():
    clock, ring, before = FakeClock(), Ring(), scheduler_threads()
    alarm = AlarmClock(ring, clock)
    alarm.set(clock.time() + 10)
    clock.advance(9)
    assert ring.count == 0
    clock.advance(1)
    assert ring.count == 1
    clock.advance(HOUR)
    assert ring.count == 1
    assert scheduler_threads() == before


def test_with_a_simulated_clock_a_past_time_rings_at_once_and_none_takes_it_back():
    clock, ring = FakeClock(), Ring()
    alarm = AlarmClock(ring, clock)
    alarm.set(clock.time())
    assert ring.count == 1
    alarm.set(clock.time() + 5)
    alarm.set(None)
    clock.advance(HOUR)
    assert ring.count == 1


def test_a_closed_alarm_lets_go_of_the_simulated_clock():
    clock, ring = FakeClock(), Ring()
    alarm = AlarmClock(ring, clock)
    alarm.set(clock.time() + 5)
    alarm.close()
    clock.advance(HOUR)
    assert ring.count == 0
    assert clock._callbacks == []


def test_a_clock_of_the_apps_own_without_on_advance_is_never_asked_to_ring():
    class Stopped(FakeClock):
        on_advance = None  # type: ignore[assignment]

    clock, ring = Stopped(), Ring()
    alarm = AlarmClock(ring, clock)
    alarm.set(clock.time() + 5)
    clock.advance(HOUR)
    assert ring.count == 0
    alarm.close()
