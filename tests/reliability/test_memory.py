"""A log of a million events is replayed in the memory that a small one takes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from longlog import EVENTS

LONGLOG = Path(__file__).with_name("longlog.py")
MOST = 120 * 1024  # KiB, for the whole process


def run(verb: str, folder: Path) -> list[int]:
    done = subprocess.run(
        [sys.executable, str(LONGLOG), verb, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return [int(number) for number in done.stdout.split()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("longlog")
    run("build", folder)
    return folder


@pytest.mark.parametrize("verb", ["read", "rebuild"])
def test_a_million_events_are_replayed_in_less_than_120_mib(folder: Path, verb: str) -> None:
    events, peak = run(verb, folder)
    assert events == EVENTS
    print(f"{verb}: {peak / 1024:.0f} MiB at most")
    assert peak < MOST
