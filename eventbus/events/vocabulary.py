"""Which event classes there are: all that are loaded, and those that one bus has met."""

from __future__ import annotations

import gc
import threading
import weakref

from eventbus.errors import EventDefinitionError
from eventbus.events.event_type import MARK, EventType, event_type

_Key = tuple[str, int]

# weak, so that classes made in functions and tests go away with them
_loaded: dict[_Key, dict[str, weakref.ref[type]]] = {}
_loading = threading.Lock()
_version = 0  # of what is loaded: it grows with each class


def remember(type_: EventType) -> None:
    """Note a class that was just defined; one of the same module and qualified name is replaced."""
    global _version
    with _loading:
        _version += 1
        _loaded.setdefault((type_.name, type_.version), {})[type_.qualified] = weakref.ref(type_.cls)


def _alive(key: _Key) -> dict[str, EventType]:
    with _loading:
        found = {qualified: ref() for qualified, ref in _loaded.get(key, {}).items()}
    return {qualified: cls.__dict__[MARK] for qualified, cls in found.items() if cls is not None}


def _reloaded(met: EventType) -> EventType | None:
    """The last definition of the class, which a notebook or a reload may have made anew."""
    last = _loaded.get((met.name, met.version), {}).get(met.qualified)
    cls = last() if last is not None else None
    return cls.__dict__[MARK] if cls is not None else None


class Vocabulary:
    """The event classes that one bus has met, by class and by (name, version)."""

    def __init__(self) -> None:
        self._by_class: dict[type, EventType] = {}
        self._by_name: dict[_Key, EventType] = {}
        self._last: dict[_Key, tuple[int, EventType]] = {}  # what was found, and when
        self._lock = threading.Lock()
        self._joined: Vocabulary | None = None

    def join(self, other: Vocabulary) -> None:
        """Whatever is or will be met here is met there as well: the buses of one log have one vocabulary.

        EventDefinitionError when two classes of one name meet by that; nothing is joined then.
        """
        self._joined = other
        try:
            for type_ in self.met():
                other.meet(type_.cls)
        except EventDefinitionError:
            self._joined = None
            raise

    def meet(self, cls: type) -> EventType:
        """The type of an event class, from now on known here.

        EventDefinitionError when another class (not a reload of the same one) has its name and version.
        """
        known = self._by_class.get(cls)
        if known is not None:
            return known
        met = self._joined.meet(cls) if self._joined is not None else event_type(cls)
        with self._lock:
            other = self._by_name.get((met.name, met.version))
            if other is not None and other.qualified != met.qualified:
                raise _two_classes(met.name, met.version, [other.qualified, met.qualified])
            self._by_name[met.name, met.version] = met
            self._by_class[cls] = met
        return met

    @property
    def version(self) -> tuple[int, int]:
        """It differs once there may be a class that was not found before."""
        return _version, len(self._by_class)

    def met(self) -> list[EventType]:
        """All that were met."""
        return list(self._by_name.values())

    def find(self, name: str, version: int) -> EventType | None:
        """The class met here, as last defined, or the one class that is loaded; None if there is none.

        EventDefinitionError if several are loaded and none was met.
        """
        last = self._last.get((name, version))
        if last is not None and last[0] == _version:
            return last[1]
        now, met = _version, self._by_name.get((name, version))
        if met is not None:
            met = _reloaded(met) or met
            self._last[name, version] = (now, met)
            return met
        loaded = _alive((name, version))
        if len(loaded) > 1:
            del loaded
            gc.collect()  # a class is part of a cycle: one that nobody uses may still be there
            loaded = _alive((name, version))
        if len(loaded) > 1:
            raise _two_classes(name, version, sorted(loaded))
        return next(iter(loaded.values()), None)

    def other_versions(self, name: str, version: int) -> tuple[int, ...]:
        """The versions of an event type, but for this one, whose classes were met here or are loaded."""
        with _loading:
            loaded = [key for key in _loaded if key[0] == name]
        alive = {key for key in loaded if _alive(key)} | {key for key in list(self._by_name) if key[0] == name}
        return tuple(sorted(each for _, each in alive if each != version))


def _two_classes(name: str, version: int, qualified: list[str]) -> EventDefinitionError:
    return EventDefinitionError(
        f"The event type {name!r} version {version} has {len(qualified)} classes: {', '.join(qualified)}.",
        hint='Give one of them another name or version: @event(name="...", version=...).',
    )
