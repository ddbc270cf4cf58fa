import importlib
import logging
import subprocess
import sys
import textwrap
import tomllib
import types
from pathlib import Path

import pytest

from eventbus import plugins
from eventbus.errors import EventBusError, EventDefinitionError
from eventbus.handlers import Handlers
from eventbus.plugins import LoadedPlugin, load_plugins, named
from eventbus.projections import Projection, Table

EXAMPLE = Path(__file__).parents[1] / "examples" / "plugin"


class Shelf(list):
    """Stands in for Handlers: a plugin appends what it would declare."""


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Makes a distribution importable the way an installer does: modules, METADATA, entry_points.txt."""
    monkeypatch.syspath_prepend(tmp_path)
    known = set(sys.modules)

    def install(name: str, version: str, modules: dict[str, str], **entries: str) -> None:
        for module, code in modules.items():
            (tmp_path / f"{module}.py").write_text(textwrap.dedent(code))
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = "".join(f"{entry} = {target}\n" for entry, target in entries.items())
        (folder / "entry_points.txt").write_text(f"[shop.plugins]\n{lines}")
        importlib.invalidate_caches()

    yield install
    for name in set(sys.modules) - known:
        del sys.modules[name]


def module(name: str, **members: object) -> types.ModuleType:
    made = types.ModuleType(name)
    vars(made).update(members)
    return made


def load(*sources: object, **options: object) -> dict[str, LoadedPlugin[Shelf]]:
    return {each.name: each for each in load_plugins(*sources, make_handlers=Shelf, **options)}


def errors(loaded: dict[str, LoadedPlugin[Shelf]]) -> dict[str, str]:
    return {name: str(plugin.error) for name, plugin in loaded.items() if plugin.error}


def test_an_installed_plugin_is_found_by_its_group_and_named_by_its_entry_point(install):
    install(
        "acme-loyalty",
        "2.1",
        {"acme_loyalty": "def eventbus_subscribe(handlers): handlers.append('points')"},
        loyalty="acme_loyalty",
    )
    (plugin,) = load_plugins("shop.plugins", make_handlers=Shelf)
    assert plugin == LoadedPlugin("loyalty", Shelf(["points"]), "acme-loyalty", "2.1", None)


def test_plugins_of_another_group_are_left_alone(install):
    install("acme", "1", {"acme_bad": "raise RuntimeError"}, acme="acme_bad")
    assert load("another.group") == {}


def test_installed_plugins_come_in_the_order_of_their_names(install):
    hook = "def eventbus_subscribe(handlers): pass"
    install("one", "1", {"p_one": hook}, pear="p_one", apple="p_one")
    install("two", "1", {"p_two": hook}, fig="p_two")
    assert list(load("shop.plugins"))[1:] == ["fig", "pear"]


def test_an_attribute_of_a_module_can_be_the_plugin(install):
    code = """
        class Plugin:
            def __init__(self, what): self.what = what
            def eventbus_subscribe(self, handlers): handlers.append(self.what)
        plugin = Plugin("stars")
    """
    install("acme", "1", {"acme_object": code}, acme="acme_object:plugin")
    assert load("shop.plugins")["acme"].handlers == ["stars"]


def test_a_plugin_that_cannot_be_imported_is_reported_and_the_others_load(install, caplog):
    install("broken", "0.3", {"p_broken": "import no_such_module_anywhere"}, broken="p_broken")
    install("gone", "0.4", {}, gone="p_gone")
    install("fine", "1", {"p_fine": "def eventbus_subscribe(handlers): handlers.append(1)"}, fine="p_fine")
    loaded = load("shop.plugins")
    assert loaded["fine"].handlers == [1]
    assert isinstance(loaded["broken"].error, ModuleNotFoundError)
    assert (loaded["broken"].distribution, loaded["broken"].version) == ("broken", "0.3")
    assert loaded["broken"].handlers is None
    assert isinstance(loaded["gone"].error, ModuleNotFoundError)
    assert "Plugin 'broken' of broken 0.3 was not loaded: No module named 'no_such_module_anywhere'" in caplog.text


def test_a_plugin_that_exits_while_it_loads_does_not_take_the_app_along(install):
    install("script", "1", {"p_script": "import sys; sys.exit(3)"}, script="p_script")
    error = load("shop.plugins")["script"].error
    assert isinstance(error, EventBusError)
    assert "sys.exit(3)" in str(error)


def test_a_keyboard_interrupt_while_a_plugin_loads_is_the_users():
    def interrupted(handlers):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(module("slow", eventbus_subscribe=interrupted))


def test_a_hook_that_raises_leaves_no_half_plugin():
    def half(handlers):
        handlers.append("first")
        raise ZeroDivisionError("second")

    good = module("good", eventbus_subscribe=lambda handlers: handlers.append("all"))
    loaded = load(module("half", eventbus_subscribe=half), good)
    assert isinstance(loaded["half"].error, ZeroDivisionError)
    assert loaded["half"].handlers is None
    assert loaded["good"].handlers == ["all"]


def test_modules_and_objects_are_plugins_without_being_installed():
    class Stars:
        def eventbus_subscribe(self, handlers):
            handlers.append("stars")

    loaded = load(module("pkg.points", eventbus_subscribe=lambda handlers: handlers.append("points")), Stars())
    assert {name: plugin.handlers for name, plugin in loaded.items()} == {"pkg.points": ["points"], "Stars": ["stars"]}
    assert loaded["Stars"].distribution is None


def test_each_plugin_has_handlers_of_its_own():
    first, second = (module(name, eventbus_subscribe=lambda handlers: None) for name in "ab")
    loaded = load(first, second)
    assert loaded["a"].handlers is not loaded["b"].handlers


def test_two_plugins_of_one_name_are_refused_and_the_first_stays():
    first = module("points", eventbus_subscribe=lambda handlers: handlers.append(1))
    second = module("points", eventbus_subscribe=lambda handlers: handlers.append(2))
    kept, refused = load_plugins(first, second, make_handlers=Shelf)
    assert kept.handlers == [1]
    assert isinstance(refused.error, EventDefinitionError)
    assert "Another plugin is called 'points'" in str(refused.error)


def test_a_name_that_the_app_has_already_taken_is_refused():
    plugin = module("points", eventbus_subscribe=lambda handlers: None)
    assert "Another plugin" in errors(load(plugin, taken={"points"}))["points"]


def test_a_name_that_would_break_a_durable_name_is_refused():
    for name in ("a/b", "a\nb", "x" * 81):
        (plugin,) = load_plugins(module(name, eventbus_subscribe=lambda handlers: None), make_handlers=Shelf)
        assert isinstance(plugin.error, EventDefinitionError)


def test_what_has_no_hook_is_not_a_plugin():
    assert "has no function eventbus_subscribe(handlers)" in errors(load(module("empty")))["empty"]


def test_a_hook_with_other_parameters_is_refused_by_name():
    wrong = module("wrong", eventbus_subscribe=lambda bus: None)
    assert "bus" in errors(load(wrong))["wrong"]


def test_a_hook_that_would_silently_do_nothing_is_refused():
    async def waits(handlers):
        handlers.append(1)

    def yields(handlers):
        yield handlers.append(1)

    class Plugin:
        def eventbus_subscribe(self, handlers):
            handlers.append(1)

    loaded = load(module("waits", eventbus_subscribe=waits), module("yields", eventbus_subscribe=yields), Plugin)
    assert set(errors(loaded)) == {"waits", "yields", "Plugin"}
    assert "plain def" in errors(loaded)["waits"]


def test_hooks_marked_with_pluggys_own_marker_work_as_well():
    class Plugin:
        @plugins.hookimpl(tryfirst=True)
        def eventbus_subscribe(self, handlers):
            handlers.append("marked")

    assert load(Plugin())["Plugin"].handlers == ["marked"]


def test_the_properties_of_a_plugin_object_are_not_evaluated():
    class Plugin:
        @property
        def connection(self):
            raise AssertionError("nobody asked")

        def eventbus_subscribe(self, handlers):
            handlers.append("fine")

    assert load(Plugin())["Plugin"].handlers == ["fine"]


@pytest.mark.parametrize("asked_for", ["__name__", "eventbus_subscribe"])
def test_an_object_that_fails_when_it_is_asked_for_something_is_a_plugin_that_failed(asked_for):
    class Bomb:
        def __getattr__(self, name):
            if name == asked_for:
                raise RuntimeError(f"bomb {name}")
            raise AttributeError(name)

    good = module("good", eventbus_subscribe=lambda handlers: handlers.append("all"))
    loaded = load(Bomb(), good)
    assert errors(loaded) == {"Bomb": f"bomb {asked_for}"}
    assert loaded["good"].handlers == ["all"]


def test_a_name_that_is_no_text_is_not_a_plugins_name():
    class Stars:
        def __init__(self):
            self.__name__ = ["stars"]

        def eventbus_subscribe(self, handlers):
            handlers.append("stars")

    assert load(Stars())["Stars"].handlers == ["stars"]


def test_the_log_says_nothing_of_plugins_that_loaded(caplog):
    with caplog.at_level(logging.DEBUG):
        load(module("good", eventbus_subscribe=lambda handlers: None))
    assert caplog.records == []


def test_pluggy_is_imported_by_loading_plugins_only():
    code = """
