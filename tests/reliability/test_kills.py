"""200 processes are killed while they publish and handle: nothing acknowledged is lost, nothing is done twice.

EVENTBUS_KILLS says how many; EVENTBUS_SEED repeats the schedule of a run that failed.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import accounts
from killing import kill_again_and_again
from workload import Deposited, Spilled, declare, lines, make_app_tables

from eventbus import EventBus

KILLS = int(os.environ.get("EVENTBUS_KILLS", "200"))
LONGEST = 120.0  # seconds for what the last process left undone


def test_nothing_is_lost_and_nothing_is_done_twice_when_processes_are_killed_again_and_again(tmp_path: Path) -> None:
    seed = int(os.environ.get("EVENTBUS_SEED") or random.randrange(1 << 32))
    print(f"EVENTBUS_SEED={seed} EVENTBUS_KILLS={KILLS} repeats this")
    kill_again_and_again(tmp_path, KILLS, seed)
    assert (tmp_path / "stderr.txt").read_text("utf-8") == ""

    with EventBus(tmp_path / "events.db", durability="process") as bus:
        make_app_tables(bus)
        diaries = declare(bus, tmp_path)
        bus.drain(timeout=LONGEST)
        log = accounts.Log(bus)
        accounts.check_order(log)
        assert accounts.check_acknowledged(log, tmp_path) > 10 * KILLS
        accounts.check_all_or_nothing(log, bus)
        accounts.check_transactional(log, bus)
        accounts.check_published(log)
        accounts.check_diary(tmp_path / "plain.txt", log.of(Deposited))
        accounts.check_diary(tmp_path / "async.txt", log.of(Deposited))
        accounts.check_diary(tmp_path / "poisoned.txt", [e for e in log.of(Spilled) if e.event.number < 3])
        accounts.check_projection(log, bus)
        accounts.check_accounted(log, bus)
        print(f"{len(log.all)} events, {len(lines(tmp_path / 'plain.txt'))} successes of the plain handler")
        for diary in diaries:
            diary.close()
