"""The outbox: rows that any connection inserts into `eventbus_outbox` become events, in order, each once.

Of the log's own file a page is checked, appended and removed by one commit. Of another application's file it is
appended by a commit of the log's, which notes the rows, and then removed there; where a crash comes in between,
the note says that they are in the log. What can become no event is kept in the log as an OutboxRefused, and is a
dead letter of the subscription "eventbus.outbox".
"""

from __future__ import annotations

from eventbus.outbox.doors import Door, OtherFile, OwnFile
from eventbus.outbox.moving import Outboxes
from eventbus.outbox.refusing import SUBSCRIPTION

__all__ = ["SUBSCRIPTION", "Door", "OtherFile", "Outboxes", "OwnFile"]
