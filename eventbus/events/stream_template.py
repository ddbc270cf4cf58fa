"""Stream templates: "order-{order_id}" filled from an event's fields."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from operator import attrgetter
from string import Formatter
from typing import Any

from eventbus.errors import EventDefinitionError, InvalidEvent

Fill = Callable[[Any], str]


def compile_template(template: str, type_name: str, fields: frozenset[str]) -> Fill:
    """A function from an event to its stream; EventDefinitionError unless it uses fields of the event only."""
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise EventDefinitionError(f"{type_name}: the stream template {template!r} is malformed: {error}.") from error
    for _, name, _, conversion in parts:
        if name is not None and conversion:
            raise EventDefinitionError(
                f"{type_name}: the stream template {template!r} converts {name!r} with !{conversion}.",
                hint=f"A template has no conversions: write {{{name}}}.",
            )
        if name is not None and (name.partition(".")[0] not in fields or "[" in name):
            known = ", ".join(sorted(fields)) or "none"
            raise EventDefinitionError(
                f"{type_name}: the stream template {template!r} asks for {name!r}, which is not a field.",
                hint=f"Its fields: {known}.",
            )
    steps = [(text, name, attrgetter(name) if name else None, spec or "") for text, name, spec, _ in parts]

    def fill(event: Any) -> str:
        said = [
            text if get is None else text + _part(event, type_name, name, get, spec) for text, name, get, spec in steps
        ]
        return "".join(said)

    return fill


def _part(event: Any, type_name: str, name: str | None, get: Callable[[Any], Any], spec: str) -> str:
    try:
        value = get(event)
    except AttributeError as error:
        raise InvalidEvent(type_name, name or "", f"has no value, but the stream is named by it: {error}") from error
    if value is None:
        raise InvalidEvent(type_name, name or "", "is None, but the stream is named by it")
    try:
        # an Enum is spelled differently by different Python versions; its value is not
        return format(value.value if isinstance(value, Enum) else value, spec)
    except (TypeError, ValueError) as error:
        raise InvalidEvent(type_name, name or "", f"cannot be put into the stream's name: {error}") from error