import sys
from eventbus.plugins import load_plugins, named
assert "pluggy" not in sys.modules
assert load_plugins(make_handlers=list) == []
assert "pluggy" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_unknown_name_of_the_module_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        plugins.no_such_name  # noqa: B018


def declared(declare) -> object:
    handlers = Handlers()
    declare(handlers)
    (declaration,) = handlers.declarations
    return declaration


class Happened:
    pass


def test_a_subscription_gets_the_plugins_name_in_front_and_keeps_the_rest():
    def handler(event):
        """Says nothing."""

    plain = declared(lambda h: h.subscribe("points", Happened, order_by="log", after=0, handler=handler))
    renamed = named(plain, "loyalty")
    assert (renamed.name, plain.name) == ("loyalty/points", "points")
    assert (renamed.handler, renamed.order_by, renamed.after, renamed.retry) == (handler, "log", 0, plain.retry)
    assert renamed.callee.function is handler


def test_a_projection_gets_the_plugins_name_in_front_without_changing_the_plugins_own():
    class Sales(Projection):
        sales = Table("customer_id TEXT PRIMARY KEY")

    mine = Sales()
    renamed = named(declared(lambda h: h.project(mine)), "loyalty")
    assert (renamed.projection.name, mine.name) == ("loyalty/sales", "sales")
    assert isinstance(renamed.projection, Sales)
    assert f"{renamed.projection.sales}" == f"{mine.sales}"  # readers find the tables where they are


