"""What is looked at before anything is stored: names, keys, metadata, and the file the log would be in."""

import os
from types import MappingProxyType
from typing import Any

import pytest
from bus_stage import Opened, Placed

from eventbus import EventBus, EventDefinitionError, IdempotencyConflict, InvalidEvent
from eventbus.errors import EventBusError


@pytest.fixture
def bus():
    with EventBus(delivery="manual") as made:
        yield made


# --- metadata ----------------------------------------------------------------------------------------------


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("metadata", "path", "reason"),
    [
        ({"a": nested(64)}, "metadata['a']" + "[0]" * 63, "nested more than 64"),
        ({"a": nested(500)}, "metadata['a']" + "[0]" * 63, "nested more than 64"),
        ({"x": "y" * 2000}, "metadata", "2008 bytes, more than max_payload=1000"),
        ({"ü": "ü" * 500}, "metadata", "bytes, more than max_payload=1000"),
        ([("a", 1)], "metadata", "is list, not a dict"),
        ("x", "metadata", "is str, not a dict"),
        ([], "metadata", "is list, not a dict"),
        ({"a": [1, (1,)]}, "metadata['a'][1]", "is tuple"),
        ({"a": "\ud800"}, "metadata['a']", "lone surrogate"),
        ({"a": 10**5000}, "metadata['a']", "too long"),
        ({1: 2}, "metadata", "has the key 1"),
    ],
    ids=range(11),
)
def test_metadata_holds_the_limits_of_payloads_and_is_refused_with_its_path(metadata, path, reason):
    with EventBus(max_payload=1000, delivery="manual") as bus:
        with pytest.raises(InvalidEvent, match=reason) as caught:
            bus.publish(Placed(), metadata=metadata)
        assert (caught.value.path, caught.value.stored) == (path, "not stored")
        assert bus.log.head == 0


def test_metadata_at_the_limits_is_stored(bus):
    deep = {"a": nested(63), "big": 2**70}
    assert bus.log.get(bus.publish(Placed(), metadata=deep).id).metadata == deep
    assert bus.log.get(bus.publish(Placed(), metadata=MappingProxyType({"a": 1})).id).metadata == {"a": 1}
    assert bus.log.get(bus.publish(Placed(), metadata={}).id).metadata == {}


# --- keys --------------------------------------------------------------------------------------------------


def test_a_key_given_with_a_known_id_stands_for_its_event_from_then_on(bus):
    first = bus.publish(Placed(5), id="i5", idempotency_key="k5")
    again = bus.publish(Placed(5), id="i5", idempotency_key="k6")
    assert (again.position, again.duplicate) == (first.position, True)
    with pytest.raises(IdempotencyConflict, match="k6"):
        bus.publish(Placed(6), idempotency_key="k6")
    later = bus.publish(Placed(5), idempotency_key="k6")
    assert (later.id, later.position, later.duplicate) == ("i5", first.position, True)
    assert bus.log.head == 1


def test_a_key_given_with_a_known_id_in_a_transaction_is_free_again_if_it_is_undone(bus):
    bus.publish(Placed(5), id="i5")

    def undone():
        with bus.transaction() as tx:
            tx.publish(Placed(5), id="i5", idempotency_key="k")
            tx.publish(Placed(6), idempotency_key="k")

    with pytest.raises(IdempotencyConflict, match="'k'"):
        undone()
    assert not bus.publish(Placed(6), idempotency_key="k").duplicate


@pytest.mark.parametrize("keys", [iter(["a", "b"]), {"a", "b"}, {"a": 1, "b": 2}, "ab", b"ab", 3, ["a"]], ids=type)
def test_the_keys_of_many_are_a_list(bus, keys):
    with pytest.raises(EventBusError, match="a list with one key for each of the 2 events") as caught:
        bus.publish_many([Placed(1), Placed(2)], idempotency_keys=keys)
    assert caught.value.stored == "not stored"
    assert bus.log.head == 0


# --- who publishes, and where ------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["\ud800", "a\0b", "", "x" * 1001, 3, b"shop"], ids=ascii)
def test_a_source_that_could_not_be_stored_is_refused_at_the_door(tmp_path, source):
    with pytest.raises(EventDefinitionError, match="source="):
        EventBus(tmp_path / "shop.db", source=source)
    assert not list(tmp_path.iterdir())


class Bytes(os.PathLike):
    def __init__(self, path: bytes) -> None:
        self._path = path

    def __fspath__(self) -> bytes:
        return self._path


def test_a_path_may_be_spelled_in_bytes(tmp_path):
    with EventBus(Bytes(os.fsencode(tmp_path / "shop.db")), delivery="manual") as bus:
        receipt = bus.publish(Opened("7", "Ada"))
        assert bus.log.get(receipt.id).source == "shop"
        assert bus.path == str(tmp_path / "shop.db")


@pytest.mark.skipif(os.name == "nt", reason="a name on Windows is not made of bytes")
def test_the_name_of_the_file_need_not_be_text(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/sh\xffp.db")
    with EventBus(path, delivery="manual") as bus:
        receipt = bus.publish(Placed())
        assert bus.log.get(receipt.id).source == bus.source == "sh\N{REPLACEMENT CHARACTER}p"


@pytest.mark.skipif(os.name == "nt", reason="Windows has such names")
def test_a_path_that_no_file_can_have_is_refused_at_the_door():
    with pytest.raises(EventDefinitionError, match="not the path of a file"):
        EventBus("\ud800.db")
