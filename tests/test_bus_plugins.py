"""Plugins on a bus: what they declare works under their name, and goes away with them."""

import asyncio
import types

import pytest
from bus_stage import PATIENCE, Paid, Placed

from eventbus import EventBus, EventBusError, Handlers, Projection, Table, handles
from eventbus.errors import EventDefinitionError


@pytest.fixture(params=["file", "memory"])
def bus(request, tmp_path):
    made = EventBus(tmp_path / "shop.db" if request.param == "file" else None, errors="raise", delivery="manual")
    yield made
    made.close()


class Counts(Projection):
    counts = Table("number INTEGER PRIMARY KEY")

    @handles(Placed)
    def placed(self, placed, tx):
        tx.execute(f"INSERT INTO {self.counts} VALUES (?)", (placed.number,))


class Plugin:
    """Declares one of each kind, and notes what its handlers heard."""

    def __init__(self, name: str = "loyalty") -> None:
        self.__name__ = name
        self.live, self.durable = [], []

    def eventbus_subscribe(self, handlers: Handlers) -> None:
        handlers.on(Placed, handler=self.live.append)
        handlers.subscribe("points", Placed, handler=self.durable.append)
        handlers.project(Counts)


def plugin(name: str, subscribe) -> types.ModuleType:
    module = types.ModuleType(name)
    module.eventbus_subscribe = subscribe
    return module


def test_what_a_plugin_declares_works_under_its_name(bus):
    loyalty = Plugin()
    (loaded,) = bus.load_plugins(loyalty)
    assert (loaded.name, loaded.error) == ("loyalty", None)
    receipt = bus.publish(Placed(1))
    assert bus.drain(PATIENCE) == 2
    assert loyalty.live == loyalty.durable == [Placed(1)]
    assert list(bus.subscriptions) == ["loyalty/points"]
    assert list(bus.projections) == ["loyalty/counts"]
    assert bus.status(receipt) == {"loyalty/points": "handled", "loyalty/counts": "handled"}
    assert list(bus.plugins) == ["loyalty"]


def test_unloading_takes_all_of_it_out(bus):
    loyalty = Plugin()
    bus.load_plugins(loyalty)
    bus.publish(Placed(1))
    bus.drain(PATIENCE)
    bus.unload_plugin("loyalty")
    bus.publish(Placed(2))
    assert bus.drain(PATIENCE) == 0
    assert loyalty.live == loyalty.durable == [Placed(1)]
    assert bus.plugins == {}
    assert bus.subscriptions["loyalty/points"].state == "orphan"
    with pytest.raises(EventBusError, match="loyalty"):
        bus.unload_plugin("loyalty")


def test_a_plugin_that_is_loaded_again_goes_on_where_it_was(bus):
    bus.load_plugins(Plugin())
    bus.publish(Placed(1))
    bus.drain(PATIENCE)
    bus.unload_plugin("loyalty")
    bus.publish(Placed(2))
    again = Plugin()
    assert bus.load_plugins(again)[0].error is None
    bus.publish(Placed(3))
    bus.drain(PATIENCE)
    assert again.durable == [Placed(2), Placed(3)]
    assert again.live == [Placed(3)]


def test_two_plugins_may_use_one_name_for_their_own(bus):
    heard = {"one": [], "other": []}
    for name in heard:
        bus.load_plugins(
            plugin(name, lambda handlers, name=name: handlers.subscribe("points", Placed, handler=heard[name].append))
        )
    bus.publish(Placed(1))
    assert bus.drain(PATIENCE) == 2
    assert heard == {"one": [Placed(1)], "other": [Placed(1)]}
    assert sorted(bus.subscriptions) == ["one/points", "other/points"]


