"""What follows an exception, by its class: another try, a dead letter at once, a discard, or a pause."""

from __future__ import annotations

from typing import Any

import pytest
from delivery_stage import Counted, Notes, Oops, Placed, only, standing_still

from eventbus import EventBus, Retry, RetryLater
from eventbus.clock import Deadline
from eventbus.errors import EventDefinitionError
from eventbus.retry import Again, Discard, GiveUp, Pause, Verdict, fixed
from eventbus.technical import DeliveryDead, DeliveryDiscarded, DeliveryRetrying, SubscriptionPaused
from eventbus.testing import FakeClock


class Ignorable(Exception): ...


class Misconfigured(Exception): ...


class Broken(Misconfigured): ...


AGAIN = Again(1.0, counts=True)
WAITS = Again(1.0, counts=False)
POLICY = Retry(
    attempts=3,
    backoff=fixed(1.0),
    outage=(ConnectionError,),
    on={
        ValueError: "dead",
        UnicodeError: "retry",
        Ignorable: "discard",
        Misconfigured: "pause",
        ConnectionRefusedError: "dead",
    },
)


def verdict(error: BaseException, policy: Retry = POLICY, attempt: int = 1) -> Verdict:
    return policy.after_failure(error, attempt, lambda upper: upper)


# --- the rules ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "follows"),
    [
        (ValueError(), GiveUp()),
        (Ignorable(), Discard()),
        (Misconfigured(), Pause()),
        (Broken(), Pause()),
        (KeyError(), AGAIN),
        (SystemExit(), AGAIN),
        (UnicodeDecodeError("utf-8", b"", 0, 1, "bad"), AGAIN),  # "retry" is nearer than the "dead" of ValueError
        (ConnectionResetError(), WAITS),
        (ConnectionRefusedError(), GiveUp()),  # nearer than the outage
        (RetryLater(1), WAITS),
    ],
)
def test_the_most_specific_class_says_what_follows(error: BaseException, follows: Verdict) -> None:
    assert verdict(error) == follows


def test_a_class_for_all_exceptions_leaves_those_that_are_waited_out() -> None:
    policy = Retry(backoff=fixed(1.0), outage=(ConnectionError,), on={Exception: "dead"})
    assert verdict(KeyError(), policy) == GiveUp()
    assert verdict(ConnectionResetError(), policy) == WAITS
    assert verdict(RetryLater(1), policy) == WAITS


@pytest.mark.parametrize(
    ("errors", "follows"),
    [
        ((Ignorable(), Ignorable()), Discard()),
        ((Ignorable(), KeyError()), AGAIN),
        ((Ignorable(), ConnectionResetError()), WAITS),
        ((ConnectionResetError(), KeyError()), AGAIN),
        ((ValueError(), KeyError()), GiveUp()),
        ((ValueError(), Misconfigured()), Pause()),
        ((ExceptionGroup("inner", [Ignorable(), ValueError()]), Ignorable()), GiveUp()),
    ],
)
def test_of_an_exception_group_the_gravest_says_what_follows(errors: tuple[Exception, ...], follows: Verdict) -> None:
    assert verdict(ExceptionGroup("several", errors)) == follows


def test_another_try_is_for_those_that_have_attempts_left() -> None:
    assert verdict(UnicodeError(), attempt=3) == GiveUp()
    assert verdict(Ignorable(), attempt=3) == Discard()


@pytest.mark.parametrize(
    "on",
    [
        "dead",
        {"ValueError": "dead"},
        {int: "dead"},
        {ValueError: "die"},
        {ValueError: None},
        {ConnectionError: "dead"},
        {RetryLater: "dead"},
        {ExceptionGroup: "dead"},
    ],
)
def test_a_policy_that_could_not_hold_is_refused(on: Any) -> None:
    with pytest.raises(EventDefinitionError, match=r"Retry\(on="):
        Retry(outage=(ConnectionError,), on=on)


def test_a_policy_is_a_value() -> None:
    on: dict[Any, Any] = {ValueError: "dead"}
    policy = Retry(on=on)
    on[KeyError] = "dead"
    assert policy == Retry(on={ValueError: "dead"}) != Retry()
    assert hash(policy) == hash(Retry(backoff=policy.backoff))


# --- delivered ------------------------------------------------------------------------------------------


class Story:
    """A bus whose handler raises what the test says for an event with that number."""

    def __init__(self, errors: dict[int, Exception], **how: Any) -> None:
        self.clock = FakeClock()
        self.bus = standing_still(None, self.clock)
        self.told: list[Any] = []
        self.errors = errors
        self.notes = Notes(lambda event, ctx: self.errors.get(event.number))
        self.bus.subscribe("stock", Placed, Counted, handler=self.notes, retry=POLICY, **how)
        kinds = (DeliveryDiscarded, DeliveryDead, DeliveryRetrying, SubscriptionPaused)
        for kind in kinds:
            self.bus.on(kind, handler=self.told.append)

    @property
    def numbers(self) -> dict[str, int]:
        (row,) = self.bus.query("SELECT handled, discarded FROM eventbus_subscriptions", ())
        return row | dict(self.bus.subscriptions["stock"].counts)

    def heard(self) -> list[str]:
        self.bus._attachment.engine().join_live(Deadline(self.clock, 20), on_loop=False)
        return [type(event).__name__ for event in self.told]


WAYS = [{}, {"transactional": True}, {"order_by": "log"}, {"order_by": "log", "transactional": True}]


