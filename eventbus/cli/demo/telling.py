"""The story as a person reads it, or a program."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import attrs

from eventbus.cli.demo.app import provider_of
from eventbus.cli.demo.story import Order, Part, Story, happen
from eventbus.cli.plain import width
from eventbus.cli.screen import Cell, Column, Screen, Style
from eventbus.cli.standing import titled
from eventbus.cli.subscriptions import count_cell
from eventbus.cli.units import due, plural
from eventbus.store.overview import SubscriptionView
from eventbus.store.viewing import Standing

_BUS = "eventbus.cli.demo:shop"
_DONE = {"OrderPlaced": "placed", "ItemAdded": "item added", "OrderPaid": "paid", "OrderShipped": "shipped"}
_ORDER_COLUMNS = (Column("ORDER"), Column("HAPPENED"), Column("PROVIDER", gives=True), Column("OPEN", gives=True))
_SUBSCRIPTION_COLUMNS = (
    Column("SUBSCRIPTION"),
    Column("HANDLED", ">"),
    Column("WAITING", ">"),
    Column("HELD", ">"),
    Column("DEAD", ">"),
)


def run(folder: str | None, as_json: bool) -> None:
    """Let the story take place in `folder`, or in a temporary one, and tell it."""
    story, screen = happen(folder), Screen.of(as_json=as_json)
    if as_json:
        screen.record(_as_record(story))
    else:
        _write(screen, story)
    screen.flush()


def _write(screen: Screen, story: Story) -> None:
    screen.line(Cell("An order story, in ", "bold"), Cell(os.path.dirname(story.path), "place"))
    _write_parts(screen, *story.parts)
    screen.line()
    screen.table(_ORDER_COLUMNS, [_order_cells(screen, order) for order in story.orders])
    screen.line()
    screen.table(_SUBSCRIPTION_COLUMNS, [_subscription_cells(view) for view in story.subscriptions])
    charged = story.charged()
    asked = f"The provider was asked {len(story.requests)} times and charged {charged.total()} times, "
    once = max(charged.values(), default=0) <= 1
    screen.line(asked, Cell("no order twice." if once else "an order twice.", "good" if once else "bad"))
    screen.line()
    _write_commands(screen, story)


def _write_parts(screen: Screen, first: Part, second: Part) -> None:
    how = f"killed by signal {-first.exit}" if first.exit < 0 else f"ended with {first.exit}"
    stored = f" stored {plural(first.stored, 'event')} and was "
    screen.line(Cell(f"Process {first.pid}", "name"), stored, Cell(how, "bad"), " when the provider")
    unnoted = " and ".join(f"order-{name}" for name in first.charged_only) or "nothing"
    screen.line(f"had charged {unnoted} and the log did not know it yet.", indent=2)
    more, heard = second.stored - first.stored, first.heard + second.heard
    resumed = f" resumed and stored {more} more; live handlers heard {heard} of {second.stored}."
    screen.line(Cell(f"Process {second.pid}", "name"), resumed)


def _order_cells(screen: Screen, order: Order) -> list[Cell]:
    happened = ", ".join(_DONE.get(event.type.name, event.type.name) for event in order.events)
    answers = Counter(request.answer for request in order.requests)
    said = ", ".join(answer if count == 1 else f"{answer} {count} times" for answer, count in answers.items())
    worst = next((s.disposition for s in order.open if s.disposition == "dead"), None)
    remarks = ", ".join(_remark(screen, standing) for standing in order.open)
    style: Style = "bad" if worst else ("warn" if order.open else "good")
    return [Cell(f"order-{order.name}", "place"), Cell(happened), Cell(said), Cell(remarks or "nothing", style)]


def _remark(screen: Screen, standing: Standing) -> str:
    when = due(standing.delivery.due, screen.now) if standing.delivery else ""
    return f"{standing.subscription.name} {when}" if when else standing.disposition


def _counts(view: SubscriptionView) -> dict[str, int]:
    """What a person asks of a subscription; a delivery that is retried later waits, too."""
    waiting = view.behind + view.counts.get("waiting", 0) + view.counts.get("retrying", 0)
    return {
        "handled": view.row.handled,
        "waiting": waiting,
        "held": view.counts.get("held", 0),
        "dead": view.counts.get("dead", 0),
    }


def _subscription_cells(view: SubscriptionView) -> list[Cell]:
    counts = _counts(view)
    return [
        Cell(titled(view.row), "name"),
        count_cell(counts["handled"], "good"),
        count_cell(counts["waiting"], "warn"),
        count_cell(counts["held"], "warn"),
        count_cell(counts["dead"], "bad"),
    ]


def _commands(story: Story) -> list[tuple[str, str]]:
    """What to type next, and what it shows."""
    stuck = [(order, standing) for order in story.orders for standing in order.open]
    unnoted = [order for order in story.orders if order.name in story.parts[0].charged_only]
    dead = [s.delivery.position for _, s in stuck if s.disposition == "dead" and s.delivery is not None]
    return [
        ("log", "all events"),
        *[(f"show {order.events[0].position}", "one of them, and what it led to") for order in unnoted],
        ("subscriptions", "how far each reader of the log is"),
        *[(f"dead show {position}", "why it is dead") for position in dead],
        (f"projections rebuild sales --bus {_BUS}", ""),
        (f"run --until-idle --bus {_BUS}", ""),
    ]


def _write_commands(screen: Screen, story: Story) -> None:
    """A command is never cut: it is there to be typed or copied."""
    whole = Screen(sys.stdout, as_json=False, columns=None, colour=screen.colour, live=False)
    setting = "set EVENTBUS_LOG=" if os.name == "nt" else "export EVENTBUS_LOG="
    screen.line(Cell("Type next:", "bold"))
    whole.line(f"{setting}{_quoted(story.path)}", indent=2)
    program, commands = _program(), _commands(story)
    longest = max(width(f"{program} {command}") for command, purpose in commands if purpose)
    for command, purpose in commands:
        fits = purpose and (screen.columns is None or 2 + longest + 4 + width(purpose) <= screen.columns)
        remark = f"  # {purpose}" if fits else ""
        text = f"{program} {command}"
        whole.line(text.ljust(longest) if remark else text, Cell(remark, "dim"), indent=2)


def _program() -> str:
    """How this program is called in the shell that it was called from."""
    script = Path(sys.executable).with_name("eventbus.exe" if os.name == "nt" else "eventbus")
    found = shutil.which("eventbus")
    if found is not None and script.exists() and os.path.samefile(found, script):
        return "eventbus"
    if not script.exists():
        return f"{_quoted(sys.executable)} -m eventbus"
    here = Path.cwd()
    return _quoted(str(script.relative_to(here) if script.is_relative_to(here) else script))


def _quoted(text: str) -> str:
    return text if os.name == "nt" else shlex.quote(text)


def _as_record(story: Story) -> dict[str, Any]:
    return {
        "log": story.path,
        "provider": {
            "file": str(provider_of(story.path)),
            "asked": len(story.requests),
            "charged": story.charged().total(),
            "answers": [attrs.asdict(request) for request in story.requests],
        },
        "processes": [attrs.asdict(part) for part in story.parts],
        "orders": [
            {
                "order": order.name,
                "happened": [event.type.name for event in order.events],
                "open": [_open(standing) for standing in order.open],
            }
            for order in story.orders
        ],
        "subscriptions": [{"name": view.row.name, **_counts(view)} for view in story.subscriptions],
        "commands": [f"{_program()} {command}" for command, _ in _commands(story)],
    }


def _open(standing: Standing) -> dict[str, Any]:
    delivery = standing.delivery
    return {
        "subscription": standing.subscription.name,
        "status": standing.disposition,
        "position": delivery.position if delivery else None,
        "error": delivery.error if delivery else None,
    }