def test_a_plugin_that_fails_is_reported_with_nothing_of_it_left_and_the_others_load(bus):
    heard = []

    def subscribe(handlers: Handlers) -> None:
        handlers.on(Placed, handler=heard.append)
        raise ValueError("not today")

    bad, good = plugin("bad", subscribe), Plugin()
    loaded = {each.name: each for each in bus.load_plugins(bad, good)}
    assert isinstance(loaded["bad"].error, ValueError)
    assert loaded["loyalty"].error is None
    bus.publish(Placed(1))
    assert (heard, good.live) == ([], [Placed(1)])
    assert list(bus.plugins) == ["loyalty"]


def test_a_plugin_whose_declarations_the_bus_refuses_is_reported_and_the_others_load(bus):
    heard = []

    def subscribe(handlers: Handlers) -> None:
        handlers.on(Placed, handler=heard.append)
        handlers.subscribe("x" * 199, Placed, handler=heard.append)

    good = Plugin()
    loaded = {each.name: each for each in bus.load_plugins(plugin("long", subscribe), good)}
    assert isinstance(loaded["long"].error, EventDefinitionError)
    assert loaded["long"].handlers is None
    assert list(bus.plugins) == ["loyalty"]
    bus.publish(Placed(1))
    assert (heard, good.live) == ([], [Placed(1)])


@pytest.mark.parametrize("opened", [True, False])
def test_a_plugin_whose_subscription_the_log_refuses_spoils_nothing_for_others(bus, opened):
    heard = []
    if opened:
        bus.publish(Paid())
    ahead = plugin("ahead", lambda handlers: handlers.subscribe("x", Placed, handler=heard.append, after=99))
    good = Plugin()
    loaded = bus.load_plugins(ahead, good)
    bus.start()  # nobody can tell before the log is there: its first use finds out
    assert isinstance(loaded[0].error, EventDefinitionError)
    assert "after=99" in str(loaded[0].error)
    assert loaded[0].handlers is None
    assert loaded[1].error is None
    bus.publish(Placed(1))
    bus.drain(PATIENCE)
    assert (heard, good.durable) == ([], [Placed(1)])
    assert list(bus.plugins) == ["loyalty"]


def projecting(heard: list):
    """Subscribes and projects; its table has the name of every other one's."""

    def subscribe(handlers: Handlers) -> None:
        handlers.on(Placed, handler=heard.append)
        handlers.subscribe("points", Placed, handler=heard.append)
        handlers.project(Counts)

    return subscribe


@pytest.mark.parametrize("first_use", [EventBus.start, EventBus.drain, lambda bus: bus.publish(Paid())])
def test_of_two_plugins_whose_tables_have_one_name_the_second_is_taken_out_when_the_log_opens(bus, caplog, first_use):
    one, other = [], []
    loaded = bus.load_plugins(plugin("one", projecting(one)), plugin("other", projecting(other)))
    assert [each.error for each in loaded] == [None, None], "nothing is known before the log is there"
    first_use(bus)
    assert loaded[0].error is None
    assert isinstance(loaded[1].error, EventDefinitionError)
    assert "Plugin 'other' was not loaded: Projection 'other/counts'" in caplog.text
    receipt = bus.publish(Placed(1))
    bus.drain(PATIENCE)
    assert (one, other) == ([Placed(1), Placed(1)], [])
    assert list(bus.plugins) == ["one"]
    assert bus.status(receipt)["one/counts"] == "handled"
    assert bus.query("SELECT number FROM counts") == [{"number": 1}]


def test_a_plugin_that_was_taken_out_can_be_loaded_again_when_it_is_right(bus):
    heard = []
    bus.load_plugins(plugin("ahead", lambda handlers: handlers.subscribe("x", Placed, handler=heard.append, after=2)))
    bus.publish_many([Placed(1), Placed(2)])
    assert bus.plugins == {}
    again = plugin("ahead", lambda handlers: handlers.subscribe("x", Placed, handler=heard.append, after=2))
    assert bus.load_plugins(again)[0].error is None
    bus.publish(Placed(3))
    bus.drain(PATIENCE)
    assert heard == [Placed(3)]


