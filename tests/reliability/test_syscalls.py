"""A kill or an error at each system call of one scene; test_mutants.py proves that this can fail.

All scenes, with each error at each call: python -m tests.reliability --tier syscalls --long. EVENTBUS_SEED says which
one it is here.
"""

from __future__ import annotations

from injection import NAMES
from short import run_short


def test_a_fault_at_any_system_call_loses_nothing_acknowledged() -> None:
    figures = run_short("syscalls")
    assert figures["scenes"] == 1
    assert figures["pwrite64 KILL"] == figures["pwrite64 EIO"]
    assert int(figures["fdatasync KILL"]) > 0
    assert int(figures[f"{NAMES[0]} EIO"]) > 0