def test_a_live_handler_has_no_name_to_change():
    live = declared(lambda h: h.on(Happened, handler=lambda event: None))
    assert named(live, "loyalty") is live


def test_the_example_plugin_loads_as_its_pyproject_says(install, monkeypatch):
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    monkeypatch.syspath_prepend(EXAMPLE)
    install(project["name"], project["version"], {}, **project["entry-points"]["shop.plugins"])
    (plugin,) = load_plugins("shop.plugins", make_handlers=Handlers)
    assert plugin.error is None
    assert (plugin.name, plugin.distribution, plugin.version) == ("loyalty", "shop-loyalty", "1.0.0")
    (declaration,) = plugin.handlers.declarations
    assert named(declaration, plugin.name).name == "loyalty/points"


def test_the_example_plugin_gives_a_point_for_each_unit_of_money(install, monkeypatch):
    from eventbus import event
    from eventbus.testing import context

    @event(name="shop.OrderPlaced")
    class OrderPlaced:
        customer_id: str
        total: float

    monkeypatch.syspath_prepend(EXAMPLE)
    example = importlib.import_module("shop_loyalty")
    placed = OrderPlaced("c-9", 99.99)
    ctx = context(placed)
    declared(example.eventbus_subscribe).callee(placed, ctx)
    assert ctx.published == [example.PointsEarned("c-9", 99)]
