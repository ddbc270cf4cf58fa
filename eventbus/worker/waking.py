"""Waking the other processes that deliver from the same log: a datagram to each after a commit.

A datagram says nothing but "look at the log", so one that is lost or forged costs a look, or up to a second.
On Linux the sockets have abstract names, which leave nothing behind; elsewhere they are UDP on the loopback.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
from collections.abc import Set
from typing import TYPE_CHECKING

from eventbus.clock import Bell, Clock, iso
from eventbus.errors import EventBusError
from eventbus.store import listeners
from eventbus.store.storage import Storage

if TYPE_CHECKING:
    import socket

    from eventbus.worker.ear import SocketEar

LISTED_SECONDS = 0.05  # how long a list of listeners is taken for good, so that a publish costs no query
SETTLING_SECONDS = 0.1  # a process that joined looks this often while others may still have the list without it
_GONE = frozenset({errno.ECONNREFUSED, errno.ECONNRESET, errno.ENOENT, errno.ENOTCONN})

_log = logging.getLogger("eventbus.worker")


class Neighbours:
    """The other processes on the log, as this one wakes them and is woken by them."""

    def __init__(self, storage: Storage, clock: Clock, bell: Bell) -> None:
        self._storage, self._clock, self._bell = storage, clock, bell
        self._ear: SocketEar | None = None
        self._senders: dict[str, socket.socket] = {}
        self._gone: set[str] = set()
        self._read_again = self._settled = 0.0
        self._lock = threading.Lock()

    # -- being woken -------------------------------------------------------------------------------
    def join(self) -> None:
        """Have commits of other processes ring the bell; in memory there are none."""
        from eventbus.worker.ear import SocketEar

        if self._ear is not None or self._storage.location.memory:
            return
        try:
            ear = SocketEar()
        except OSError as error:
            _log.info("other processes cannot wake this one, which looks once a second: %s", error)
            return
        try:
            with self._storage.writing(synced=False) as connection:
                listeners.join(connection, ear.address, os.getpid(), iso(self._clock.time()))
        except BaseException:
            ear.close()
            raise
        self._bell.ear = self._ear = ear
        self._settled = self._clock.monotonic() + SETTLING_SECONDS

    @property
    def is_settling(self) -> bool:
        """True while another process may not have heard that this one listens."""
        return self._clock.monotonic() < self._settled

    def watch(self, pids: Set[int]) -> bool:
        """Be woken when one of these processes ends; False if one of them could end unheard."""
        return not pids if self._ear is None else self._ear.watch(pids)

    def tidy(self) -> None:
        """Take those off the list who ended without leaving it."""
        gone = list(self._gone)
        if gone:
            with self._storage.writing(synced=False) as connection:
                listeners.leave(connection, gone)
            self._gone.difference_update(gone)

    def leave(self) -> None:
        """Be woken no more, and tell the others once more to look: what this process delivered is theirs."""
        ear, self._ear = self._ear, None
        if ear is not None:
            with contextlib.suppress(EventBusError), self._storage.writing(synced=False) as connection:
                listeners.leave(connection, [ear.address])
            self._bell.ear = None
            ear.close()
            self._read_again = 0.0
            self.wake()
        with self._lock:
            self._keep(frozenset())

    # -- waking ------------------------------------------------------------------------------------
    def wake(self) -> None:
        """Have the others look at the log; never raises, for what it tells of is stored."""
        now = self._clock.monotonic()
        if (now < self._read_again and not self._senders) or self._storage.location.memory:
            return
        with self._lock:
            if now >= self._read_again:
                self._read_again = now + LISTED_SECONDS
                self._read()
            for address, sender in list(self._senders.items()):
                try:
                    sender.send(b"!")
                except OSError as error:  # of the others the likeliest is a full queue: it is being woken already
                    if error.errno in _GONE:
                        self._gone.add(address)
                        sender.close()
                        del self._senders[address]

    def _read(self) -> None:
        """Read the list again, and have a socket for each on it."""
        try:
            with self._storage.reading() as connection:
                listed = set(listeners.everyone(connection))
        except EventBusError as error:
            _log.debug("nobody was woken: %s", error)
            return
        if self._ear is not None:
            listed.discard(self._ear.address)
        listed -= self._gone
        if listed != self._senders.keys():
            self._keep(listed)
        strangers = listed - self._senders.keys()
        if not strangers:
            return
        from eventbus.worker.ear import connected  # a process without company needs no sockets

        for address in strangers:
            try:
                self._senders[address] = connected(address)
            except OSError as error:
                if error.errno in _GONE:
                    self._gone.add(address)

    def _keep(self, listed: Set[str]) -> None:
        # Under the lock, as sending is: a number that was closed may be another file's by the time it is sent to.
        for address in self._senders.keys() - listed:
            self._senders.pop(address).close()
