"""What the log keeps under a function's name is found again, however the program was started."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
from eventbus import EventBus, event
from eventbus.testing import FakeClock

@event
class Tick: ...

def tick(): return Tick()

def by_kind(envelope): return envelope.type

def look(path):
    with EventBus(path, clock=FakeClock(), delivery="manual") as bus:
        bus.publish_every(tick, every=60)
        bus.subscribe("count", Tick, handler=print, order_by=by_kind)
        bus.drain()
        print([each.name for each in bus.schedules], bus.subscriptions["count"].row.order_by)

if __name__ == "__main__":
    import sys
    look(sys.argv[1])
"""


def _run(folder: Path, *arguments: str) -> str:
    paths = os.pathsep.join([str(folder), *sys.path])
    ran = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert not ran.stderr
    return ran.stdout.strip()


def test_a_program_that_is_started_and_imported_keeps_one_schedule_and_one_order(tmp_path: Path) -> None:
    (tmp_path / "ticker.py").write_text(PROGRAM)
    log = str(tmp_path / "ticks.db")
    expected = "['ticker:tick'] function ticker:by_kind"
    assert _run(tmp_path, str(tmp_path / "ticker.py"), log) == expected
    assert _run(tmp_path, "-m", "ticker", log) == expected
    assert _run(tmp_path, "-c", f"import ticker; ticker.look({log!r})") == expected


def test_a_module_of_a_package_keeps_its_whole_name(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "__init__.py").touch()
    (tmp_path / "shop" / "ticker.py").write_text(PROGRAM)
    log = str(tmp_path / "ticks.db")
    expected = "['shop.ticker:tick'] function shop.ticker:by_kind"
    assert _run(tmp_path, "-m", "shop.ticker", log) == expected
    assert _run(tmp_path, "-c", f"import shop.ticker; shop.ticker.look({log!r})") == expected


def test_a_child_that_was_spawned_names_its_functions_as_its_parent_does(tmp_path: Path) -> None:
    start = 'multiprocessing.get_context("spawn").Process(target=look, args=sys.argv[1:])'
    program = PROGRAM + f"    import multiprocessing\n    child = {start}\n    child.start()\n    child.join()\n"
    (tmp_path / "ticker.py").write_text(program)
    said = _run(tmp_path, str(tmp_path / "ticker.py"), str(tmp_path / "ticks.db"))
    assert said.splitlines() == ["['ticker:tick'] function ticker:by_kind"] * 2


def test_what_has_no_file_keeps_the_name_that_python_gave_it(tmp_path: Path) -> None:
    text = PROGRAM.replace("sys.argv[1]", repr(str(tmp_path / "ticks.db")))
    assert _run(tmp_path, "-c", text) == "['__main__:tick'] function __main__:by_kind"
