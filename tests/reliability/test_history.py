"""What clients saw of a log that several killed processes share, against the log; and proof that the checks are awake.

The long one: python -m tests.reliability --tier history --long. EVENTBUS_SEED repeats a schedule that failed.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from attrs import evolve
from history import Entry, Publish, Read, check
from short import run_short
from tiers.history import SHORT

LOG: list[Entry] = [(1, "id-a", "a"), (2, "id-b", "b"), (4, "id-c", "c"), (5, "id-d", "d"), (6, "id-e", "e")]
CALLS = [
    Publish("a", 0.0, 1.0, "ok", "id-a", 1),
    Publish("b", 2.0, 5.0, "in doubt"),
    Publish("x", 2.0, 5.0, "failed"),
    Publish("c", 3.0, 4.0, "ok", "id-c", 4),
    Publish("b", 6.0, 7.0, "ok", "id-b", 2),
    Publish("d", 7.5, float("inf"), "unanswered"),
    Publish("e", 8.0, 9.0, "ok", "id-e", 6),
    Publish("y", 8.0, float("inf"), "unanswered"),
]
READS = [Read("one", 1.5, 0, ((1, "id-a"),)), Read("one", 9.5, 1, ((2, "id-b"), (4, "id-c"), (5, "id-d"), (6, "id-e")))]
FOLLOWED = [1, 2, 4, 2, 4, 5, 5, 6]


def found(
    calls: list[Publish] = CALLS, log: list[Entry] = LOG, reads: list[Read] = READS, followed: list[int] = FOLLOWED
) -> list[str]:
    return check(calls, log, reads, {"follower": followed})


def test_a_history_as_it_should_be_has_no_problems() -> None:
    assert found() == []


def without(key: str) -> list[Entry]:
    return [entry for entry in LOG if entry[2] != key]


WRONG: dict[str, tuple[Callable[[], list[str]], str]] = {
    "an acknowledged event is lost": (lambda: found(log=without("c")), "c was acknowledged and is lost"),
    "an event nobody published": (lambda: found(log=[*LOG, (7, "id-z", "z")]), "z at 7 was never published"),
    "a refused event is stored": (lambda: found(log=[*LOG, (7, "id-x", "x")]), "x at 7 is stored, though"),
    "a key is stored twice": (lambda: found(log=[*LOG, (7, "id-y", "a")]), "a is stored 2 times"),
    "positions go back": (lambda: found(log=[LOG[1], LOG[0], *LOG[2:]]), "positions do not increase"),
    "a receipt names another position": (
        lambda: found([evolve(CALLS[0], position=3), *CALLS[1:]]),
        "a was acknowledged as id-a at 3",
    ),
    "a receipt names another id": (lambda: found([evolve(CALLS[0], id="id-q"), *CALLS[1:]]), "a was acknowledged as"),
    "what was acknowledged first is behind": (
        lambda: found([*CALLS[:6], evolve(CALLS[6], invoked=1.2, returned=1.4), CALLS[7]]),
        "e at 6 was acknowledged before",
    ),
    "a reader misses an event": (lambda: found(reads=[Read("one", 0.0, 0, (LOG[0][:2], LOG[2][:2]))]), "one saw"),
    "a reader sees another event": (lambda: found(reads=[Read("one", 0.0, 0, ((1, "id-q"),))]), "one saw"),
    "a reader does not see what was acknowledged": (
        lambda: found(reads=[Read("one", 4.5, 0, (LOG[0][:2], LOG[1][:2]))]),
        "one read up to 2, though 4 had been acknowledged",
    ),
    "a subscriber misses an event": (lambda: found(followed=[1, 4, 5]), "follower was handed"),
    "a subscriber begins in the middle": (lambda: found(followed=[2, 4, 5]), "follower was handed"),
    "a subscriber is handed a later one first": (lambda: found(followed=[1, 4, 2]), "follower was handed"),
    "a subscriber leaps after it went back": (lambda: found(followed=[1, 2, 4, 5, 1, 4, 5]), "4 right after 1"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_with_a_history_is_found(wrong: str) -> None:
    planted, said = WRONG[wrong]
    problems = planted()
    assert any(said in problem for problem in problems), problems


def test_what_clients_saw_while_processes_were_killed_is_a_history_the_log_may_have() -> None:
    figures = run_short("history")
    assert int(figures["kills"]) >= SHORT
    assert int(figures["publishes acknowledged"]) > 10 * SHORT
    assert int(figures["refused"]) > 0
