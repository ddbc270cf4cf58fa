"""mypy --strict and pyright read handlers the way the bus calls them.

Both read one sample file; the lines marked "wrong" are the ones, and the only ones, they must complain about.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import eventbus

PACKAGES = Path(eventbus.__file__).resolve().parent.parent

SAMPLE = """
from __future__ import annotations

from eventbus import Context, EventBus, Handlers, Registration, event, handles
from eventbus.store.transaction import Transaction


class Base: ...


@event
class Placed(Base):
    order_id: str


@event
class Shipped(Base):
    order_id: str


@event
class Paid:
    order_id: str


@event
class Returned:
    order_id: str


@event
class Other:
    text: str


bus = Handlers()


# --- decorators: right ---

@bus.on(Placed)
def plain(placed: Placed) -> None: ...

@bus.on(Placed)
def with_context(placed: Placed, context: Context) -> int:
    return context.attempt

@bus.on(Placed)
async def asynchronous(placed: Placed) -> None: ...

@bus.on(Placed)
async def asynchronous_with_context(placed: Placed, context: Context) -> None: ...

@bus.on(Placed, Shipped, priority=1, weak=True, via=None)
def either(event: Placed | Shipped) -> str:
    return event.order_id

@bus.on(Placed)
def of_a_base(event: Base) -> None: ...

@bus.on(Base)
def base(event: Base) -> None: ...

@bus.on(Placed, Shipped, Paid, Returned)
def four(event: Placed | Shipped | Paid | Returned) -> None: ...

@bus.on("shop.*")
def pattern(event: object) -> None: ...

@bus.on(Placed, Shipped, Paid, Returned, Other)
def five(event: object) -> None: ...

@bus.on(Placed)
def context_optional(event: Placed, context: Context | None = None) -> int:
    return 1

@bus.subscribe("a", Placed, after=0, order_by=None, transactional=True)
def subscribed(placed: Placed, context: Context) -> None: ...

@bus.subscribe("b", Placed, Shipped)
async def subscribed_asynchronously(event: Placed | Shipped) -> None: ...

plain(Placed("1"))
number: int = context_optional(Placed("1"))
text: str = either(Shipped("1"))


# --- decorators: wrong ---

@bus.on(Placed)  # wrong
def other(event: Other) -> None: ...

@bus.on(Placed)  # wrong
def other_with_context(event: Other, context: Context) -> None: ...

@bus.on(Placed)  # wrong
async def other_asynchronously(event: Other) -> None: ...

@bus.on(Base)  # wrong
def narrower(event: Placed) -> None: ...

@bus.on(Placed, Shipped)  # wrong
def only_one(event: Placed) -> None: ...

@bus.on(Placed, Shipped, Paid)  # wrong
def only_two(event: Placed | Shipped) -> None: ...

@bus.on(Placed, Shipped, Paid, Returned)  # wrong
def only_three(event: Placed | Shipped | Paid) -> None: ...

@bus.on(Placed)  # wrong
def not_a_context(event: Placed, context: int) -> None: ...

@bus.on(Placed)  # wrong
def three(event: Placed, context: Context, more: int) -> None: ...

@bus.on(Placed)  # wrong
def nothing() -> None: ...

@bus.on  # wrong
def no_event(event: Placed) -> None: ...

@bus.subscribe("c", Placed)  # wrong
def subscribed_to_other(event: Other) -> None: ...

@bus.subscribe("d", Placed, Shipped)  # wrong
async def subscribed_to_one(event: Placed) -> None: ...

plain(Other("1"))  # wrong
bus.on(Placed, urgency=1)  # wrong
bus.subscribe("e", Placed, order_by="time")  # wrong


# --- handler=: right ---

class Window:
    def show(self, placed: Placed) -> None: ...
    async def save(self, placed: Placed, context: Context) -> None: ...

def take_base(event: Base) -> None: ...

window = Window()
seen: list[Placed] = []
registration: Registration = bus.on(Placed, handler=window.show)
bus.on(Placed, handler=window.save, priority=10)
bus.on(Placed, handler=seen.append)
bus.on(Placed, handler=lambda placed: placed.order_id)
bus.on(Placed, handler=lambda placed, context: context.attempt)
bus.on(Placed, Shipped, handler=lambda event: event.order_id)
bus.on("shop.*", Placed, handler=lambda event: event)
bus.on(Placed, "shop.*", handler=lambda event: event)
bus.subscribe("f", Placed, handler=window.save)
bus.subscribe("g", Placed, Shipped, handler=take_base)
with bus.on(Placed, handler=window.show):
    pass


