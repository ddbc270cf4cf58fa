"""How the program comes to the app's code: --bus module:attribute, and the plugins of an app."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_stage import contents, run
from clishop_stage import BUS, publish, shop_in
from platformdirs import user_data_path


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An app's module in the folder where the person stands."""
    with shop_in(tmp_path, monkeypatch) as module:
        yield module


# --- --bus ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bus", "complaint"),
    [
        ("clishop", "write it as module:attribute"),
        ("clishop:", "write it as module:attribute"),
        ("nowhere:bus", "No module named 'nowhere'"),
        ("clishop:nothing", "clishop has no attribute nothing"),
        ("clishop:NUMBER", "neither an EventBus nor a function"),
        ("clishop:broken", "RuntimeError: no config ("),
        ("clishop:leaves", "calling it failed: it called sys.exit(7) ("),
        ("clileaves:bus", "importing clileaves failed: it called sys.exit('a script') ("),
        ("clishop:lazy.bus", "looking for lazy.bus failed: RuntimeError: not yet ("),
        ("clishop:two", "it needs more than FILE: (path: 'str', mode: 'str')"),
        ("builtins:max", "ValueError: no signature found"),
        ("clishop:make", "Which log?"),
        ("clishop:OrderPlaced", "neither an EventBus nor a function"),
    ],
)
def test_a_bus_that_cannot_be_loaded_is_one_sentence_and_exit_code_2(app: Any, bus: str, complaint: str) -> None:
    Path("clileaves.py").write_text("raise SystemExit('a script')")
    arguments = ["projections", "rebuild", "x", "--bus", bus]
    ran = run(*arguments)
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (2, "", 1)
    assert complaint in ran.err


def test_a_function_that_needs_a_file_gets_it(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(app, 1.0)
    assert run("run", "shop.db", "--bus", "clishop:make", "--until-idle").code == 0
    monkeypatch.setenv("EVENTBUS_LOG", "shop.db")
    assert run("run", "--bus", "clishop:make", "--until-idle").code == 0


@pytest.mark.parametrize("function", ["make", "with_default", "of_any"])
def test_a_function_that_can_take_one_argument_gets_the_file_that_is_named(
    app: Any, monkeypatch: pytest.MonkeyPatch, function: str
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(Path.cwd()))
    named = user_data_path("clishop", appauthor=False) / "events.db"
    bus = ["--until-idle", "--bus", f"clishop:{function}"]
    assert run("run", "one.db", *bus).code == run("run", "--app", "clishop", *bus).code == 0
    assert [record["name"] for record in run("subscriptions", "one.db", *bus[1:], "--json").records] != []
    monkeypatch.setenv("EVENTBUS_LOG", "two.db")
    assert run("run", *bus).code == 0
    assert [path.exists() for path in (Path("one.db"), Path("two.db"), named)] == [True] * 3
    assert not Path("shop.db").exists()


def test_a_function_with_a_default_uses_it_when_no_file_is_named(app: Any) -> None:
    assert run("run", "--until-idle", "--bus", "clishop:with_default").code == 0
    assert Path("shop.db").exists()


def test_a_copy_of_a_log_is_looked_at_with_the_bus_of_the_log(app: Any) -> None:
    publish(app, 1.0)
    Path("copy.db").write_bytes(Path("shop.db").read_bytes())
    ran = run("subscriptions", "copy.db", "--bus", BUS, "--json")
    assert {record["declared"] for record in ran.records} == {True}


def test_a_bus_on_another_file_is_refused(app: Any) -> None:
    ran = run("run", "other.db", "--bus", BUS, "--until-idle")
    assert (ran.code, Path("other.db").exists()) == (2, False)
    assert "is a bus on shop.db, not on other.db" in ran.err


def test_a_subscription_that_the_bus_does_not_declare_is_an_orphan(app: Any, tmp_path: Path) -> None:
    publish(app, 1.0)
    with app.EventBus("shop.db") as bus:
        bus.subscribe("gone", app.OrderPlaced, handler=print)
        bus.publish(app.OrderPlaced("o-9", 1.0))
    before = contents(tmp_path)
    declared = {
        record["name"]: record["declared"] for record in run("subscriptions", "shop.db", "--bus", BUS, "--json").records
    }
    assert declared == {"gone": False, "invoices": True, "sales": True}
    assert "gone  " in run("subscriptions", "shop.db", "--bus", BUS).out
    assert run("subscriptions", "shop.db", "--bus", BUS).out.count("orphan") == 1
    assert contents(tmp_path) == before


# --- plugins --------------------------------------------------------------------------------------------

PLUGINS = """
import eventbus
from clishop import OrderPlaced


class Good:
    @staticmethod
    def eventbus_subscribe(handlers):
        handlers.subscribe("receipts", OrderPlaced, "clishop.*", handler=print)
        handlers.on(OrderPlaced, handler=print)


class Bad:
    @staticmethod
    def eventbus_subscribe(handlers):
        raise RuntimeError("needs a licence")


class Wrong:
    @staticmethod
    def eventbus_subscribe(handlers):
        handlers.on(OrderPlaced, handler=5)


class Empty:
    pass


def bus():
    made = eventbus.EventBus("shop.db")
    made.load_plugins("clishop.plugins")
    return made
"""


@pytest.fixture
def installed(app: Any, tmp_path: Path) -> Iterator[None]:
    """A distribution with two plugins, one of which cannot load."""
    (tmp_path / "clishop_plugins.py").write_text(PLUGINS)
    metadata = tmp_path / "shop_mail-1.2.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shop-mail\nVersion: 1.2\n")
    (metadata / "entry_points.txt").write_text(
        "[clishop.plugins]\nmail=clishop_plugins:Good\nrisky=clishop_plugins:Bad\n"
        "[clishop.odd]\nempty=clishop_plugins:Empty\ngone=clishop_nowhere\nwrong=clishop_plugins:Wrong\n"
    )
    importlib.invalidate_caches()
    yield
    sys.modules.pop("clishop_plugins", None)


