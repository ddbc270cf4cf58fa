"""The verbs of a bus about one event that was published: `status`, `wait_for`, `wait_for_async`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus.bus.attaching import Attachment
from eventbus.bus.transacting import refuse_in_transaction, refuse_on_a_loop
from eventbus.threads import off_the_loop

if TYPE_CHECKING:
    from eventbus.bus.following import DeliveryStatus, Following
    from eventbus.engine import Engine
    from eventbus.events import Receipt


class Follows:
    """What has become of an event, and waiting for it."""

    _attachment: Attachment

    def status(self, which: str | int | Receipt) -> dict[str, DeliveryStatus]:
        """What has become of an event (its id, position or receipt), for each subscription and projection."""
        return _following(self._attachment.engine()).status(which)

    def wait_for(self, which: str | int | Receipt, subscription: object, timeout: float | None = 5.0) -> DeliveryStatus:
        """Block until an event is settled for a subscription or projection, at most `timeout` seconds (None: no end).

        Returns "handled", "discarded", "dead", "held" (behind a dead one) or "not_applicable"; raises WaitTimeout.
        """
        refuse_in_transaction(self._attachment.attached, "wait_for", "Wait after the with block.")
        refuse_on_a_loop("wait_for", "await bus.wait_for_async(...)")
        engine = self._attachment.engine()
        engine.settle()
        return _following(engine).wait(which, _name_of(subscription), timeout)

    async def wait_for_async(
        self, which: str | int | Receipt, subscription: object, timeout: float | None = 5.0
    ) -> DeliveryStatus:
        """`wait_for` without blocking the loop."""
        refuse_in_transaction(self._attachment.attached, "wait_for_async", "Wait after the with block.")
        engine = await off_the_loop(self._attachment.engine, "open")
        await off_the_loop(engine.settle)
        return await _following(engine).wait_async(which, _name_of(subscription), timeout)


def _following(engine: Engine) -> Following:
    from eventbus.bus.following import Following

    return Following(engine)


def _name_of(subscription: object) -> str:
    from eventbus.bus.readers import name_of

    return name_of(subscription)
