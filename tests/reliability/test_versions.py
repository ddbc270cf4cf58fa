"""Earlier logs under the SQLite of this Python.

The long one, with other releases of SQLite: python -m tests.reliability --tier versions --long
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import versions
from earlier import lay_out
from short import run_short
from tiers.versions import exchange


def test_an_earlier_log_is_gone_on_with_and_what_another_process_makes_of_it_is_whole() -> None:
    assert run_short("versions")["SQLites"] == 1


def test_a_log_that_another_sqlite_damaged_is_noticed(tmp_path: Path) -> None:
    path = lay_out("version-2", tmp_path / "log.db")
    versions.check(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE eventbus_events SET payload = '{}' WHERE position = 2")
    with pytest.raises(AssertionError, match="damaged"):
        versions.check(tmp_path)


def test_a_process_that_has_not_the_sqlite_it_should_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tiers.versions.sqlite3.sqlite_version", "3.0.0")
    with pytest.raises(AssertionError, match="is loaded, not 3"):
        exchange(None)
