"""A bus with nothing to do costs next to nothing: it looks once a second, writes nothing, and holds little."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RESTING = Path(__file__).with_name("resting.py")

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at itself through /proc")


@pytest.fixture(scope="module", params=["few", "many", "standby"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("resting")
    command = [sys.executable, str(RESTING), str(folder), request.param]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {"kind": request.param, **json.loads(done.stdout)}


def test_it_is_looked_at_as_it_is_meant_to_be(found: dict[str, Any]) -> None:
    assert (found["owners"] == [found["me"]]) == (found["kind"] != "standby")
    assert found["dead"] == (1000 if found["kind"] == "many" else 0)


def test_an_idle_bus_wakes_up_at_most_once_a_second(found: dict[str, Any]) -> None:
    """One more than the seconds that have passed: the first of them may fall on the beginning."""
    assert found["rang"] == 0
    assert found["waits"] <= found["seconds"] + 1
    assert found["switches a second"] <= (3 + 1) / 3


def test_an_idle_bus_writes_nothing(found: dict[str, Any]) -> None:
    assert found["changed files"] == []
    assert not found["was written"]


def test_an_idle_bus_has_one_thread_beside_that_of_the_app(found: dict[str, Any]) -> None:
    assert found["threads"] == ["MainThread", "eventbus-pump"]


def test_an_idle_bus_has_two_connections(found: dict[str, Any]) -> None:
    assert found["connections"] == 2
