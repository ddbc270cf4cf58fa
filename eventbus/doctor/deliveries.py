"""What is stuck: subscriptions that lag or stand, dead letters, breakers, schedules, the inbox and the outbox."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Set
from datetime import UTC, datetime

import attrs

from eventbus.clock import iso
from eventbus.doctor.finding import Finding, Severity, sized
from eventbus.store import examining, overview
from eventbus.store.overview import SubscriptionView

_LAG_SECONDS = 3600.0
_MANY_DEAD = 100
_OLD_DEAD_SECONDS = 86_400.0
_LATE_SECONDS = 60.0  # a bus that runs looks once a second
_GAP_SECONDS = 3600.0


@attrs.frozen
class Moment:
    """When it is examined, and whether a process has the log open: what waits for an app that is not running may."""

    now: float
    is_live: bool
    declared: Set[str] | None = None

    @property
    def late(self) -> Severity:
        """How bad it is that nobody has done what is due."""
        return "look" if self.is_live else "note"

    def age(self, text: str | None) -> float:
        """Seconds since a stored time; 0 for none and for what is no time."""
        try:
            then = datetime.fromisoformat(text or "")
        except ValueError:
            return 0.0
        return self.now - (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()


def of_subscriptions(connection: sqlite3.Connection, moment: Moment) -> Iterator[Finding]:
    """Those that nobody declares, that stand, or that are far behind."""
    for view in overview.everyone(connection):
        name = view.row.name
        if moment.declared is not None and name not in moment.declared:
            yield Finding(
                "orphan",
                "look",
                f"Nobody declares the subscription {name!r} any more; {sized(view.behind, 'event')} wait for it.",
                "Declare it again, or forget it: bus.subscriptions[name].forget().",
                {"subscription": name, "behind": view.behind},
            )
        elif view.row.state in ("failed", "paused"):
            yield _standing(view)
        elif moment.age(view.oldest) > _LAG_SECONDS:
            yield Finding(
                "lag",
                moment.late,
                f"Subscription {name!r} has not handled what was recorded {_span(moment.age(view.oldest))} ago.",
                "eventbus subscriptions shows its last error and who delivers it. Is its application running?",
                {"subscription": name, "behind": view.behind, "seconds": round(moment.age(view.oldest))},
            )


def _standing(view: SubscriptionView) -> Finding:
    row = view.row
    matters = row.state == "failed" or view.behind > 0 or bool(view.counts)
    why = f": {row.state_reason}" if row.state_reason else ""
    return Finding(
        row.state,
        "look" if matters else "note",
        f"Subscription {row.name!r} is {row.state}{why}. {sized(view.behind, 'event')} wait for it.",
        "Mend what made it fail; a projection is tried again with the next start."
        if row.state == "failed"
        else "bus.subscriptions[name].resume() goes on with it.",
        {"subscription": row.name, "behind": view.behind, "reason": row.state_reason},
    )


def of_dead_letters(connection: sqlite3.Connection, moment: Moment) -> Iterator[Finding]:
    """Deliveries that wait for a person."""
    for name, count, since in examining.dead(connection):
        age = moment.age(since)
        is_pile = count > _MANY_DEAD or age > _OLD_DEAD_SECONDS
        yield Finding(
            "dead-letters",
            "look" if is_pile else "note",
            f"{sized(count, 'dead letter')} of {name!r}, the oldest {_span(age)} old.",
            "eventbus dead list, then dead retry, dead edit or dead discard.",
            {"subscription": name, "dead": count, "oldest_seconds": round(age)},
        )


def of_breakers(connection: sqlite3.Connection, moment: Moment) -> Iterator[Finding]:
    """Downstreams that are not asked."""
    for name, state, until, reason in examining.open_breakers(connection):
        yield Finding(
            "breaker",
            moment.late,
            f"The breaker {name!r} is {state}{f': {reason}' if reason else ''}.",
            "Deliveries behind it wait, and use up no attempts, until a probe succeeds. Is its downstream there?",
            {"breaker": name, "state": state, "until": until, "reason": reason},
        )


def of_schedules(connection: sqlite3.Connection, moment: Moment) -> Iterator[Finding]:
    """What should have been published by now."""
    count, due, name = examining.overdue(connection, iso(moment.now - _LATE_SECONDS))
    if count:
        yield Finding(
            "overdue",
            moment.late,
            f"{sized(count, 'schedule')} overdue, the first by {_span(moment.age(due))} ({name}).",
            "The bus that runs publishes what is due, and what was missed as catch_up= says. Is one running?",
            {"schedules": count, "due": due},
        )
    count, name, error = examining.failed_schedules(connection)
    if count:
        yield Finding(
            "failed-schedules",
            "look",
            f"{sized(count, 'scheduled event')} could not be published, such as {name}{f': {error}' if error else ''}.",
            "eventbus schedules shows why; cancel what is not wanted any more.",
            {"schedules": count},
        )


def of_doors(connection: sqlite3.Connection, moment: Moment) -> Iterator[Finding]:
    """What came in from outside and is not in the log yet."""
    count, since = examining.outbox(connection)
    if count and moment.age(since) > _LATE_SECONDS:
        yield Finding(
            "outbox",
            moment.late,
            f"{sized(count, 'row')} of eventbus_outbox not moved into the log yet, the first written"
            f" {_span(moment.age(since))} ago.",
            "A bus that is started moves them. Is one running?",
            {"rows": count, "since": since},
        )
    for source, stream, number, waiting, since, due, asked in examining.gaps(connection):
        is_late = moment.age(since) > _GAP_SECONDS or moment.age(due) > _LATE_SECONDS
        place = repr(source) if stream is None else f"{source!r}, stream {stream!r}"
        yield Finding(
            "inbox-gap",
            "look" if is_late or asked is not None else "note",
            f"Number {number:,} of {place} is missing for {_span(moment.age(since))}; {sized(waiting, 'event')} wait.",
            "Have it sent again, or give it up: bus.inbox.skip(...); eventbus dead discard for a dead letter.",
            {"source": source, "stream": stream, "missing": number, "waiting": waiting, "asked": asked},
        )


def _span(seconds: float) -> str:
    for size, unit in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= size:
            return sized(int(seconds // size), unit)
    return sized(max(int(seconds), 0), "second")
