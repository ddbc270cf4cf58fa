"""`eventbus demo`: a story to look at; `eventbus.cli.demo` tells it."""

from __future__ import annotations

import click

from eventbus.cli.place import json_option


@click.command("demo", short_help="Watch an order story survive a crash.")
@click.option("--folder", type=click.Path(file_okay=False), help="Where its log goes; else a new temporary folder.")
@json_option
def demo(folder: str | None, as_json: bool) -> None:
    """Run an order story in a temporary folder: a flaky payment provider, a dead letter, and a process that kills
    itself between a charge and its note, and is resumed by another."""
    from eventbus.cli.demo import run

    run(folder, as_json)
