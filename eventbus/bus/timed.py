"""The verbs of a bus that are about time: `publish_at`, `publish_at_async` and `schedules`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from eventbus.bus.attaching import Attachment
from eventbus.later import Later
from eventbus.threads import off_the_loop

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from eventbus.bus.scheduling import Scheduling
    from eventbus.handlers import CatchUp
    from eventbus.schedules import Schedule, Schedules
    from eventbus.store.drafter import Drafter


class Timed:
    """The verbs of a bus that are about time; `publish_every` is one of `Handlers`."""

    source: str
    _scheduling: Later[Scheduling]

    def publish_at(
        self,
        event: object,
        when: datetime | timedelta | float,
        *,
        catch_up: CatchUp = "latest",
        stream: str | None = None,
        id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
    ) -> Schedule:
        """Publish an event later: at an aware datetime, or in so many seconds (a timedelta will do as well).

        When this returns, it is stored, and is published once by a process that delivers; `name` of what is returned is
        the id it will have. One whose time has passed meanwhile is published late, unless `catch_up="skip"`. The same
        `id` again schedules nothing. Raises InvalidEvent, IdempotencyConflict, EventBusError for a time that is none.
        """
        how = {
            "stream": stream,
            "id": id,
            "metadata": metadata,
            "correlation_id": correlation_id,
            "causation_id": causation_id,
        }
        return self._scheduling().at(event, when, catch_up, how)

    async def publish_at_async(
        self,
        event: object,
        when: datetime | timedelta | float,
        *,
        catch_up: CatchUp = "latest",
        stream: str | None = None,
        id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        correlation_id: str | None = None,
        causation_id: str | None = None,
    ) -> Schedule:
        """`publish_at` without waiting for the disk on the loop."""
        how = {
            "stream": stream,
            "id": id,
            "metadata": metadata,
            "correlation_id": correlation_id,
            "causation_id": causation_id,
        }
        return await off_the_loop(lambda: self._scheduling().at(event, when, catch_up, how))

    @property
    def schedules(self) -> Schedules:
        """What is scheduled: `list`, `get`, `cancel`, `resume`, `forget`."""
        return self._scheduling().schedules(self.source)


def scheduling(attachment: Attachment, drafter: Drafter) -> Later[Scheduling]:
    """The room behind the verbs; loaded by the first of them, or by the first factory."""

    def make() -> Scheduling:
        from eventbus.bus.scheduling import Scheduling

        return Scheduling(attachment, drafter)

    return Later(make)
