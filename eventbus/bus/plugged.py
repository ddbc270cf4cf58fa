"""The plugins of a bus: loaded, unloaded, and taken out again when the log refuses what they declare."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import attrs

from eventbus.errors import EventBusError
from eventbus.handlers import Declaration, Handlers, LiveDeclaration, Registration

if TYPE_CHECKING:
    from eventbus.plugins import LoadedPlugin


class Plugged:
    """What is loaded into one bus, by name."""

    def __init__(self, declare: Callable[[Declaration], Registration]) -> None:
        self._declare = declare
        self._plugins: dict[str, tuple[LoadedPlugin[Handlers], Registration]] = {}

    def load(self, *sources: object) -> list[LoadedPlugin[Handlers]]:
        """Load them all; one that fails is reported with its `error`."""
        from eventbus.plugins import load_plugins, named

        taken_over: dict[str, Registration] = {}
        refusals: dict[str, EventBusError] = {}

        def refused(name: str, error: EventBusError) -> None:
            refusals.setdefault(name, error)
            self._take_out(name, error)

        def take_over(name: str, handlers: Handlers) -> None:
            def declare(declaration: Declaration) -> Registration:
                declaration = named(declaration, name)
                if not isinstance(declaration, LiveDeclaration):
                    declaration = attrs.evolve(declaration, refused=partial(refused, name))
                return self._declare(declaration)

            taken_over[name] = handlers.follow(declare)

        loaded = load_plugins(*sources, make_handlers=Handlers, taken=self._plugins, take_over=take_over)
        for plugin in loaded:
            if plugin.error is None:
                self._plugins[plugin.name] = plugin, taken_over[plugin.name]
                if plugin.name in refusals:  # by another thread, which found nothing here to take out yet
                    self._take_out(plugin.name, refusals[plugin.name])
        return loaded

    def unload(self, name: str) -> None:
        """Take all of a plugin out. EventBusError if it is not loaded."""
        if name not in self._plugins:
            raise EventBusError(f"No plugin {name!r} is loaded.")
        self._plugins.pop(name)[1].close()

    def loaded(self) -> dict[str, LoadedPlugin[Handlers]]:
        """What is loaded now."""
        return {name: plugin for name, (plugin, _) in self._plugins.items()}

    def _take_out(self, name: str, error: EventBusError) -> None:
        plugin, registration = self._plugins.pop(name, (None, None))
        if plugin is not None and registration is not None:
            registration.close()
            plugin.fail(error)
