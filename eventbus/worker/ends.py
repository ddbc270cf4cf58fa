"""Hearing of the end of other processes, so that what they delivered is taken over at once.

Linux has a descriptor for a process, which can be waited for like a socket, together with others: no thread has
to block in a lock, where nothing could call it back when the bus is closed. Elsewhere nothing is heard, and
whoever stands by looks again and again.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
from collections.abc import Set


class Ends:
    """The processes whose end is listened for; used by one thread at a time."""

    def __init__(self) -> None:
        self._descriptors: dict[int, int] = {}  # by process id

    def __bool__(self) -> bool:
        return bool(self._descriptors)

    def watch(self, pids: Set[int]) -> bool:
        """Listen for the end of these and of no others; False if that of one of them will not be heard.

        Raises ProcessLookupError if one of them has ended already.
        """
        for pid in self._descriptors.keys() - pids:
            os.close(self._descriptors.pop(pid))
        if not hasattr(os, "pidfd_open"):
            return not pids
        for pid in pids - self._descriptors.keys():
            try:
                self._descriptors[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                raise
            except (OSError, ValueError):  # an old kernel, a sandbox, a process of another container
                return False
        return True

    def wait(self, ear: socket.socket, timeout: float | None) -> bool:
        """Wait at most `timeout` seconds until one of them ends or `ear` has something; False if neither came.

        One that has ended is listened for no longer.
        """
        poll = select.poll()
        try:
            poll.register(ear, select.POLLIN)
            for descriptor in self._descriptors.values():
                poll.register(descriptor, select.POLLIN)
            ready = {descriptor for descriptor, _ in poll.poll(None if timeout is None else _milliseconds(timeout))}
        except (OSError, ValueError):  # closed meanwhile
            return True
        for pid in [pid for pid, descriptor in self._descriptors.items() if descriptor in ready]:
            os.close(self._descriptors.pop(pid))
        return bool(ready)

    def close(self) -> None:
        """Listen for none."""
        while self._descriptors:
            with contextlib.suppress(OSError):
                os.close(self._descriptors.popitem()[1])


def _milliseconds(seconds: float) -> int:
    """Rounded up, so that a wait never ends before its time."""
    return math.ceil(max(0.0, seconds) * 1000)
