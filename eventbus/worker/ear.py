"""Where a process is woken: a socket for datagrams, which leaves nothing behind."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Set

from eventbus.worker.ends import Ends

_AT_ONCE = 64  # datagrams taken from the queue by one wake-up; a flood must not keep the pump from its work


class SocketEar:
    """Where this process is woken; implements `clock.Ear`."""

    def __init__(self, *, loopback: bool = sys.platform != "linux") -> None:
        self._socket = socket.socket(socket.AF_INET if loopback else socket.AF_UNIX, socket.SOCK_DGRAM)
        if loopback:
            self._socket.bind(("127.0.0.1", 0))
            self.address = f"udp:{self._socket.getsockname()[1]}"
        else:
            name = f"eventbus-{os.getpid()}-{os.urandom(6).hex()}"
            self._socket.bind("\0" + name)
            self.address = f"unix:{name}"
        self._sender = connected(self.address)
        self._poking = threading.Lock()
        self._ends = Ends()

    def watch(self, pids: Set[int]) -> bool:
        """Be woken by the end of these processes as well, and of no others; False if one of them could end unheard."""
        try:
            return self._ends.watch(pids)
        except ProcessLookupError:
            self.poke()  # to have another look at who is there
            return False

    def listen(self, timeout: float | None) -> bool:
        """Wait at most `timeout` seconds for a datagram or an end, and take all datagrams that are there."""
        if self._ends:
            if not self._ends.wait(self._socket, timeout):
                return False
            self._take()
            return True
        try:
            self._socket.settimeout(None if timeout is None else max(0.0, timeout))
            self._socket.recv(1)
        except (BlockingIOError, TimeoutError):
            return False
        except OSError:  # closed meanwhile
            return True
        self._take()
        return True

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.settimeout(0)
            for _ in range(_AT_ONCE):
                self._socket.recv(1)

    def poke(self) -> None:
        """End the wait of this process."""
        with self._poking, contextlib.suppress(OSError):  # a full queue has ended it already
            self._sender.send(b"!")

    def close(self) -> None:
        """Be woken no more."""
        with self._poking:  # the system gives the number of a closed socket to the next file that is opened
            self._socket.close()
            self._sender.close()
            self._ends.close()


def connected(address: str) -> socket.socket:
    """A socket that sends to `address` and never waits. OSError where nobody listens."""
    kind, _, name = address.partition(":")
    sender = socket.socket(socket.AF_INET if kind == "udp" else socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        sender.setblocking(False)
        if kind == "udp":
            sender.connect(("127.0.0.1", int(name)))
        else:
            sender.connect("\0" + name)
    except BaseException:
        sender.close()
        raise
    return sender