def test_a_plugin_that_is_loaded_on_a_loop_and_refused_is_taken_out_by_whatever_comes_next(bus):
    bus.start()

    async def load():
        return bus.load_plugins(plugin("ahead", lambda handlers: handlers.subscribe("x", Placed, handler=id, after=99)))

    (loaded,) = asyncio.run(load())
    bus.publish(Placed(1))
    assert isinstance(loaded.error, EventDefinitionError)
    assert bus.plugins == {}


def test_what_a_plugin_declares_later_and_wrongly_is_raised_there_and_the_plugin_stays(bus):
    kept = []
    bus.load_plugins(plugin("late", lambda handlers: kept.append(handlers)))
    bus.start()
    with pytest.raises(EventDefinitionError, match="after=99"):
        kept[0].subscribe("x", Placed, handler=id, after=99)
    bus.publish(Placed(1))
    assert list(bus.plugins) == ["late"]


def test_an_apps_own_mistake_is_raised_though_a_plugin_made_one_too(bus):
    (loaded,) = bus.load_plugins(
        plugin("ahead", lambda handlers: handlers.subscribe("x", Placed, handler=id, after=99))
    )
    bus.subscribe("mine", Placed, handler=id, after=98)
    with pytest.raises(EventDefinitionError, match="after=98") as raised:
        bus.start()
    assert "after=99" not in str(raised.value)
    assert "after=99" in str(loaded.error)


def test_a_plugin_can_be_loaded_once(bus):
    bus.load_plugins(Plugin())
    (again,) = bus.load_plugins(Plugin())
    assert isinstance(again.error, EventDefinitionError)
    bus.publish(Placed(1))
    assert bus.drain(PATIENCE) == 2


def test_what_a_plugin_declares_later_counts_too(bus):
    kept, heard = [], []
    bus.load_plugins(plugin("late", lambda handlers: kept.append(handlers)))
    kept[0].on(Placed, handler=heard.append)
    kept[0].subscribe("later", Placed, handler=heard.append)
    bus.publish(Placed(1))
    bus.drain(PATIENCE)
    assert heard == [Placed(1), Placed(1)]
    assert list(bus.subscriptions) == ["late/later"]


def test_a_failing_handler_of_a_plugin_fails_for_itself_only(tmp_path):
    with EventBus(tmp_path / "shop.db", delivery="manual") as bus:

        def subscribe(handlers: Handlers) -> None:
            handlers.on(Placed, handler=lambda placed: 1 / 0)
            handlers.subscribe("broken", Placed, handler=lambda placed: 1 / 0)

        good = Plugin()
        bus.load_plugins(plugin("broken", subscribe), good)
        receipt = bus.publish(Placed(1))
        assert bus.drain(PATIENCE) == 2
        assert good.live == good.durable == [Placed(1)]
        assert bus.status(receipt)["broken/broken"] == "retrying"


def test_handlers_are_included_and_taken_out_again(bus):
    orders, heard = Handlers(), []
    orders.on(Placed, handler=heard.append)
    orders.subscribe("orders", Placed, handler=heard.append)
    orders.project(Counts)
    with bus.include(orders):
        bus.publish(Placed(1))
        assert bus.drain(PATIENCE) == 2
        orders.on(Paid, handler=heard.append)
        bus.publish(Paid(2))
    bus.publish_many([Placed(3), Paid(4)])
    assert bus.drain(PATIENCE) == 0
    assert heard == [Placed(1), Placed(1), Paid(2)]


def test_one_set_of_handlers_serves_several_buses(bus):
    orders, heard = Handlers(), []
    orders.on(Placed, handler=heard.append)
    with EventBus(delivery="manual") as other:
        bus.include(orders)
        registration = other.include(orders)
        bus.publish(Placed(1))
        other.publish(Placed(2))
        registration.close()
        other.publish(Placed(3))
        bus.publish(Placed(4))
    assert heard == [Placed(1), Placed(2), Placed(4)]