# --- handler=: wrong ---

def take_other(event: Other) -> None: ...
async def take_other_asynchronously(event: Other, context: Context) -> None: ...
others: list[Other] = []

bus.on(Placed, handler=take_other)  # wrong
bus.on(Placed, handler=take_other_asynchronously)  # wrong
bus.on(Placed, handler=others.append)  # wrong
bus.on(Placed, Shipped, handler=window.show)  # wrong
bus.on(Placed, Shipped, Paid, handler=window.show)  # wrong
bus.on(Placed, Shipped, Paid, Returned, handler=window.show)  # wrong
bus.subscribe("h", Placed, handler=take_other)  # wrong
bus.subscribe("i", Placed, Shipped, handler=window.save)  # wrong


# --- steps ---

def charge(order_id: str, *, times: int = 1) -> int:
    return times

async def charge_async(order_id: str) -> int:
    return 1

def step_by_step(placed: Placed, context: Context) -> int:
    context.step("charge", charge, 7)  # wrong
    context.step("charge", charge, "o-1").upper()  # wrong
    return context.step("charge", charge, placed.order_id, times=2)

async def step_by_step_async(placed: Placed, context: Context) -> int:
    (await context.step("charge", charge_async, "o-1")).upper()  # wrong
    await context.step("charge", charge_async, 7)  # wrong
    return await context.step("charge", charge_async, placed.order_id)


# --- projections ---

class Sales:
    @handles(Placed)
    def placed(self, event: Placed, tx: Transaction) -> None: ...

    @handles(Placed, Shipped)
    def either(self, event: Placed | Shipped, tx: Transaction) -> None: ...

    @handles(Placed)  # wrong
    def other(self, event: Other, tx: Transaction) -> None: ...

    @handles(Placed, Shipped)  # wrong
    def only_one(self, event: Placed, tx: Transaction) -> None: ...

    @handles(Placed)  # wrong
    def no_transaction(self, event: Placed) -> None: ...


# --- publishing ---

def publishing(bus: EventBus, tx: Transaction) -> None:
    bus.submit(Placed("1"), stream="s", expected_version=1, idempotency_key="k", metadata={"a": 1})
    tx.publish(Placed("1"), id="i", correlation_id="c", causation_id=None)
    bus.submit(Placed("1"), strem="s")  # wrong
    tx.publish(Placed("1"), strem="s")  # wrong
    tx.publish(Placed("1"), expected_version="1")  # wrong


def by_hand(sales: Sales, tx: Transaction) -> None:
    sales.placed(Placed("1"), tx)
    sales.placed(Other("1"), tx)  # wrong
"""


def marked(text: str) -> set[int]:
    return {number for number, line in enumerate(text.splitlines(), 1) if line.endswith("# wrong")}


def need(tool: str) -> None:
    if importlib.util.find_spec(tool) is None:
        reason = f"{tool} is not installed"
        if os.environ.get("CI", "").lower() == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def run(folder: Path, *command: str) -> str:
    environment = {**os.environ, "MYPYPATH": str(PACKAGES)}
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample.py"
    path.write_text(SAMPLE, encoding="utf-8")
    return path


def test_mypy_catches_each_wrong_handler_and_accepts_each_right_one(sample: Path) -> None:
    need("mypy")
    options = ("--strict", "--follow-imports=silent", "--no-error-summary", f"--python-executable={sys.executable}")
    output = run(sample.parent, "mypy", *options, f"--cache-dir={sample.parent / 'cache'}", sample.name)
    lines = {int(found[1]) for found in re.finditer(r"^sample\.py:(\d+): error", output, re.M)}
    assert lines == marked(SAMPLE), output


def test_pyright_catches_each_wrong_handler_and_accepts_each_right_one(sample: Path) -> None:
    need("pyright")
    options = {"include": [sample.name], "extraPaths": [str(PACKAGES)], "typeCheckingMode": "strict"}
    # A strict pyright complains of functions that nobody calls, and more that is not about handlers.
    silent = ["reportUnusedFunction", "reportUnusedImport", "reportUnusedExpression", "reportMissingTypeStubs"]
    (sample.parent / "pyrightconfig.json").write_text(json.dumps({**options, **dict.fromkeys(silent, False)}))
    output = run(sample.parent, "pyright", "--outputjson", f"--pythonpath={sys.executable}")
    found = [each for each in json.loads(output)["generalDiagnostics"] if each["severity"] == "error"]
    lines = {each["range"]["start"]["line"] + 1 for each in found}
    assert lines == marked(SAMPLE), json.dumps(found, indent=1)
