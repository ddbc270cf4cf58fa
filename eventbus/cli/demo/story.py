"""What takes place: two processes on one log, and all that can be read of them afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections import Counter

import attrs

from eventbus.cli.demo.app import provider_of
from eventbus.cli.demo.provider import Provider, Request
from eventbus.cli.place import Look
from eventbus.cli.spelling import loaded
from eventbus.errors import EventBusError
from eventbus.store import overview, viewing
from eventbus.store.overview import SubscriptionView
from eventbus.store.reading import Selection
from eventbus.store.viewing import Standing, StoredEvent


@attrs.frozen
class Part:
    """What one of the two processes did, and how it ended."""

    pid: int
    exit: int
    heard: int  # events that its live handler was told of
    stored: int  # events in the log at its end
    charged_only: tuple[str, ...]  # orders that the provider had charged and the log did not know as paid


@attrs.frozen
class Order:
    """The events of one order, what the provider was asked about it, and the deliveries that are not done."""

    name: str
    events: tuple[StoredEvent, ...]
    requests: tuple[Request, ...]
    open: tuple[Standing, ...]


@attrs.frozen
class Story:
    """All there is to tell, as it was read."""

    path: str
    parts: tuple[Part, ...]
    orders: tuple[Order, ...]
    subscriptions: tuple[SubscriptionView, ...]
    requests: tuple[Request, ...]

    def charged(self) -> Counter[str]:
        """How often each order was charged."""
        return Counter(request.order for request in self.requests if request.answer == "charged")


def happen(folder: str | None) -> Story:
    """Let the story take place in `folder`, or in a new temporary one. Raises EventBusError if it does not."""
    path = _place(folder)
    parts = (_play("begin", path), _play("resume", path))
    return _read(path, parts)


def _place(folder: str | None) -> str:
    if folder is None:
        return os.path.join(tempfile.mkdtemp(prefix="eventbus-demo-"), "shop.db")
    os.makedirs(folder, exist_ok=True)
    path = os.path.abspath(os.path.join(folder, "shop.db"))
    if os.path.exists(path) or provider_of(path).exists():
        raise EventBusError(f"There is a demo in {folder} already.", hint="Choose another folder.")
    return path


def _play(part: str, path: str) -> Part:
    """Run one process to its end; the first is expected to be killed, the second to succeed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "eventbus.cli.demo", part, path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    heard, complaint = process.communicate()
    if (process.returncode == 0) != (part == "resume"):
        raise EventBusError(f"The demo's process {part!r} ended with {process.returncode}.", hint=complaint.strip())
    events = _events(path)
    paid = {_order(event) for event in events if event.type.name == "OrderPaid"}
    charged = {request.order for request in _requests(path) if request.answer == "charged"}
    return Part(process.pid, process.returncode, len(heard.split()), len(events), tuple(sorted(charged - paid)))


def _events(path: str) -> list[StoredEvent]:
    look = Look(path)
    try:
        return look.ask(lambda connection: viewing.page(connection, Selection()))
    finally:
        look.close()


def _requests(path: str) -> list[Request]:
    return Provider(provider_of(path)).requests()


def _read(path: str, parts: tuple[Part, ...]) -> Story:
    events, requests = _events(path), _requests(path)
    look = Look(path)
    try:
        views = look.ask(overview.everyone)
        standings = look.ask(lambda connection: {e.position: viewing.standings(connection, e) for e in events})
    finally:
        look.close()
    orders = [
        Order(
            name=name,
            events=tuple(event for event in events if _order(event) == name),
            requests=tuple(request for request in requests if request.order == name),
            open=tuple(
                standing
                for event in events
                if _order(event) == name
                for standing in standings[event.position]
                if standing.disposition != "handled"
            ),
        )
        for name in dict.fromkeys(map(_order, events))
    ]
    return Story(path, parts, tuple(orders), tuple(views), tuple(requests))


def _order(event: StoredEvent) -> str:
    return str(loaded(event.payload)["order"])