@pytest.mark.parametrize("how", WAYS)
def test_a_dead_letter_at_once_uses_one_attempt(how: dict[str, Any]) -> None:
    story = Story({1: ValueError("never")}, **how)
    story.bus.publish(Counted(1))
    story.bus.drain()
    assert story.notes.attempts == [1]
    assert story.numbers == {"handled": 0, "discarded": 0, "dead": 1}
    assert story.heard() == ["DeliveryDead"]


@pytest.mark.parametrize("how", WAYS)
def test_a_discarded_delivery_is_counted_and_told_and_blocks_nobody(how: dict[str, Any]) -> None:
    story = Story({1: Ignorable("whatever")}, **how)
    story.bus.publish_many([Placed("a", 1), Placed("a", 2), Placed("a", 3), Counted(4)])
    story.bus.drain()
    assert sorted(story.notes.numbers) == [1, 2, 3, 4]
    assert [number for number in story.notes.numbers if number < 4] == [1, 2, 3]
    assert story.numbers == {"handled": 3, "discarded": 1}
    assert story.heard() == ["DeliveryDiscarded"]
    (told,) = story.told
    assert (told.position, told.attempt, told.error) == (1, 1, "Ignorable: whatever")


def test_a_delivery_discarded_after_a_retry_leaves_nothing_and_frees_its_key() -> None:
    story = Story({1: KeyError("first")})
    story.bus.publish_many([Placed("a", 1), Placed("a", 2)])
    story.bus.drain()
    assert story.numbers == {"handled": 0, "discarded": 0, "retrying": 1, "held": 1}
    story.errors[1] = Ignorable("then")
    story.clock.advance(1)
    story.bus.drain()
    assert story.notes.numbers == [1, 1, 2]
    assert story.numbers == {"handled": 1, "discarded": 1}
    assert story.bus.query("SELECT * FROM eventbus_attempts", ()) == []


@pytest.mark.parametrize("how", WAYS)
def test_a_pause_stops_the_subscription_with_the_failing_delivery_first(how: dict[str, Any]) -> None:
    story = Story({2: Misconfigured("no key")}, **how)
    story.bus.publish_many([Counted(1), Counted(2), Counted(3)])
    story.bus.drain()
    assert set(story.notes.numbers) == {1, 2}
    stock = story.bus.subscriptions["stock"]
    assert stock.state == "paused"
    assert "Misconfigured: no key" in (stock.reason or "")
    assert story.heard() == ["SubscriptionPaused"]
    story.bus.publish(Counted(4))
    story.clock.advance(1000)
    assert story.bus.drain() == 0

    story.errors.clear()
    story.notes.events.clear()
    stock.resume()
    assert stock.reason is None
    assert story.bus.drain() == 3
    assert story.notes.numbers == [2, 3, 4]
    assert story.notes.attempts[-3:] == [1, 1, 1]  # the pause used up none
    assert story.numbers == {"handled": 4, "discarded": 0}


def test_a_discard_is_logged_as_a_warning_and_a_pause_as_an_error_with_its_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    story = Story({1: Ignorable("whatever"), 2: Misconfigured("no key")})
    story.bus.publish_many([Counted(1), Counted(2)])
    story.bus.drain()
    discarded, paused = [record for record in caplog.records if record.name == "eventbus.delivery"]
    assert (discarded.levelname, paused.levelname) == ("WARNING", "ERROR")
    assert discarded.getMessage() == (
        "'stock', 'stock.Counted' at position 1: attempt 1 failed, and the event is discarded: 'Ignorable: whatever'"
    )
    assert paused.getMessage() == "'stock', 'stock.Counted' at position 2: the subscription is paused"
    assert paused.exc_info is not None
    assert isinstance(paused.exc_info[1], Misconfigured)


def test_what_a_person_does_to_a_dead_letter_does_not_resume_a_paused_subscription() -> None:
    story = Story({1: ValueError("never"), 2: Misconfigured("no key")})
    story.bus.publish_many([Counted(1), Counted(2)])
    story.bus.drain()
    assert story.numbers == {"handled": 0, "discarded": 0, "dead": 1, "retrying": 1}
    story.errors.clear()
    story.bus.dead_letters.discard(1, reason="useless")
    assert story.bus.drain() == 0
    assert story.bus.subscriptions["stock"].state == "paused"
    story.bus.subscriptions["stock"].resume()
    assert story.bus.drain() == 1
    assert story.numbers == {"handled": 1, "discarded": 1}
    assert [str(story.bus.status(position)["stock"]) for position in (1, 2)] == ["discarded", "handled"]


def test_a_paused_subscription_does_not_keep_the_bus_awake() -> None:
    story = Story({1: Misconfigured()})
    story.bus.publish(Counted(1))
    story.bus.drain()
    assert story.bus._attachment.engine().pump.next_due() is None


def test_a_pause_outlives_the_process(tmp_path: Any) -> None:
    notes = Notes(only(1))
    how: dict[str, Any] = {"handler": notes, "retry": Retry(on={Oops: "pause"}), "after": 0}
    for _ in range(2):
        with EventBus(tmp_path / "events.db", delivery="manual") as bus:
            bus.subscribe("stock", Counted, **how)
            if not bus.log.head:
                bus.publish(Counted(1))
            bus.drain()
            assert bus.subscriptions["stock"].state == "paused"
    assert notes.attempts == [1]


def test_a_pause_in_a_started_bus_is_heard() -> None:
    paused: list[SubscriptionPaused] = []
    bus = EventBus()
    bus.subscribe("stock", Counted, handler=Notes(only(1)), retry=Retry(on={Oops: "pause"}))
    bus.on(SubscriptionPaused, handler=paused.append)
    with bus:
        bus.publish(Counted(1))
        bus.drain()
    assert [event.subscription for event in paused] == ["stock"]
