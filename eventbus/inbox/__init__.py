"""`bus.ingest` and `bus.inbox`: events from outside, each stored once, and in the order of their sender.

One ingest is one transaction: the sender's row, what waits, what is stored and its keys commit together. The rules
of who comes after whom are in `eventbus.ordering`. A gap that was open for too long is looked at in the pump's
rounds, in whichever process delivers; what it does there is decided again inside its own transaction, so that two
processes never do it twice.
"""

from __future__ import annotations

from eventbus.inbox.gaps import GapWatch
from eventbus.inbox.ingested import Ingested, IngestOptions, Order
from eventbus.inbox.intake import GAPS, MOST_BUFFERED, Intake
from eventbus.inbox.senders import Inbox, Sender, Waiting

__all__ = [
    "GAPS",
    "MOST_BUFFERED",
    "GapWatch",
    "Inbox",
    "IngestOptions",
    "Ingested",
    "Intake",
    "Order",
    "Sender",
    "Waiting",
]
