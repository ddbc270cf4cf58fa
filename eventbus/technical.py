"""What delivery tells of itself: technical events, emitted and not stored, but for what a person does.

Anyone can `bus.on` them, a UI, an alert, telemetry; they are built only when somebody listens.
"""

from __future__ import annotations

from typing import Any, Literal

from eventbus.events import event


@event(name="eventbus.HandlerFailed", kind="technical")
class HandlerFailed:
    """A live handler raised; nobody else was stopped by it. `place` is where the event was published."""

    handler: str
    event_type: str
    event_id: str | None
    error: str
    place: str | None


@event(name="eventbus.DeliveryHandled", kind="technical")
class DeliveryHandled:
    """A subscription's handler returned, and that is recorded."""

    subscription: str
    event_id: str
    event_type: str
    position: int
    attempt: int


@event(name="eventbus.DeliveryRetrying", kind="technical")
class DeliveryRetrying:
    """A handler failed and will be tried again at `due`, seconds since 1970 UTC."""

    subscription: str
    event_id: str
    event_type: str
    position: int
    attempt: int
    error: str
    due: float


@event(name="eventbus.DeliveryDead", kind="technical")
class DeliveryDead:
    """A delivery is out of attempts and waits for a person."""

    subscription: str
    event_id: str
    event_type: str
    position: int
    attempt: int
    error: str


@event(name="eventbus.DeliveryDiscarded", kind="technical")
class DeliveryDiscarded:
    """A handler failed with an error that its `Retry(on=...)` says to discard: counted, and not tried again."""

    subscription: str
    event_id: str
    event_type: str
    position: int
    attempt: int
    error: str


@event(name="eventbus.DeliveryRevived", kind="technical")
class DeliveryRevived:
    """A person has a dead letter tried again, with all its attempts before it."""

    subscription: str
    event_id: str
    event_type: str
    position: int


@event(name="eventbus.SubscriptionPaused", kind="technical")
class SubscriptionPaused:
    """A handler failed with an error that its `Retry(on=...)` says to pause for; this event stays first."""

    subscription: str
    event_id: str
    event_type: str
    position: int
    error: str


@event(name="eventbus.DeliveryHeld", kind="technical")
class DeliveryHeld:
    """A delivery waits behind a retrying or dead one of the same order key."""

    subscription: str
    event_id: str
    event_type: str
    position: int
    order_key: str


@event(name="eventbus.DeliveryWaiting", kind="technical")
class DeliveryWaiting:
    """A delivery waits for its event's class, which is not loaded here; no attempt is used up."""

    subscription: str
    event_id: str
    event_type: str
    position: int


@event(name="eventbus.HandlerOverdue", kind="technical")
class HandlerOverdue:
    """A handler has run for longer than its `timeout=` (seconds) and cannot be stopped; `stack` is where it is.

    Its order key waits for it, the others go on.
    """

    subscription: str
    event_id: str
    event_type: str
    position: int
    attempt: int
    seconds: float
    stack: str


@event(name="eventbus.CircuitOpened", kind="technical")
class CircuitOpened:
    """So many deliveries failed in a row that none is tried before `until`, seconds since 1970 UTC."""

    breaker: str
    failures: int
    reason: str
    until: float


@event(name="eventbus.CircuitClosed", kind="technical")
class CircuitClosed:
    """A delivery that was let through an open breaker was handled: all are tried again."""

    breaker: str


@event(name="eventbus.ProjectionStopped", kind="technical")
class ProjectionStopped:
    """A projection failed on an event and stays there until its code has changed."""

    projection: str
    event_id: str
    event_type: str
    position: int
    error: str


@event(name="eventbus.ProjectionSwapped", kind="technical")
class ProjectionSwapped:
    """Readers see a newly built generation of a projection from now on."""

    projection: str
    generation: int


@event(name="eventbus.DeadLetterRetried", kind="technical")
class DeadLetterRetried:
    """A person had a dead letter tried again. Stored, caused by the event it is about."""

    subscription: str
    event_id: str
    event_type: str
    position: int
    who: str
    why: str | None


@event(name="eventbus.DeadLetterEdited", kind="technical")
class DeadLetterEdited:
    """A person gave a dead letter another payload; the log keeps the event as it was. Stored."""

    subscription: str
    event_id: str
    event_type: str
    position: int
    who: str
    why: str | None
    payload: str


