"""`eventbus backup`: a copy of a log, whoever writes to it."""

from __future__ import annotations

import time

import attrs
import click

from eventbus.cli.place import app_option, json_option, locate
from eventbus.cli.progress import Progress
from eventbus.cli.screen import Screen
from eventbus.cli.units import plural, size, span


@click.command("backup")
@click.argument("words", nargs=-1, metavar="[FILE] NEW")
@app_option
@click.option("--replace", is_flag=True, help="Put it in the place of a file that is there.")
@json_option
def backup(words: tuple[str, ...], app: str | None, replace: bool, as_json: bool) -> None:
    """Copy a log to the file NEW while others write to it.

    The copy is checked (integrity, checksums, counts) and synced before it gets its name. To restore it, put it where
    the log was while no bus has that open."""
    from eventbus.backups import back_up_file

    file, new = file_and_new(words)
    path = locate(file, app)
    screen, began = Screen.of(as_json=as_json), time.monotonic()
    with Progress("Copying") as progress:
        taken = back_up_file(path, new, replace=replace, progress=progress.update)
    seconds = time.monotonic() - began
    if as_json:
        screen.record({**attrs.asdict(taken), "seconds": round(seconds, 3)})
    else:
        screen.line(
            f"Copied {plural(taken.events, 'event')}, {size(taken.bytes)}, in {span(seconds)}. All checks passed."
        )
    screen.flush()


def file_and_new(words: tuple[str, ...]) -> tuple[str | None, str]:
    """Tell [FILE] NEW apart: NEW is the last one."""
    if not 1 <= len(words) <= 2:
        raise click.UsageError("Give [FILE] NEW: the log, and the file to make.")
    return (words[0] if len(words) == 2 else None), words[-1]
