"""Putting numbers back into order: the rules, against a model that remembers everything."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventbus.ordering import Gap, deadline, gap, judge, run


@attrs.define
class Line:
    """The rules with nothing around them but sets."""

    first: int
    expected: int = attrs.field(default=attrs.Factory(lambda self: self.first, takes_self=True))
    ahead: set[int] = attrs.field(factory=set)
    skipped: set[int] = attrs.field(factory=set)
    delivered: list[int] = attrs.field(factory=list)

    def arrive(self, number: int) -> str:
        verdict = judge(
            number,
            first=self.first,
            expected=self.expected,
            buffered=number in self.ahead,
            skipped=number in self.skipped,
        )
        if verdict == "store":
            self._go_on(number)
        elif verdict == "buffer":
            self.ahead.add(number)
        return verdict

    def give_up(self) -> None:
        missing = gap(self.expected, sorted(self.ahead))
        if missing is not None:
            self.skipped.update(range(missing.first, missing.last + 1))
            self.expected = missing.last + 1
            self._go_on(None)

    def _go_on(self, number: int | None) -> None:
        if number is not None:
            self.delivered.append(number)
            self.expected += 1
        end = run(self.expected, sorted(self.ahead))
        for each in range(self.expected, end):
            self.ahead.remove(each)
            self.delivered.append(each)
        self.expected = end


@given(st.integers(0, 3), st.permutations(range(8)), st.lists(st.integers(0, 7)))
def test_whatever_the_order_of_arrival_all_is_delivered_once_and_in_order(
    first: int, order: list[int], again: list[int]
) -> None:
    line = Line(first)
    for number in [*order, *again]:
        line.arrive(first + number)
    assert line.delivered == list(range(first, first + 8))
    assert not line.ahead


@given(st.integers(0, 3), st.lists(st.one_of(st.none(), st.integers(0, 12))))
def test_every_number_is_delivered_or_skipped_or_waits_and_its_verdict_says_so(
    first: int, steps: list[int | None]
) -> None:
    line, came = Line(first), set[int]()
    for number in steps:
        if number is None:
            line.give_up()
        else:
            before = (set(line.delivered), set(line.ahead), set(line.skipped))
            verdict = line.arrive(number)
            assert verdict == expected_verdict(line, number, *before)
            came.add(number)
        assert line.delivered == sorted(set(line.delivered))
        assert {*line.delivered, *line.skipped} == set(range(first, line.expected))
        assert not set(line.delivered) & line.skipped
        assert {*line.delivered, *line.ahead} <= came
        assert all(each > line.expected for each in line.ahead)


def expected_verdict(line: Line, number: int, delivered: set[int], ahead: set[int], skipped: set[int]) -> str:
    if number < line.first or number in skipped:
        return "late"
    if number in delivered:
        return "seen"
    if number in ahead:
        return "buffered"
    return "store" if number in line.delivered else "buffer"


def test_a_gap_is_what_is_missing_before_the_first_that_waits() -> None:
    assert gap(3, [5, 9]) == Gap(3, 4)
    assert gap(3, []) is None
    assert [str(Gap(3, 4)), str(Gap(3, 3)), len(Gap(3, 5))] == ["3 to 4", "3", 3]


@pytest.mark.parametrize(
    ("policy", "asked", "due"),
    [
        ("wait", False, None),
        ("skip", False, 130.0),
        ("skip", True, 130.0),
        ("dead", False, 130.0),
        ("dead", True, None),
    ],
)
def test_a_policy_is_due_when_the_first_that_waits_has_waited_so_long(policy, asked, due) -> None:
    assert deadline(100.0, 30.0, policy, asked=asked) == due
    assert deadline(None, 30.0, policy, asked=asked) is None
    assert deadline(100.0, None, policy, asked=asked) is None
