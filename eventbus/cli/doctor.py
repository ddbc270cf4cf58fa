"""`eventbus doctor`: what is wrong with a log, and what to do about it."""

from __future__ import annotations

from typing import Any

import attrs
import click

from eventbus.cli.loading import bus_option, declared_names
from eventbus.cli.place import given, locate, on_a_log
from eventbus.cli.plain import plain, wrapped
from eventbus.cli.progress import Progress
from eventbus.cli.screen import Cell, Screen, Style
from eventbus.cli.show import fact
from eventbus.cli.units import number, plural, size
from eventbus.doctor import Examination, Finding, examine

_STYLES: dict[str, Style] = {"healthy": "good", "look at this": "warn", "damaged": "bad"}
_MARKS: dict[str, tuple[str, Style]] = {
    "note": ("note", "dim"),
    "look": ("look", "warn"),
    "damaged": ("damaged", "bad"),
}
_INDENT = 9  # as wide as the widest mark, and a gap


@click.command("doctor")
@on_a_log
@click.option("--quick", is_flag=True, help="Do not read all events: no checksums, no missing numbers.")
@bus_option
def doctor(file: str | None, app: str | None, as_json: bool, quick: bool, bus: str | None) -> None:
    """Examine a log: the file and its place, its pages and the checksums of its events, and what is stuck.

    Ends with 0 if it is healthy, 1 if there is something to look at, 2 if it is damaged. Nothing is changed, and a bus
    that has the log open goes on. With --bus, subscriptions that the bus does not declare are told as orphans."""
    declared = None if bus is None else declared_names(bus, given(file, app))
    path, screen = locate(file, app), Screen.of(as_json=as_json)
    with Progress("Checking") as progress:
        found = examine(path, quick=quick, declared=declared, progress=progress.update)
    if as_json:
        screen.record(_as_record(found))
    else:
        _write(screen, found)
    screen.flush()
    click.get_current_context().exit(found.exit_code)


def _as_record(found: Examination) -> dict[str, Any]:
    return {
        "path": found.path,
        "verdict": found.verdict,
        **found.facts,
        "findings": [attrs.asdict(finding) for finding in found.findings],
    }


def _write(screen: Screen, found: Examination) -> None:
    screen.line(found.path, ": ", Cell(found.verdict, _STYLES[found.verdict]))
    for label, text in _facts(found).items():
        fact(screen, label, text)
    for finding in found.findings:
        _write_finding(screen, finding)


def _facts(found: Examination) -> dict[str, str]:
    facts = found.facts
    lines: dict[str, str] = {}
    if "log_id" in facts:
        lines["log"] = f"{facts['log_id']}, incarnation {facts['incarnation']}"
    if "last" in facts:
        lines["events"] = _events(facts)
    if "bytes" in facts:
        free = facts["free_bytes"]
        room = "" if free is None else f", {size(free)} free on the disk"
        lines["file"] = f"{size(facts['bytes'])}, -wal {size(facts['wal_bytes'])}{room}"
    if facts["open_in"]:
        lines["open in"] = "process " + ", ".join(map(str, facts["open_in"]))
    lines["SQLite"] = facts["sqlite"]
    return lines


def _events(facts: Any) -> str:
    if not facts["last"]:
        return "none"
    positions = f"positions {number(facts['first'])} to {number(facts['last'])}"
    if "events" not in facts:
        return f"{positions}; their checksums were not looked at"
    return f"{plural(facts['events'], 'event')}, {positions}"


def _write_finding(screen: Screen, finding: Finding) -> None:
    mark, style = _MARKS[finding.severity]
    room = None if screen.columns is None else max(screen.columns - _INDENT, 20)
    for text, text_style in ((finding.what, ""), (finding.advice, "dim")):
        for piece in _lines(plain(text), room) if text else ():
            screen.line(Cell(mark.ljust(_INDENT), style), Cell(piece, "dim" if text_style else ""))
            mark = ""


def _lines(text: str, room: int | None) -> list[str]:
    """Broken between words where it can be."""
    if room is None:
        return [text]
    lines = [""]
    for word in text.split(" "):
        if lines[-1] and len(lines[-1]) + 1 + len(word) > room:
            lines.append("")
        lines[-1] += (" " if lines[-1] else "") + word
    return [piece for line in lines for piece in wrapped(line, room)]
