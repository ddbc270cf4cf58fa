"""Where an event stands with a subscription, in words: what is being done about it, by whom, and when."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import attrs

from eventbus.cli.units import due, number
from eventbus.clock import iso
from eventbus.store.lockfile import is_delivered
from eventbus.store.subscriptions import STANDING, SubscriptionRow

if TYPE_CHECKING:
    from eventbus.store.deliveries import DeliveryRow
    from eventbus.store.viewing import Standing


def titled(row: SubscriptionRow) -> str:
    """A subscription's name, with what sets it apart from a plain one."""
    generation = f" ({row.generation})" if row.state == "building" else ""
    return row.name + generation + ("" if row.role == "subscription" else f" [{row.role}]")


def looked_at(path: str, standing: Standing) -> Standing:
    """The same, without an owner that has ended: nothing runs there any more."""
    if standing.owner is None or is_delivered(path, standing.subscription.id) is not False:
        return standing
    disposition = "waiting" if standing.disposition == "running" else standing.disposition
    return attrs.evolve(standing, disposition=disposition, owner=None)


def counted(delivery: DeliveryRow) -> str:
    """How often it ran; runs that an outage cut short use up no attempt."""
    return "1 try" if delivery.tries == 1 else f"{number(delivery.tries)} tries"


def next_time(standing: Standing) -> str | None:
    """When it is tried again, as ISO text: behind a breaker nothing is before that; None if no time is set."""
    delivery, circuit = standing.delivery, standing.circuit
    text = None if delivery is None else delivery.due
    if circuit is None or circuit.until is None or (delivery is not None and text is None):
        return text
    return max(iso(circuit.until), text or "")


def remark(standing: Standing, now: datetime) -> str:
    """What a person wants to know beside the word: how often it was tried, what it waits for, what went wrong."""
    delivery = standing.delivery
    parts = [f"after {counted(delivery)}" if delivery is not None and delivery.tries else ""]
    if standing.disposition in ("waiting", "retrying"):
        parts.append(_waits_for(standing, now))
    if delivery is not None and delivery.state == "held":
        parts.append(f"behind {delivery.order_key}")
    if delivery is not None and delivery.error and delivery.error not in parts[-1]:  # it may be why it is paused
        parts.append(delivery.error)
    return ", ".join(filter(None, parts))


def _waits_for(standing: Standing, now: datetime) -> str:
    row, circuit, delivery = standing.subscription, standing.circuit, standing.delivery
    if row.state in STANDING:
        return row.state + (f": {row.state_reason}" if row.state_reason else "")
    if row.state != "active":
        return row.state
    runs_on = delivery is not None and delivery.state == "retrying" and delivery.due is None
    if standing.owner is None and (runs_on or due(next_time(standing), now) in ("", "now")):
        return "no process delivers it"
    if runs_on:
        return "its handler still runs, and nothing is tried until it returns"
    if circuit is not None and circuit.state == "open":
        return f"the breaker {row.breaker!r} is open, next {due(next_time(standing), now)}"
    return f"next {due(delivery.due, now)}" if delivery is not None and delivery.state == "retrying" else ""
