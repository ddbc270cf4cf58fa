"""The `eventbus` program: its commands, each in a file that is loaded when it is asked for."""

from __future__ import annotations

import gc
import importlib

import click

_COMMANDS = {  # in the order of --help: what a newcomer needs comes first
    "demo": "eventbus.cli.demonstrate:demo",
    "run": "eventbus.cli.run:run",
    "log": "eventbus.cli.log:log",
    "tail": "eventbus.cli.log:tail",
    "show": "eventbus.cli.show:show",
    "subscriptions": "eventbus.cli.subscriptions:subscriptions",
    "pause": "eventbus.cli.pausing:pause",
    "resume": "eventbus.cli.pausing:resume",
    "rewind": "eventbus.cli.rewind:rewind",
    "dead": "eventbus.cli.dead:dead",
    "inbox": "eventbus.cli.inbox:inbox",
    "replay": "eventbus.cli.replay:replay",
    "projections": "eventbus.cli.projections:projections",
    "schedules": "eventbus.cli.schedules:schedules",
    "plugins": "eventbus.cli.plugins:plugins",
    "doctor": "eventbus.cli.doctor:doctor",
    "salvage": "eventbus.cli.salvage:salvage",
    "backup": "eventbus.cli.backup:backup",
}


class Program(click.Group):
    """A group that knows its commands by name, and loads one when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, _, name = _COMMANDS[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        _collect_again()
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in _COMMANDS and not name.startswith("-"):
            import difflib

            close = difflib.get_close_matches(name, _COMMANDS, 1)
            raise click.UsageError(f"No such command {name!r}.{f' Did you mean {close[0]}?' if close else ''}", ctx)
        return super().resolve_command(ctx, args)


def _collect_again() -> None:
    """What was loaded is no garbage: to look through it for some, also at exit, takes 14 of a command's 100 ms."""
    if not gc.isenabled():
        gc.freeze()
        gc.enable()


def _say_version(context: click.Context, option: click.Parameter, asked: bool) -> None:
    """That of the code that runs, installed or not."""
    if asked:
        from eventbus import __version__

        click.echo(f"eventbus, version {__version__}")
        context.exit()


@click.command(cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_say_version,
    help="Show the version and exit.",
)
def program() -> None:
    """Look at an event log, and run what subscribes to it.

    FILE is the log. Instead of it, --app NAME means the log of that app in the platform's folder for user data; without
    either, EVENTBUS_LOG names the log. What only looks at a log never creates or changes anything.
    """
