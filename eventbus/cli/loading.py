"""The app's own code, for the commands that need it: --bus module:attribute."""

from __future__ import annotations

import importlib
import inspect
import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from eventbus.cli.place import from_environment

if TYPE_CHECKING:
    from eventbus.bus import EventBus

_MACHINERY = frozenset({"eventbus", "pluggy", "importlib", "_frozen_importlib", "_frozen_importlib_external"})
"""Packages whose lines say nothing of what is wrong with an app or a plugin."""

_HELP = "The app's bus, or a function that makes one; it gets FILE if it can take it."

bus_option = click.option("--bus", metavar="MODULE:ATTRIBUTE", help=_HELP)
needed_bus_option = click.option("--bus", metavar="MODULE:ATTRIBUTE", required=True, help=_HELP)


class NotLoaded(click.ClickException):
    """--bus names nothing that can be used."""

    exit_code = 2


def load_bus(spec: str, file: str | None = None) -> EventBus:
    """The bus that `spec` names; NotLoaded says what is wrong with it.

    A function that can take one argument is given `file`, or else EVENTBUS_LOG. A bus of another file than `file`
    is refused.
    """
    found = _bus(spec, file)
    if file is not None and (found.path is None or os.path.realpath(found.path) != os.path.realpath(file)):
        raise NotLoaded(f"--bus {spec} is a bus on {found.path or 'memory'}, not on {file}.")
    return found


def declared_names(spec: str, file: str | None) -> frozenset[str]:
    """The names of the subscriptions and projections that the bus declares; the log is not opened for it.

    The bus may be one of another file: what is looked at can be a copy.
    """
    from eventbus.handlers import ProjectionDeclaration, SubscriptionDeclaration
    from eventbus.inbox import GAPS
    from eventbus.outbox import SUBSCRIPTION

    names = {GAPS, SUBSCRIPTION}  # every bus that delivers has them
    for declaration in _bus(spec, file).declarations:
        if isinstance(declaration, SubscriptionDeclaration):
            names.add(declaration.name)
        elif isinstance(declaration, ProjectionDeclaration):
            names.add(declaration.projection.name)
    return frozenset(names)


def declared_schedules(spec: str, file: str | None) -> frozenset[str]:
    """The names of the schedules that the bus declares; the log is not opened for it."""
    from eventbus.handlers import ScheduleDeclaration

    found = _bus(spec, file).declarations
    return frozenset(each.name for each in found if isinstance(each, ScheduleDeclaration))


def described(error: BaseException) -> str:
    """The error and the line of the app that it came from."""
    import traceback

    lines = [
        (frame.f_code.co_filename, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if str(frame.f_globals.get("__name__")).partition(".")[0] not in _MACHINERY
    ]
    where = " ({}:{})".format(*lines[-1]) if lines else ""
    if isinstance(error, SystemExit):
        return f"it called sys.exit({error.code!r}){where}"
    return f"{type(error).__name__}: {error}{where}"


def _bus(spec: str, file: str | None) -> EventBus:
    from eventbus.bus import EventBus

    found = _named(spec)
    if callable(found) and (not inspect.isclass(found) or issubclass(found, EventBus)):
        found = _made(spec, found, file)
    if not isinstance(found, EventBus):
        raise NotLoaded(f"--bus {spec}: this is neither an EventBus nor a function that makes one.")
    return found


def _named(spec: str) -> Any:
    module_name, _, attribute = spec.partition(":")
    if not module_name or not attribute:
        raise NotLoaded(f"--bus {spec}: write it as module:attribute, such as shop.app:bus.")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())  # as `python -m` does: the app is usually where the person stands
    with _reported(f"--bus {spec}: importing {module_name} failed"):
        found: Any = importlib.import_module(module_name)
    for name in attribute.split("."):
        with _reported(f"--bus {spec}: looking for {attribute} failed"):
            known = hasattr(found, name)
            found = getattr(found, name, None)
        if not known:
            raise NotLoaded(f"--bus {spec}: {module_name} has no attribute {attribute}.")
    return found


def _made(spec: str, make: Callable[..., Any], file: str | None) -> Any:
    with _reported(f"--bus {spec}: calling it failed"):
        signature = inspect.signature(make)
    path = file or os.environ.get("EVENTBUS_LOG")
    alone, with_file = _takes(signature), _takes(signature, path)
    if not alone and not with_file:
        raise NotLoaded(f"--bus {spec}: it needs more than FILE: {signature}.")
    if not alone:
        path = file or from_environment()
    with _reported(f"--bus {spec}: calling it failed"):
        return make(path) if path and with_file else make()


def _takes(signature: inspect.Signature, *arguments: object) -> bool:
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


@contextmanager
def _reported(what: str) -> Generator[None]:
    """Whatever the app's code raises, sys.exit() included, is one sentence."""
    try:
        yield
    except (Exception, SystemExit) as error:
        raise NotLoaded(f"{what}: {described(error)}.") from error