@event(name="eventbus.DeadLetterDiscarded", kind="technical")
class DeadLetterDiscarded:
    """A person gave a delivery up, a dead letter or one held behind it, in this run of the subscription. Stored."""

    subscription: str
    event_id: str
    event_type: str
    position: int
    who: str
    why: str
    run: int


@event(name="eventbus.OutboxRefused", kind="technical")
class OutboxRefused:
    """A row of an outbox that could become no event. Stored; the subscription "eventbus.outbox" has it as dead letter.

    `outbox`: the file, None for the log's own. `row`: its position there. `payload` and `metadata` are JSON values
    where they could be read, else text.
    """

    outbox: str | None
    row: int
    source: str
    reason: str
    event_type: Any = None
    version: Any = None
    payload: Any = None
    stream: Any = None
    id: Any = None
    metadata: Any = None
    correlation_id: Any = None
    causation_id: Any = None
    created_at: Any = None


@event(name="eventbus.SubscriptionRewound", kind="technical")
class SubscriptionRewound:
    """A person began a new run of a subscription: what comes after `after` is delivered again. Stored.

    `cursor` is where it stood, `events` how many up to there are delivered again, `run` the number of the new run.
    """

    subscription: str
    after: int
    cursor: int
    events: int
    run: int
    who: str
    why: str | None


@event(name="eventbus.SubscriptionChanged", kind="technical")
class SubscriptionChanged:
    """A person paused or resumed a subscription, or gave another reason for the pause. Stored."""

    subscription: str
    action: Literal["paused", "resumed"]
    who: str
    why: str | None


@event(name="eventbus.DeadLettersAlert", kind="technical")
class DeadLettersAlert:
    """A subscription's dead letters have crossed a threshold: how many there are, and since when the `oldest`.

    `crossed` says which, that of "count" or of "age"; `threshold` is what `alert` was given for it (age: seconds).
    """

    subscription: str
    count: int
    oldest: str
    crossed: Literal["count", "age"]
    threshold: float


@event(name="eventbus.SequenceGap", kind="technical")
class SequenceGap:
    """Numbers of a sender have been missing for longer than `gap_timeout`, and a person is asked. Stored.

    A dead letter of the subscription "eventbus.gaps": to retry it is to look again, to discard it is to go on
    without the numbers from `first` to `last`.
    """

    source: str
    stream: str | None
    first: int
    last: int
    buffered: int
    since: str


@event(name="eventbus.SequenceSkipped", kind="technical")
class SequenceSkipped:
    """The numbers of a sender from `first` to `last` were given up. Stored before what had waited behind them.

    `reason`: "timeout", "discarded" (the dead letter of the gap), "conflict" (it waited here, and its id was used
    for something else meanwhile), or what a person said.
    """

    source: str
    stream: str | None
    first: int
    last: int
    reason: str
    who: str | None


@event(name="eventbus.ScheduleRetrying", kind="technical")
class ScheduleRetrying:
    """The factory of a schedule failed for its run at `run`, and is called again at `due` (seconds since 1970 UTC)."""

    schedule: str
    run: float
    attempt: int
    error: str
    due: float


@event(name="eventbus.ScheduleCaughtUp", kind="technical")
class ScheduleCaughtUp:
    """Runs were passed over as its `catch_up` says, from `first` to `last` (seconds since 1970 UTC)."""

    schedule: str
    missed: int
    first: float
    last: float


@event(name="eventbus.ScheduledRunMissed", kind="technical")
class ScheduledRunMissed:
    """Nothing was published for a run (seconds since 1970 UTC), and nothing will be. Stored."""

    schedule: str
    run: float
    attempts: int
    error: str


@event(name="eventbus.ScheduleChanged", kind="technical")
class ScheduleChanged:
    """A person cancelled, resumed or forgot a schedule. Stored."""

    schedule: str
    action: Literal["cancelled", "resumed", "forgotten"]
    who: str
    why: str | None


@event(name="eventbus.LossAccepted", kind="technical")
class LossAccepted:
    """The log goes on without events that storage had lost, those at the positions from `first` to `last`. Stored.

    `synced` of them had been on the disk. `incarnation` is the log's from then on; its positions begin with this one.
    """

    missing: int
    first: int
    last: int
    synced: int
    incarnation: int
