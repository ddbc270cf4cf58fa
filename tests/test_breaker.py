"""When a circuit breaker opens, what it admits and when it closes: rules, at times that the test names."""

from __future__ import annotations

from typing import Any

import pytest

from eventbus import Breaker, EventDefinitionError, RetryLater
from eventbus.breaker import CLOSED, Circuit

BREAKER = Breaker(failures=3, seconds=30.0)


def failed(times: int, circuit: Circuit = CLOSED, now: float = 100.0) -> Circuit:
    for _ in range(times):
        circuit = circuit.after_failure(BREAKER, "it is away", now)
    return circuit


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    assert failed(2).admits(100.0) == "all"
    assert failed(3) == Circuit("open", 3, 100.0, 130.0, "it is away")


def test_a_success_in_between_starts_the_count_again() -> None:
    assert failed(2, failed(2).after_success(100.0)).state == "closed"


def test_while_it_is_open_nothing_is_tried_and_then_one_delivery_is() -> None:
    circuit = failed(3)
    assert [circuit.admits(now) for now in (100.0, 129.9, 130.0)] == ["none", "none", "probe"]
    probing = circuit.probing(BREAKER, 131.0)
    assert (probing.state, probing.admits(131.0), probing.admits(160.9)) == ("half-open", "none", "none")


def test_another_may_probe_where_nothing_is_heard_of_the_first() -> None:
    assert failed(3).probing(BREAKER, 131.0).admits(161.0) == "probe"


def test_the_probe_decides() -> None:
    probing = failed(3).probing(BREAKER, 131.0)
    assert probing.after_success(132.0).admits(132.0) == "all"
    again = probing.after_failure(BREAKER, "still away", 132.0)
    assert (again.state, again.until, again.reason) == ("open", 162.0, "still away")


def test_what_was_begun_before_it_opened_says_nothing() -> None:
    circuit = failed(3)
    assert circuit.after_success(110.0) == circuit
    assert circuit.after_failure(BREAKER, "late", 110.0) == circuit


def test_a_clock_that_is_set_back_makes_nobody_wait_longer_than_was_meant() -> None:
    circuit = failed(3, now=10_000.0)
    assert circuit.admits(6_400.0) == "none"
    assert circuit.due(6_400.0) == 6_430.0


def test_a_clock_that_is_set_back_moves_the_wait_once_and_it_ends() -> None:
    circuit = failed(3, now=10_000.0).set_right(6_400.0)
    assert (circuit.due(6_400.0), circuit.set_right(6_420.0), circuit.admits(6_430.0)) == (6_430.0, circuit, "probe")
    assert failed(3).set_right(110.0) == failed(3)
    assert CLOSED.set_right(-10.0) == CLOSED


def test_which_errors_count() -> None:
    breaker = Breaker(on=(ConnectionError,))
    assert breaker.counts(ConnectionRefusedError())
    assert breaker.counts(ExceptionGroup("two", [ValueError(), TimeoutError(), ConnectionError()]))
    assert not breaker.counts(ValueError())
    assert not Breaker().counts(RetryLater(5))
    assert not Breaker().counts(SystemExit())


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ({"failures": 0}, "whole number"),
        ({"failures": 2.0}, "whole number"),
        ({"seconds": 0}, "seconds"),
        ({"seconds": "30"}, "seconds"),
        ({"on": ConnectionError}, "tuple of exception classes"),
        ({"on": ()}, "tuple of exception classes"),
        ({"name": ""}, "printable"),
        ({"name": "a\nb"}, "printable"),
    ],
)
def test_what_cannot_work_is_refused(how: dict[str, Any], why: str) -> None:
    with pytest.raises(EventDefinitionError, match=why):
        Breaker(**how)
