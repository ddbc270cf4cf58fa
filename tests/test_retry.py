import logging
import pickle

import pytest

from eventbus.errors import EventDefinitionError
from eventbus.retry import Again, GiveUp, Retry, RetryLater, exponential, fixed, steps


def at_most(upper: float) -> float:
    return upper


def half(upper: float) -> float:
    return upper / 2


def waits(retry: Retry, failures: int) -> list[float]:
    verdicts = [retry.after_failure(ValueError(), attempt, at_most) for attempt in range(1, failures + 1)]
    return [verdict.seconds for verdict in verdicts if isinstance(verdict, Again)]


def test_a_failure_is_tried_again_until_the_attempts_are_used_up():
    retry = Retry(attempts=3, backoff=fixed(7))
    assert retry.after_failure(ValueError(), 1, half) == Again(7, counts=True)
    assert retry.after_failure(ValueError(), 2, half) == Again(7, counts=True)
    assert retry.after_failure(ValueError(), 3, half) == GiveUp()


def test_one_attempt_means_no_retry():
    assert Retry(attempts=1).after_failure(ValueError(), 1, half) == GiveUp()


def test_without_a_number_of_attempts_it_never_gives_up():
    retry = Retry(attempts=None)
    assert retry.after_failure(ValueError(), 10_000_000, at_most) == Again(300, counts=True)


def test_the_default_waits_double_up_to_five_minutes():
    assert waits(Retry(attempts=None), 11) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


def test_jitter_covers_the_whole_wait():
    asked: list[float] = []

    def zero(upper: float) -> float:
        asked.append(upper)
        return 0.0

    assert Retry(backoff=exponential(first=4)).after_failure(ValueError(), 2, zero) == Again(0, counts=True)
    assert asked == [8]


def test_fixed_and_steps_wait_exactly_what_they_say():
    assert waits(Retry(backoff=fixed(2.5)), 3) == [2.5, 2.5, 2.5]
    assert waits(Retry(attempts=None, backoff=steps(1, 5, 30)), 5) == [1, 5, 30, 30, 30]


def test_any_function_can_be_the_backoff():
    assert waits(Retry(backoff=lambda failure, jitter: failure * 10), 3) == [10, 20, 30]


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "soon", None, True])
def test_a_backoff_that_returns_nonsense_is_logged_and_the_default_used(wrong, caplog):
    with caplog.at_level(logging.ERROR, "eventbus.retry"):
        verdict = Retry(backoff=lambda failure, jitter: wrong).after_failure(ValueError(), 2, at_most)
    assert verdict == Again(2, counts=True)
    assert "the default backoff is used" in caplog.text


def test_a_backoff_that_raises_does_not_lose_the_delivery(caplog):
    def broken(failure, jitter):
        raise ZeroDivisionError

    assert Retry(backoff=broken).after_failure(ValueError(), 1, at_most) == Again(1, counts=True)
    assert "ZeroDivisionError" in caplog.text


def test_retry_later_waits_what_the_handler_asked_and_uses_no_attempt():
    assert Retry(attempts=1).after_failure(RetryLater(90), 1, half) == Again(90, counts=False)


def test_an_outage_uses_no_attempt_not_even_the_last():
    retry = Retry(attempts=2, backoff=fixed(3), outage=(ConnectionError,))
    assert retry.after_failure(ConnectionResetError(), 2, half) == Again(3, counts=False)
    assert retry.after_failure(ValueError(), 2, half) == GiveUp()


def test_the_waits_of_a_long_outage_grow_although_its_attempts_stand_still():
    retry = Retry(outage=(ConnectionError,))
    assert retry.after_failure(ConnectionError(), 1, at_most, tries=6) == Again(32, counts=False)
    assert retry.after_failure(ValueError(), 1, at_most, tries=6) == Again(1, counts=True)


def test_a_group_of_outages_is_an_outage():
    retry = Retry(attempts=1, backoff=fixed(3), outage=(ConnectionError,))
    outage = ExceptionGroup("tasks", [ConnectionError(), ExceptionGroup("more", [BrokenPipeError()])])
    assert retry.after_failure(outage, 1, half) == Again(3, counts=False)
    assert retry.after_failure(ExceptionGroup("tasks", [ConnectionError(), RetryLater(60)]), 1, half).seconds == 60


def test_a_group_with_one_real_failure_counts():
    retry = Retry(attempts=1, outage=(ConnectionError,))
    mixed = ExceptionGroup("tasks", [ConnectionError(), RetryLater(1), KeyError("x")])
    assert retry.after_failure(mixed, 1, half) == GiveUp()


@pytest.mark.parametrize("wrong", [0, -1, 2.0, "5", True])
def test_attempts_is_a_positive_whole_number_or_none(wrong):
    with pytest.raises(EventDefinitionError, match=r"attempts=.*at least 1, or None"):
        Retry(attempts=wrong)


@pytest.mark.parametrize("wrong", [ConnectionError, (ConnectionError, "TimeoutError"), [ConnectionError], (int,)])
def test_outage_is_a_tuple_of_exception_classes(wrong):
    with pytest.raises(EventDefinitionError, match=r"outage=.*tuple of exception classes, \(ConnectionError,\)"):
        Retry(outage=wrong)


def test_backoff_is_a_function():
    with pytest.raises(EventDefinitionError, match=r"backoff=.*not 5"):
        Retry(backoff=5)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [-1, float("nan"), float("inf"), "5", None, True, 1e12])
def test_seconds_are_seconds(wrong):
    for make in (RetryLater, fixed, lambda each: steps(1, each), lambda each: exponential(cap=each)):
        with pytest.raises(EventDefinitionError, match="takes seconds"):
            make(wrong)


@pytest.mark.parametrize("wrong", [0, 0.5, float("nan"), float("inf"), "2", None])
def test_a_backoff_never_shrinks(wrong):
    with pytest.raises(EventDefinitionError, match="factor"):
        exponential(factor=wrong)


def test_an_exponential_backoff_starts_above_zero():
    with pytest.raises(EventDefinitionError, match="more than 0"):
        exponential(first=0)


def test_steps_needs_a_step():
    with pytest.raises(EventDefinitionError, match="at least one"):
        steps()


def test_a_retry_is_a_value():
    assert Retry() == Retry(attempts=5, backoff=exponential(1, 2, 300), outage=())
    assert len({Retry(backoff=steps(1, 5)), Retry(backoff=steps(1.0, 5.0))}) == 1
    assert repr(Retry(backoff=steps(1, 5))) == "Retry(attempts=5, backoff=steps(1, 5), outage=(), on={})"
    assert repr(exponential(0.5)) == "exponential(first=0.5, factor=2, cap=300)"
    with pytest.raises(AttributeError):
        Retry().attempts = 3  # type: ignore[misc]


def test_retry_later_survives_pickling_and_reads_well():
    again = pickle.loads(pickle.dumps(RetryLater(90)))
    assert (again.seconds, str(again)) == (90.0, "again in 90 s")
