"""Plugins: packages and objects that add handlers to an app, found and called with pluggy.

A plugin is a module or an object with a function `eventbus_subscribe(handlers)`. It needs no import of
eventbus; `hookimpl` is there for those who want pluggy's options, such as `tryfirst`.
"""

from __future__ import annotations

import copy
import inspect
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

import attrs

from eventbus.errors import EventBusError, EventDefinitionError

if TYPE_CHECKING:
    import pluggy

    from eventbus.handlers import Handlers

    hookspec: pluggy.HookspecMarker
    hookimpl: pluggy.HookimplMarker

__all__ = ["HOOK", "LoadedPlugin", "hookimpl", "hookspec", "load_plugins", "named"]

HOOK = "eventbus_subscribe"
LONGEST_NAME = 80
"""Leaves room for the subscription's own name: `plugin/name` has at most 200 characters."""

_PROJECT = "eventbus"
_log = logging.getLogger("eventbus.plugins")

H = TypeVar("H")
D = TypeVar("D")


class Specification:
    """What a plugin may implement."""

    def eventbus_subscribe(self, handlers: Handlers) -> None:
        """Declare the plugin's handlers, subscriptions and projections on `handlers`.

        Called once when the plugin is loaded. The names of subscriptions and projections become
        `plugin/name`.
        """


@attrs.define
class LoadedPlugin(Generic[H]):
    """A plugin and what became of it: `handlers` when it loaded, `error` when it did not."""

    name: str
    handlers: H | None
    distribution: str | None = None
    version: str | None = None
    error: Exception | None = None

    def fail(self, error: Exception) -> None:
        """Report what keeps it from working, which may be known only when the log is opened."""
        self.handlers, self.error = None, error
        origin = f" of {self.distribution} {self.version}" if self.distribution else ""
        _log.error("Plugin %r%s was not loaded: %s", self.name, origin, error, exc_info=error)


def load_plugins(
    *sources: object,
    make_handlers: Callable[[], H],
    taken: Collection[str] = (),
    take_over: Callable[[str, H], object] = lambda name, handlers: None,
) -> list[LoadedPlugin[H]]:
    """Load the plugins of each source: an entry-point group (str), or a module or object itself.

    Each gets handlers of its own from `make_handlers`. One that fails is logged and reported with its
    error, and the others load; so is one whose name is already `taken` or came before, and one whose
    handlers `take_over` refuses.
    """
    manager = _manager()
    names = set(taken)
    loaded: list[LoadedPlugin[H]] = []
    for found in _find(sources):
        plugin = _load(manager, found, make_handlers, names, take_over)
        names.add(plugin.name)
        loaded.append(plugin)
    return loaded


def named(declaration: D, plugin: str) -> D:
    """The same declaration with its durable name, if it has one, as `plugin/name`."""
    value: Any = declaration  # any attrs class will do: the classes of eventbus.handlers are a floor above
    if hasattr(value, "projection"):
        projection = copy.copy(value.projection)  # the plugin's own keeps its name, to be loaded again
        projection.name = f"{plugin}/{projection.name}"
        return cast("D", attrs.evolve(value, projection=projection))
    if hasattr(value, "name"):
        return cast("D", attrs.evolve(value, name=f"{plugin}/{value.name}"))
    return declaration


@attrs.frozen
class _Found:
    """A plugin before it is loaded."""

    name: str
    load: Callable[[], object]
    distribution: str | None = None
    version: str | None = None


def _find(sources: Iterable[object]) -> Iterator[_Found]:
    for source in sources:
        if isinstance(source, str):
            # By name: the order of installation differs from machine to machine.
            for entry in sorted(entry_points(group=source), key=lambda each: each.name):
                yield _of_entry(entry)
        else:
            yield _of_object(source)


def _of_object(source: object) -> _Found:
    fallback = type(source).__name__
    try:
        name: object = getattr(source, "__name__", None)
    except Exception as error:  # of an object's own __getattr__: a plugin that fails, and not its app
        return _Found(fallback, partial(_raise, error))
    return _Found(name if name and isinstance(name, str) else fallback, partial(_itself, source))


def _itself(source: object) -> object:
    return source


def _raise(error: Exception) -> object:
    raise error


def _of_entry(entry: EntryPoint) -> _Found:
    if entry.dist is None:
        return _Found(entry.name, entry.load)
    return _Found(entry.name, entry.load, entry.dist.name, entry.dist.version)


def _load(
    manager: pluggy.PluginManager,
    found: _Found,
    make_handlers: Callable[[], H],
    names: Collection[str],
    take_over: Callable[[str, H], object],
) -> LoadedPlugin[H]:
    plugin: LoadedPlugin[H] = LoadedPlugin(found.name, None, found.distribution, found.version)
    try:
        _check_name(found.name, names)
        fresh = make_handlers()
        _subscribe(manager, found, fresh)
        take_over(found.name, fresh)
        plugin.handlers = fresh
    except Exception as failure:
        plugin.fail(failure)
    except SystemExit as failure:  # of a module that is a script: it must not take the app along
        error = EventBusError(f"Plugin {found.name!r} called sys.exit({failure.code!r}).")
        error.__cause__ = failure
        plugin.fail(error)
    return plugin


def _check_name(name: str, names: Collection[str]) -> None:
    if name in names:
        raise EventDefinitionError(
            f"Another plugin is called {name!r}.", hint="Its durable names would be the same: rename one of them."
        )
    if not name or not name.isprintable() or "/" in name or len(name) > LONGEST_NAME:
        raise EventDefinitionError(
            f"{name!r} cannot name a plugin: 1 to {LONGEST_NAME} printable characters without a slash can."
        )


def _subscribe(manager: pluggy.PluginManager, found: _Found, handlers: object) -> None:
    plugin = found.load()
    if not callable(getattr(plugin, HOOK, None)):
        raise EventDefinitionError(f"Plugin {found.name!r} ({plugin!r}) has no function {HOOK}(handlers).")
    manager.register(plugin, name=found.name)
    others = [each for each in manager.get_plugins() if each is not plugin]
    for result in manager.subset_hook_caller(HOOK, remove_plugins=others)(handlers=handlers):
        _check_result(found.name, result)


def _check_result(name: str, result: object) -> None:
    if inspect.iscoroutine(result):
        result.close()
    if inspect.isawaitable(result) or inspect.isgenerator(result):
        raise EventDefinitionError(
            f"{HOOK} of plugin {name!r} declared nothing: it must be a plain def, without await or yield."
        )


def _manager() -> pluggy.PluginManager:
    import pluggy

    class Manager(pluggy.PluginManager):
        def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
            # Only our names: pluggy would evaluate every property of a plugin object.
            if not name.startswith(f"{_PROJECT}_"):
                return None
            # A plain function of the hook's name will do, as it does for pytest.
            return super().parse_hookimpl_opts(plugin, name) or ({} if name == HOOK else None)

        def parse_hookspec_opts(self, module_or_class: Any, name: str) -> Any:
            return {} if name == HOOK else None

    manager = Manager(_PROJECT)
    manager.add_hookspecs(Specification)
    return manager


def __getattr__(name: str) -> Any:
    # pluggy is imported by those who mark their hooks, not by everyone who imports eventbus.
    if name in ("hookimpl", "hookspec"):
        import pluggy

        marker = pluggy.HookimplMarker if name == "hookimpl" else pluggy.HookspecMarker
        return marker(_PROJECT)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
