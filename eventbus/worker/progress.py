"""Something has changed: how threads and coroutines that wait for a delivery hear of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio


class Progress:
    """A condition that threads and any number of asyncio loops can wait for."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._version = 0
        self._futures: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    @property
    def version(self) -> int:
        """Read it before looking at what you wait for; `wait` returns at once if it has grown since."""
        return self._version

    def change(self) -> None:
        """Wake everybody who waits."""
        with self._changed:
            self._version += 1
            self._changed.notify_all()
            waiting, self._futures = self._futures, []
        for loop, future in waiting:
            try:
                loop.call_soon_threadsafe(_resolve, future)
            except RuntimeError:  # its loop was closed; nobody waits there any more
                continue

    def wait(self, version: int, timeout: float | None) -> bool:
        """Block until the version differs from `version`; False after `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: self._version != version, timeout)

    async def wait_async(self, version: int, timeout: float | None) -> bool:
        """The same for a coroutine."""
        import asyncio

        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._changed:
            if self._version != version:
                return True
            self._futures.append((loop, future))
        try:
            done, _ = await asyncio.wait([future], timeout=timeout)
            return bool(done)
        finally:
            with self._changed:  # one that timed out or was cancelled is not kept until the next change
                self._futures = [each for each in self._futures if each[1] is not future]


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
