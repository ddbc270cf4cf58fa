"""What becomes of a change that was applied before its event was handled: the rule alone."""

from __future__ import annotations

from typing import Any

import pytest
from delivery_stage import Counted, standing_still

from eventbus import Envelope
from eventbus.bus import Undone
from eventbus.bus.following import DeliveryStatus
from eventbus.bus.judging import judge


def statuses(*states: str) -> dict[str, DeliveryStatus]:
    return {f"s{number}": DeliveryStatus(state, error=f"E{number}") for number, state in enumerate(states)}


def envelope() -> Envelope:
    with standing_still() as bus:
        found = bus.log.get(bus.publish(Counted(1)).position)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("own", "following", "undone", "verdict"),
    [
        ([], [], False, "confirmed"),
        (["handled", "not_applicable"], [], False, "confirmed"),
        (["handled", "waiting"], [], False, None),
        (["retrying"], [], False, None),
        (["held"], [], False, None),
        (["handled", "dead"], [], False, "dead"),
        (["discarded", "waiting"], [], False, "discarded"),
        (["handled"], [["waiting"]], False, None),
        (["handled"], [["handled"], ["dead"]], False, None),
        (["handled"], [["handled"], ["discarded"]], False, "confirmed"),
        (["handled"], [], True, "undone"),
        (["dead"], [], True, "undone"),
    ],
)
def test_what_becomes_of_a_change(own: list[str], following: Any, undone: bool, verdict: str | None) -> None:
    found = judge(statuses(*own), [statuses(*each) for each in following], envelope() if undone else None)
    assert (found.reason if isinstance(found, Undone) else found) == verdict


def test_the_reason_is_a_sentence() -> None:
    assert str(Undone("not stored", error="LogFull: no room")) == "It was not stored: LogFull: no room"
    assert str(Undone("dead", error="Oops: no", subscription="stock")) == "stock has given it up: Oops: no"
    assert str(Undone("discarded", subscription="stock")) == "stock has given it up."
    assert str(Undone("undone", by=envelope())) == "It was undone by stock.Counted."
