"""What a projection is, as its author writes it: tables, a version, and a method for each event."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, overload

from eventbus.errors import EventDefinitionError
from eventbus.events import event_type
from eventbus.events.event_type import MARK
from eventbus.handlers.declarations import check_name
from eventbus.store import readmodels
from eventbus.store.readmodels import TableShape
from eventbus.store.subscriptions import Match

TypeKey = tuple[str, int]  # name and version

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,59}")


class Table:
    """A table of a projection: `columns` as they stand in CREATE TABLE (...), `indexes` as lists of columns.

    Formatted into SQL it is the table's name: inside a handler that of the generation being built,
    elsewhere the view that readers see.
    """

    def __init__(self, columns: str, *, indexes: Sequence[str] = ()) -> None:
        if isinstance(indexes, str):
            raise EventDefinitionError("indexes= is a list, each entry the columns of one index.")
        self.columns, self.indexes = columns, tuple(indexes)
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, instance: None, owner: type) -> Table: ...
    @overload
    def __get__(self, instance: Projection, owner: type) -> str: ...
    def __get__(self, instance: Projection | None, owner: type) -> Table | str:
        return self if instance is None else str(self)

    def __str__(self) -> str:
        return f'"{self.name}"'

    def shape(self) -> TableShape:
        """The same as the store knows it."""
        return TableShape(self.name, self.columns, self.indexes)


class Projection:
    """The base of a read model: subclass it, give it tables, and mark methods with `@handles`.

    `version` is raised when a handler means something new: the bus then builds new tables behind the
    old ones and swaps. `name` defaults to the class's name in snake_case.
    """

    version: int = 1
    name: str = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" not in cls.__dict__:
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls.__name__).lower()


class Definition:
    """A projection that was looked at: its tables, its handlers, and what makes it the same as before."""

    def __init__(self, projection: Projection) -> None:
        given: Any = projection  # whatever bus.project was called with
        if not isinstance(given, Projection):
            raise EventDefinitionError(
                f"bus.project takes a Projection, as a class or an instance, not {given!r}.",
                hint="Derive it: class Sales(Projection).",
            )
        self.projection, self.name, self.version = projection, projection.name, projection.version
        self._refuse_bad_names()
        cls = type(projection)
        tables = [value for value in _members(cls).values() if isinstance(value, Table)]
        self.shapes = tuple(table.shape() for table in tables)
        self.methods = _methods(type(projection), self.name)
        self._refuse_bad_tables()
        if not self.methods:
            raise EventDefinitionError(
                f"The projection {self.name!r} handles no event.", hint="Mark a method with @handles(OrderPlaced)."
            )

    @property
    def digest(self) -> str:
        """Equal as long as the tables need not be built again."""
        shapes = [[shape.name, shape.columns, list(shape.indexes)] for shape in self.shapes]
        events = sorted(f"{name} {version}" for name, version in self.methods)
        return json.dumps({"version": self.version, "tables": shapes, "events": events})

    @property
    def matches(self) -> tuple[Match, ...]:
        """What it hears, from the beginning of the log."""
        return tuple(Match(name, "base", 0, version=version) for name, version in sorted(self.methods))

    def tables(self, generation: int) -> frozenset[str]:
        """The only tables that a generation may touch."""
        return frozenset(shape.stored(generation) for shape in self.shapes)

    def bound(self, generation: int) -> Mapping[TypeKey, Callable[..., Any]]:
        """The methods by event type and version, of a copy that writes to the tables of one generation."""
        mine = copy.copy(self.projection)
        for name, value in _members(type(mine)).items():
            if isinstance(value, Table):  # a handler asks for it at each event: what is in here is found before Table
                mine.__dict__[name] = f'"{value.shape().stored(generation)}"'
        return {key: getattr(mine, method) for key, method in self.methods.items()}

    def _refuse_bad_names(self) -> None:
        check_name(self.name)
        if type(self.version) is not int:
            raise EventDefinitionError(f"The version of projection {self.name!r} must be an int, not {self.version!r}.")

    def _refuse_bad_tables(self) -> None:
        for shape in self.shapes:
            if not _IDENTIFIER.fullmatch(shape.name) or shape.name.startswith(("eventbus_", "sqlite_")):
                raise EventDefinitionError(f"{shape.name!r} cannot name a projection's table.")
        if not self.shapes:
            raise EventDefinitionError(
                f"The projection {self.name!r} has no table.", hint='Give it one: sales = Table("id TEXT PRIMARY KEY").'
            )
        readmodels.check(self.shapes, f"Projection {self.name!r}")


def find_method(methods: Mapping[TypeKey, Callable[..., Any]], cls: type) -> Callable[..., Any] | None:
    """The method for events of a class: that of the class itself, else of the nearest base; None if it is not meant.

    A base means all versions of what derives from it, so that a base of another version will do.
    """
    type_ = event_type(cls)
    marks = [base.__dict__[MARK] for base in type_.cls.__mro__ if MARK in base.__dict__]
    exact = [methods[mark.name, mark.version] for mark in marks if (mark.name, mark.version) in methods]
    by_name = [method for base in type_.bases for (name, _), method in methods.items() if name == base]
    return next(iter(exact + by_name), None)


def _methods(cls: type, projection: str) -> dict[TypeKey, str]:
    """Which method is for which event class."""
    found: dict[TypeKey, str] = {}
    for name, value in _members(cls).items():
        for handled in getattr(value, "__eventbus_handles__", ()):
            type_ = event_type(handled)
            earlier = found.setdefault((type_.name, type_.version), name)
            if earlier != name:
                raise EventDefinitionError(
                    f"Projection {projection!r}: {earlier} and {name} are both for {type_.name!r}"
                    f" version {type_.version}."
                )
    return found


def _members(cls: type) -> dict[str, Any]:
    """Everything in the class and its bases, as it stands there, overridden names once."""
    members: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        members.update(vars(base))
    return members
