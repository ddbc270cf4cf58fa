"""Many processes on one new file: all of them open it at once, and all that they publish is stored."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import accounts
from workload import Deposited

from eventbus import EventBus

PROCESSES = 24
EACH = 20
LONGEST = 120.0

PUBLISH = """
import sys
from workload import deposited, make_app_tables
from eventbus import EventBus

path, who, each = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.stdin.readline()
with EventBus(path, delivery="manual") as bus:
    make_app_tables(bus)
    for number in range(each):
        bus.publish(deposited(f"{who}.{number}"), idempotency_key=f"{who}.{number}")
        bus.publish(deposited(f"all.{number}"), idempotency_key=f"all.{number}")
"""


def finished(process: subprocess.Popen[str]) -> tuple[int, str]:
    """How a process ended and what it complained of; one that hangs is made to say where."""
    try:
        _, trouble = process.communicate(timeout=LONGEST)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        _, trouble = process.communicate()
    return process.returncode, trouble


def test_24_processes_open_a_new_log_at_once_and_all_they_publish_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "new" / "events.db"
    command = [sys.executable, "-W", "error", "-X", "faulthandler", "-c", PUBLISH, str(path)]
    processes = [
        subprocess.Popen(
            [*command, str(who), str(EACH)],
            cwd=Path(__file__).parent,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for who in range(PROCESSES)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        assert finished(process) == (0, "")
    with EventBus(path, delivery="manual") as bus:
        log = accounts.Log(bus)
    accounts.check_order(log)
    wanted = [f"{who}.{number}" for who in [*range(PROCESSES), "all"] for number in range(EACH)]
    assert Counter(envelope.event.key for envelope in log.of(Deposited)) == Counter(wanted)
