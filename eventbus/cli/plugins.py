"""`eventbus plugins`: which plugins an app finds, what they subscribe, and which failed to load."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from eventbus.cli.loading import bus_option, described, load_bus
from eventbus.cli.place import json_option
from eventbus.cli.screen import Cell, Column, Screen
from eventbus.handlers import Declaration, Handlers, LiveDeclaration, ProjectionDeclaration, ScheduleDeclaration, Target

if TYPE_CHECKING:
    from eventbus.plugins import LoadedPlugin

_COLUMNS = (Column("PLUGIN", gives=True), Column("DISTRIBUTION", gives=True), Column("SUBSCRIBES", gives=True))


@click.command("plugins")
@bus_option
@click.option("--group", metavar="NAME", help="The entry-point group in which the app looks for plugins.")
@json_option
def plugins(bus: str | None, group: str | None, as_json: bool) -> None:
    """List the plugins of a bus, or those that an entry-point group would give it."""
    if (bus is None) == (group is None):
        raise click.UsageError("Give --bus module:attribute or --group NAME.")
    screen = Screen.of(as_json=as_json)
    found = list(load_bus(bus).plugins.values()) if bus is not None else _of_group(str(group))
    if as_json:
        for plugin in found:
            screen.record(_as_record(plugin))
    elif found:
        _write(screen, found)
    else:
        screen.line("The bus has loaded no plugins." if bus is not None else f"No plugin is installed for {group}.")
    screen.flush()


def _of_group(group: str) -> Sequence[LoadedPlugin[Handlers]]:
    from eventbus.plugins import load_plugins

    with _told_here_only():
        return load_plugins(group, make_handlers=Handlers)


@contextmanager
def _told_here_only() -> Generator[None]:
    """A plugin that fails is logged with its traceback; this command has a line for it instead."""
    logger = logging.getLogger("eventbus.plugins")
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _declared(plugin: LoadedPlugin[Handlers]) -> Iterable[tuple[str, str]]:
    """What it declares, as (how, what): live handlers, subscriptions, projections."""
    if plugin.handlers is None:
        return
    for declaration in plugin.handlers.declarations:
        yield _spelled(plugin.name, declaration)


def _spelled(plugin: str, declaration: Declaration) -> tuple[str, str]:
    if isinstance(declaration, ProjectionDeclaration):
        return "project", f"{plugin}/{declaration.projection.name}"
    if isinstance(declaration, ScheduleDeclaration):
        return "publish_every", f"{plugin}/{declaration.name} ({declaration.recurrence.spec})"
    targets = ", ".join(map(_target, declaration.targets))
    if isinstance(declaration, LiveDeclaration):
        return "on", targets
    return "subscribe", f"{plugin}/{declaration.name} ({targets})"


def _target(target: Target) -> str:
    return target if isinstance(target, str) else target.__name__


def _as_record(plugin: LoadedPlugin[Handlers]) -> dict[str, Any]:
    return {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "version": plugin.version,
        "subscribes": [{"how": how, "what": what} for how, what in _declared(plugin)],
        "error": None if plugin.error is None else described(plugin.error),
    }


def _write(screen: Screen, found: Sequence[LoadedPlugin[Handlers]]) -> None:
    rows: list[list[Cell]] = []
    for plugin in found:
        came_from = f"{plugin.distribution} {plugin.version}" if plugin.distribution else ""
        declared = "; ".join(f"{how} {what}" for how, what in _declared(plugin))
        state = Cell("failed", "bad") if plugin.error else Cell(declared or "nothing", "" if declared else "dim")
        rows.append([Cell(plugin.name, "name"), Cell(came_from, "dim"), state])
    layout = screen.layout(_COLUMNS, rows)
    screen.titles(layout)
    for plugin, row in zip(found, rows, strict=True):
        screen.row(layout, row)
        screen.remark(None if plugin.error is None else described(plugin.error))
