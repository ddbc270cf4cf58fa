"""The verbs of a bus for events from outside: `ingest`, `ingest_async`, and `inbox`, which shows what waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from eventbus.bus.attaching import Attachment
from eventbus.later import Later

if TYPE_CHECKING:
    from eventbus.bus.ingesting import Ingesting
    from eventbus.bus.publishing import Publishing
    from eventbus.inbox import Inbox, Ingested, IngestOptions


class Ingests:
    """The verbs of a bus for events from outside."""

    _ingesting: Later[Ingesting]

    def ingest(self, event: object, *, source: str, id: str, **how: Unpack[IngestOptions]) -> Ingested:
        """Store an event from outside, once for each `source` and `id`; when this returns, it is committed.

        `sequence`: the sender's number, from 1 in each stream unless `first=` says otherwise. What comes too early
        waits in the file for those before it, and `on_gap` ("wait", "skip", "dead") says what follows when they
        have not come within `gap_timeout` seconds. `stream`, `metadata`, `correlation_id`, `causation_id` are those of
        `publish`. Raises InvalidEvent, IdempotencyConflict, SequenceConflict, InboxFull, PublishInDoubt or a LogError.
        """
        return self._ingesting().ingest(event, source, id, how)

    async def ingest_async(self, event: object, *, source: str, id: str, **how: Unpack[IngestOptions]) -> Ingested:
        """`ingest` without waiting for the disk on the loop; async live handlers are awaited, all together."""
        return await self._ingesting().ingest_async(event, source, id, how)

    @property
    def inbox(self) -> Inbox:
        """The senders that number their events: what is missing, what waits for it, and `skip`."""
        return self._ingesting().inbox()


def ingesting(attachment: Attachment, publishing: Publishing) -> Later[Ingesting]:
    """The room behind the verbs; loaded by the first of them, or by the first delivery, since gaps have timeouts."""

    def make() -> Ingesting:
        from eventbus.bus.ingesting import Ingesting

        return Ingesting(attachment, publishing)

    room = Later(make)
    attachment.watches.append(lambda engine: room().watch(engine))
    attachment.hurry = lambda: room().hurry()
    return room
