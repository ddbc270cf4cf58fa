"""`bus.dead_letters`: what is out of attempts, for a person to look at, try again, mend or give up.

A dead letter is a delivery in a state, so each action is a change of its row. It commits together with the
technical event that tells who did it and why, and with a count on the subscription's row by which whoever
delivers it, in this process or another, notices within a second.
"""

from __future__ import annotations

from eventbus.dead_letters.alerting import Alerts
from eventbus.dead_letters.letter import DeadLetter, Filters
from eventbus.dead_letters.mending import DeadLetters

__all__ = ["Alerts", "DeadLetter", "DeadLetters", "Filters"]
