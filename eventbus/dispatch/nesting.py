"""How deep publishes are nested in live handlers on a thread: each takes the stack of all that are around it."""

from __future__ import annotations

import threading

from eventbus.errors import CausationLoop, Link
from eventbus.store.causes import last_turn

MOST_NESTED = 50
"""A level is 8 frames of ours; with 11 of the handler's own, 50 stay within Python's limit of 1,000."""


class Nesting(threading.local):
    """What is being told on this thread, the innermost last: a stored event as a link, the class of an emitted one."""

    def __init__(self) -> None:
        self.told: list[Link | type] = []

    def refuse_deeper(self, type_name: str) -> None:
        """CausationLoop where a live handler publishes in a live handler, and so on, too often."""
        if len(self.told) >= MOST_NESTED:
            links = [(each.__name__, "", 0) if isinstance(each, type) else each for each in self.told]
            how = "each published by a live handler of the one before it"
            raise CausationLoop(type_name, len(links), last_turn(links, type_name), how)


nesting = Nesting()
