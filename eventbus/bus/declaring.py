"""What one bus has declared: subscriptions and projections, recorded in the log once there is an engine."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from eventbus.bus.transacting import refuse_in_transaction
from eventbus.engine import Engine
from eventbus.engine.definitions import Definition, refuse_other
from eventbus.events import Vocabulary
from eventbus.handlers import Registration
from eventbus.store.transaction import inside
from eventbus.threads import running_loop

if TYPE_CHECKING:
    from eventbus.handlers import ProjectionDeclaration, SubscriptionDeclaration
    from eventbus.worker.work import Work


class Declared:
    """The definitions of one bus, by name; one that is declared again is replaced."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._definitions: list[Definition] = []
        self._engine: Engine | None = None
        self._lock = threading.RLock()

    def give_to(self, engine: Engine) -> None:
        """Have all of them, and those to come, recorded by this engine."""
        with self._lock:
            for definition in self._definitions:
                engine.definitions.add(definition)
            self._engine = engine

    def take_from(self, engine: Engine) -> None:
        """Have none delivered any more; the engine goes on for other buses."""
        for definition in list(self._definitions):
            engine.definitions.remove(definition)

    def define(
        self, declaration: SubscriptionDeclaration | ProjectionDeclaration, publish: Callable[..., Any]
    ) -> Registration:
        """Have a subscription or projection recorded before the next publish; one of its name is replaced.

        On a loop, and inside another log's transaction, nothing may wait for the file: whoever publishes next does.
        """
        # It could be recorded only after the transaction, and would miss silently what that publishes.
        from eventbus.handlers import SubscriptionDeclaration

        verb = "subscribe" if isinstance(declaration, SubscriptionDeclaration) else "project"
        refuse_in_transaction(self._engine, verb, f"Call {verb} before the with block.")
        definition = self._definition(declaration, publish)
        with self._lock:
            others = [each for each in self._definitions if each.name == definition.name]
            for other in others:
                refuse_other(other, definition)
                self._remove(other)
            self._add(definition)
        if self._engine is not None and running_loop() is None and inside() is None:
            try:
                self._engine.definitions.settle(definition)
            except BaseException:  # it is declared or it is not: whoever asked has nothing to close
                with self._lock:
                    self._remove(definition)
                    for other in others:
                        self._add(other)
                raise
        return Registration(lambda: self._remove(definition))

    def _definition(
        self, declaration: SubscriptionDeclaration | ProjectionDeclaration, publish: Callable[..., Any]
    ) -> Definition:
        from eventbus.handlers import SubscriptionDeclaration

        if isinstance(declaration, SubscriptionDeclaration):
            return _Subscription(declaration, self._vocabulary, publish)
        from eventbus.projections.rebuilding import ProjectionDefinition

        return ProjectionDefinition(declaration.projection, declaration.refused)

    def _add(self, definition: Definition) -> None:
        self._definitions.append(definition)
        if self._engine is not None:
            self._engine.definitions.add(definition)

    def _remove(self, definition: Definition) -> None:
        with self._lock:
            if definition in self._definitions:
                self._definitions.remove(definition)
                if self._engine is not None:
                    self._engine.definitions.remove(definition)


class _Subscription:
    """A declared subscription; implements `engine.Definition`."""

    def __init__(
        self, declaration: SubscriptionDeclaration, vocabulary: Vocabulary, publish: Callable[..., Any]
    ) -> None:
        from eventbus.worker.subscribing import SubscriptionWork

        self.declaration, self._vocabulary = declaration, vocabulary
        self._work = SubscriptionWork(declaration, publish)
        self.name, self.qualified = declaration.name, declaration.callee.qualified
        self.refused = declaration.refused

    def settle(self, connection: Any, now: str) -> dict[int, Work]:
        """Bring its row in line."""
        from eventbus.worker import subscribing

        row = subscribing.settle(connection, self.declaration, self._vocabulary, now)
        return {row.id: self._work}
