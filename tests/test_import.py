"""The front door: few names, all of them real, and nothing loaded before it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import eventbus

ROOT = Path(__file__).resolve().parent.parent
FRONT_DOOR = Path(eventbus.__file__)
HEAVY = {"apscheduler", "asyncio", "click", "pluggy", "sqlite_utils"}


def run(code: str) -> str:
    """What `code` prints in a fresh interpreter that knows this tree."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_these_names_are_the_public_face() -> None:
    assert sorted(eventbus.__all__) == [
        "Breaker",
        "Context",
        "Envelope",
        "EventBus",
        "EventBusError",
        "EventDefinitionError",
        "Handler",
        "Handlers",
        "IdempotencyConflict",
        "InvalidEvent",
        "LogError",
        "Projection",
        "PublishInDoubt",
        "Receipt",
        "Registration",
        "Retry",
        "RetryLater",
        "Table",
        "Transaction",
        "UnknownEvent",
        "WaitTimeout",
        "WrongExpectedVersion",
        "__version__",
        "event",
        "handles",
    ]


def test_import_eventbus_loads_one_module_and_no_other() -> None:
    loaded = run("import sys; before = set(sys.modules); import eventbus; print(*set(sys.modules) - before)")
    assert loaded.split() == ["eventbus"]


def test_import_eventbus_loads_nothing_heavy() -> None:
    loaded = run("import sys, eventbus; print(*{name.partition('.')[0] for name in sys.modules})").split()
    assert "eventbus" in loaded
    assert HEAVY & set(loaded) == set()


def test_a_process_that_only_publishes_loads_nothing_that_delivers_examines_or_copies() -> None:
    code = (
        "import os, sys, tempfile\nfrom eventbus import EventBus, event\n"
        "@event\nclass Placed:\n    order_id: str\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    bus = EventBus(os.path.join(folder, 'shop.db'))\n    bus.publish(Placed('a'))\n    bus.close()\n"
        "print(*sys.modules)"
    )
    loaded = set(run(code).split())
    assert "eventbus.store.witness" in loaded
    rooms = {f"eventbus.{room}" for room in ("backups", "doctor", "engine.motion", "technical", "worker.pump")}
    assert (
        loaded & {*rooms, *(f"eventbus.store.{room}" for room in ("copying", "verifying", "walfile", "wreck"))} == set()
    )


@pytest.mark.parametrize("name", eventbus.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(eventbus, name) is getattr(eventbus, name)
    assert name in dir(eventbus)


def test_a_star_import_brings_every_public_name() -> None:
    assert set(run("from eventbus import *; print(*globals())").split()) >= set(eventbus.__all__)


def test_a_misspelled_name_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match="EventBuss"):
        eventbus.EventBuss  # type: ignore[attr-defined]  # noqa: B018


def test_a_room_can_be_imported_from_the_package() -> None:
    assert run("from eventbus import errors; print(errors.__name__)").split() == ["eventbus.errors"]


def test_type_checkers_and_the_interpreter_find_each_name_in_the_same_room() -> None:
    [choice] = [node for node in ast.parse(FRONT_DOOR.read_text("utf-8")).body if isinstance(node, ast.If)]
    imports = [node for node in choice.body if isinstance(node, ast.ImportFrom)]
    seen_by_type_checkers = {node.module: tuple(alias.name for alias in node.names) for node in imports}
    assert seen_by_type_checkers == vars(eventbus)["_ROOMS"]
    assert {name for names in seen_by_type_checkers.values() for name in names} == {*eventbus.__all__} - {"__version__"}


def test_the_package_is_marked_as_typed() -> None:
    assert FRONT_DOOR.with_name("py.typed").exists()
