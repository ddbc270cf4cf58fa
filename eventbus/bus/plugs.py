"""The verbs of a bus for plugins: `load_plugins`, `unload_plugin`, `plugins`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from eventbus.later import Later

if TYPE_CHECKING:
    from eventbus.bus.plugged import Plugged
    from eventbus.handlers import Declaration, Handlers, Registration
    from eventbus.plugins import LoadedPlugin


class Plugs:
    """Plugins that declare handlers on a bus."""

    _plugged: Later[Plugged]

    def load_plugins(self, *sources: object) -> list[LoadedPlugin[Handlers]]:
        """Load plugins: the names of entry-point groups, or modules and objects with `eventbus_subscribe`.

        One that fails is reported with its `error`, and the others load; one that the log refuses when it is opened is
        taken out then. Durable names become "plugin/name".
        """
        return self._plugged().load(*sources)

    def unload_plugin(self, name: str) -> None:
        """Take all of a plugin out; its subscriptions stay in the log as orphans, and go on when it is back."""
        self._plugged().unload(name)

    @property
    def plugins(self) -> dict[str, LoadedPlugin[Handlers]]:
        """What is loaded, by name."""
        return self._plugged().loaded()


def plugged(declare: Callable[[Declaration], Registration]) -> Later[Plugged]:
    """The room behind the verbs; loaded by the first of them."""

    def make() -> Plugged:
        from eventbus.bus.plugged import Plugged

        return Plugged(declare)

    return Later(make)
