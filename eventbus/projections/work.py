"""A projection's generation as the pump runs it: strict log order, own tables only, stops at a failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from eventbus.breaker import Breaker
from eventbus.events import Envelope
from eventbus.handlers import Context
from eventbus.placement import Via
from eventbus.projections.definition import Definition, find_method
from eventbus.retry import Retry
from eventbus.worker.work import Handler, Kind


class ProjectionWork:
    """What fills one generation; implements `worker.work.Work`."""

    kind: Kind = "transactional"
    retry: Retry | None = None
    via: Via | None = None
    is_own = False
    in_a_row = True
    synced = False  # a power cut takes the rows and the cursor back together
    key_of: Callable[[Envelope], str | None] | None = None
    concurrency = 1
    batch: int | None = None
    timeout: float | None = None  # its transaction has one
    breaker: Breaker | None = None

    def __init__(self, definition: Definition, generation: int, *, building: bool = False) -> None:
        self.definition, self.generation = definition, generation
        self.building = building  # readers still see the generation before it
        self.tables: frozenset[str] | None = definition.tables(generation)
        self._methods = definition.bound(generation)
        self._found: dict[type, Callable[..., Any] | None] = {}

    def call(self, event: object, context: Context) -> None:
        """Let the projection's method for this event write; there is none for a version that it does not name."""
        if (method := self._method(type(event))) is not None:
            method(event, context.tx)

    def handler_of(self, cls: type) -> Handler:
        """The method for this class."""
        return Handler(self._method(cls), "transaction")

    def _method(self, cls: type) -> Callable[..., Any] | None:
        if cls not in self._found:
            self._found[cls] = find_method(self._methods, cls)
        return self._found[cls]
