"""A whole process: import, open a log, publish one event, close, exit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from benchmarks import floor, logs
from benchmarks.goals import OURS
from benchmarks.measuring import Measured
from benchmarks.subjects.subject import Run, Subject

ROOT = Path(__file__).resolve().parent.parent.parent

_OURS = """
import sys
from attrs import frozen
from eventbus import EventBus, event

@frozen
class Item:
    sku: str
    quantity: int

@event
class OrderPlaced:
    order_id: str
    customer_id: str
    items: list[Item]
    total: float
    currency: str

bus = EventBus(sys.argv[1])
bus.publish(OrderPlaced("ord-456", "cust-789", [Item("WIDGET-01", 2)], 99.99, "USD"))
bus.close()
"""
_BARE = f"""
import json, sqlite3, sys, uuid

order = {{"order_id": "ord-456", "customer_id": "cust-789", "items": [{{"sku": "WIDGET-01", "quantity": 2}}],
         "total": 99.99, "currency": "USD"}}
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL")
connection.execute("PRAGMA synchronous = FULL")
if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'events'").fetchone():
    connection.executescript('''{floor.BARE_DDL}''')
connection.execute("BEGIN IMMEDIATE")
connection.execute("INSERT INTO events (id, stream, sequence, payload) VALUES (?, ?, 1, ?)",
                   (str(uuid.uuid4()), str(uuid.uuid4()), json.dumps(order)))
connection.execute("COMMIT")
connection.close()
"""


def _process(program: str, path: Path | None) -> float:
    arguments = [sys.executable, "-c", program, *([str(path)] if path else [])]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # the compiled modules are there, as they are for users
    began = perf_counter()
    subprocess.run(arguments, check=True, env=environment)
    return perf_counter() - began


def _on_new(run: Run, program: str) -> Callable[[], float]:
    return lambda: _process(program, run.new_path())


def _measure(run: Run) -> Measured:
    log = logs.published(run.new_path(), run.sizes.small)
    bare = run.new_path()
    _process(_BARE, bare)
    with run.contest("one process, one event", run.sizes.starts) as contest:
        contest.add(f"{OURS}, a log that exists", "power", lambda: _process(_OURS, log))
        contest.add("sqlite3, a log that exists", "power", lambda: _process(_BARE, bare))
        contest.add(f"{OURS}, a new log", "power", _on_new(run, _OURS))
        contest.add("sqlite3, a new log", "power", _on_new(run, _BARE))
        contest.add("python -c pass", "none", lambda: _process("pass", None))
        return contest.run()


SUBJECTS = (Subject("cold", "a cold process: import, open, publish one event, close", "ms", _measure),)