def test_the_plugins_of_a_group_are_listed_with_what_they_subscribe_and_what_failed(installed: None) -> None:
    ran = run("plugins", "--group", "clishop.plugins")
    assert ran.lines[0].split() == ["PLUGIN", "DISTRIBUTION", "SUBSCRIBES"]
    assert ran.lines[1].startswith(
        "mail    shop-mail 1.2  subscribe mail/receipts (OrderPlaced, clishop.*); on OrderPlaced"
    )
    assert ran.lines[2] == "risky   shop-mail 1.2  failed"
    assert ran.lines[3].startswith("  └ RuntimeError: needs a licence (")
    assert (ran.code, ran.err) == (0, "")


def test_the_place_of_a_failure_is_a_line_of_the_plugin_or_none(installed: None, tmp_path: Path) -> None:
    empty, gone, wrong = (record["error"] for record in run("plugins", "--group", "clishop.odd", "--json").records)
    assert empty.endswith("has no function eventbus_subscribe(handlers).")
    assert gone == "ModuleNotFoundError: No module named 'clishop_nowhere'"
    line = PLUGINS.split("\n").index("        handlers.on(OrderPlaced, handler=5)") + 1
    assert wrong.endswith(f" ({tmp_path / 'clishop_plugins.py'}:{line})")


def test_plugins_as_records(installed: None) -> None:
    good, bad = run("plugins", "--group", "clishop.plugins", "--json").records
    assert (good["name"], good["distribution"], good["version"], good["error"]) == ("mail", "shop-mail", "1.2", None)
    assert good["subscribes"][1] == {"how": "on", "what": "OrderPlaced"}
    assert bad["error"].startswith("RuntimeError: needs a licence")


def test_the_plugins_of_a_bus_are_listed_without_opening_its_log(installed: None) -> None:
    assert [record["name"] for record in run("plugins", "--bus", "clishop_plugins:bus", "--json").records] == ["mail"]
    assert not Path("shop.db").exists()
    assert run("plugins", "--bus", BUS).out == "The bus has loaded no plugins.\n"
    assert run("plugins", "--group", "nobody.plugins").out == "No plugin is installed for nobody.plugins.\n"
