"""Publishing against a dict: ids, keys, expected versions, streams, transactions, reads, over reopening and sources.

The model is a list of what is stored. Whatever the public face is asked, it answers as the list does.
"""

from __future__ import annotations

import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from eventbus import EventBus, IdempotencyConflict, Receipt, WrongExpectedVersion, event
from eventbus.testing import FakeClock


@event(name="model.Said")
class Said:
    """Something of any content."""

    what: int


@event(name="model.Signed", stream="signed-{who}")
class Signed:
    """One whose stream follows from its content."""

    who: str
    what: int


@attrs.frozen
class Stored:
    """What the model knows of an event: its place in the list is its place in the log."""

    id: str
    position: int
    stream: str | None
    sequence: int | None
    event: Said | Signed
    source: str


class Oops(Exception):
    """Ends a transaction."""


STREAMS = st.sampled_from([None, "a", "b"])
EVENTS = st.one_of(
    st.builds(Said, st.integers(0, 3)), st.builds(Signed, st.sampled_from(["ada", "bob"]), st.integers(0, 1))
)
KEYS = st.sampled_from([None, None, "k1", "k2", "k3", "k4"])
IDS = st.sampled_from([None, None, None, "id-1", "id-2"])
VERSIONS = st.sampled_from(["none", "none", "none", "right", "wrong", "0"])
WHENCE = st.sampled_from(["shop", "shop", "till"])
ASKED = st.tuples(EVENTS, STREAMS, KEYS, IDS, VERSIONS)
Asked = tuple[Said | Signed, str | None, str | None, str | None, str]


class PublishMachine(RuleBasedStateMachine):
    """The bus, and beside it the list."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "log.db"
        self.clock = FakeClock()
        self.log: list[Stored] = []
        self.keys: dict[tuple[str, str], tuple[Stored, Said | Signed]] = {}
        self.open()

    def open(self) -> None:
        self.buses = {
            source: EventBus(self.path, clock=self.clock, delivery="manual", durability="process", source=source)
            for source in ("shop", "till")
        }

    def teardown(self) -> None:
        for bus in self.buses.values():
            bus.close()
        self.folder.cleanup()

    # -- what the list would do ------------------------------------------------------------------
    def version(self, stream: str | None) -> int:
        return sum(stream is not None and each.stream == stream for each in self.log)

    def of_id(self, id_: str) -> Stored | None:
        return next((each for each in self.log if each.id == id_), None)

    def foretell(self, source: str, asked: Asked) -> Stored | type[Exception] | None:
        """What is to come of it: the earlier event that it repeats, an error, or None for a new one."""
        happened, stream, key, id_, _ = asked
        stream = stream_of(happened, stream)
        keyed = self.keys.get((source, key)) if key is not None else None
        earlier = keyed[0] if keyed else self.of_id(id_) if id_ is not None else None
        if earlier is not None:
            same = (earlier.event, earlier.stream) == (happened, stream)
            return earlier if same else IdempotencyConflict
        expected = self.expected(asked)
        return WrongExpectedVersion if expected not in (None, self.version(stream)) else None

    def expected(self, asked: Asked) -> int | None:
        happened, stream, _, _, version = asked
        stream = stream_of(happened, stream)
        if stream is None or version == "none":
            return None
        return {"right": self.version(stream), "wrong": self.version(stream) + 1, "0": 0}[version]

    def how(self, asked: Asked) -> dict[str, Any]:
        _, stream, key, id_, _ = asked
        how: dict[str, Any] = {"idempotency_key": key, "id": id_, "expected_version": self.expected(asked)}
        return {name: value for name, value in {**how, "stream": stream}.items() if value is not None}

    def add(self, source: str, asked: Asked, receipt: Receipt | None, id_: str, position: int) -> Stored:
        happened, stream, _, _, _ = asked
        stream = stream_of(happened, stream)
        sequence = self.version(stream) + 1 if stream is not None else None
        stored = Stored(id_, position, stream, sequence, happened, source)
        if receipt is not None:
            assert (receipt.stream, receipt.sequence, receipt.duplicate) == (stream, sequence, False)
        self.log.append(stored)
        return stored

    # -- what is asked ---------------------------------------------------------------------------
    @rule(source=WHENCE, asked=ASKED)
    def publish(self, source: str, asked: Asked) -> None:
        foretold = self.foretell(source, asked)
        if isinstance(foretold, type):
            with pytest.raises(foretold) as raised:
                self.buses[source].publish(asked[0], **self.how(asked))
            assert raised.value.stored == "not stored"  # type: ignore[attr-defined]
            return
        receipt = self.buses[source].publish(asked[0], **self.how(asked))
        if foretold is None:
            assert asked[3] in (None, receipt.id)
            assert receipt.position > (self.log[-1].position if self.log else 0)
            stored = self.add(source, asked, receipt, receipt.id, receipt.position)
        else:
            stored = foretold
            assert receipt == Receipt(stored.id, stored.position, stored.stream, stored.sequence, duplicate=True)
        if asked[2] is not None:
            self.keys.setdefault((source, asked[2]), (stored, asked[0]))

    @rule(source=WHENCE, events=st.lists(EVENTS, max_size=4), stream=STREAMS)
    def publish_many(self, source: str, events: list[Said | Signed], stream: str | None) -> None:
        how = {} if stream is None else {"stream": stream}
        receipts = self.buses[source].publish_many(events, **how)
        assert len(receipts) == len(events)
        for happened, receipt in zip(events, receipts, strict=True):
            self.add(source, (happened, stream, None, None, "none"), receipt, receipt.id, receipt.position)

    @rule(source=WHENCE, asked=st.lists(ASKED, min_size=1, max_size=3), fails=st.booleans())
    def transact(self, source: str, asked: list[Asked], fails: bool) -> None:
        """All or nothing: an error of a publish, or of the app, takes back what was published before it."""
        log, keys, told = list(self.log), dict(self.keys), False
        bus = self.buses[source]
        with suppress(Oops, IdempotencyConflict, WrongExpectedVersion), bus.transaction() as tx:
            for each in asked:
                foretold = self.foretell(source, each)
                told = isinstance(foretold, type)
                id_ = tx.publish(each[0], **self.how(each))
                assert not isinstance(foretold, type), f"{foretold} was to be raised"
                stored = foretold or self.add(source, each, None, id_, 0)
                assert id_ == stored.id
                if each[2] is not None:
                    self.keys.setdefault((source, each[2]), (stored, each[0]))
            told = fails
            if fails:
                raise Oops
        if told:
            self.log, self.keys = log, keys
        else:
            self._learn_positions(bus)

    def _learn_positions(self, bus: EventBus) -> None:
        """A transaction tells ids; where its events are is read."""
        known = {each.id: each for each in self.log if each.position}
        for place, each in enumerate(self.log):
            if not each.position:
                envelope = bus.log.get(each.id)
                assert envelope is not None
                known[each.id] = self.log[place] = attrs.evolve(each, position=envelope.position)
        self.keys = {name: (known[stored.id], happened) for name, (stored, happened) in self.keys.items()}

    @rule()
    def reopen(self) -> None:
        for bus in self.buses.values():
            bus.close()
        self.open()

    # -- what is seen ----------------------------------------------------------------------------
    @invariant()
    def the_log_is_the_list(self) -> None:
        for bus in self.buses.values():
            assert bus.log.head == (self.log[-1].position if self.log else 0)
        assert [seen(each) for each in self.buses["shop"].log.read()] == self.log

    @rule(stream=STREAMS, after=st.integers(0, 8), limit=st.sampled_from([None, 1, 3]), backward=st.booleans())
    def read(self, stream: str | None, after: int, limit: int | None, backward: bool) -> None:
        found = self.buses["till"].log.read(stream=stream, after=after, limit=limit, backward=backward)
        wanted = [each for each in self.log if each.position > after and stream in (None, each.stream)]
        wanted = wanted[::-1] if backward else wanted
        assert [seen(each) for each in found] == wanted[:limit]

    @rule(which=st.integers(0, 30))
    def get(self, which: int) -> None:
        if self.log:
            stored = self.log[which % len(self.log)]
            for name in (stored.id, stored.position):
                envelope = self.buses["shop"].log.get(name)
                assert envelope is not None
                assert seen(envelope) == stored
        assert self.buses["shop"].log.get(10_000 + which) is None
        assert self.buses["shop"].log.get(f"nobody {which}") is None


def stream_of(happened: Said | Signed, stream: str | None) -> str | None:
    return stream or (f"signed-{happened.who}" if isinstance(happened, Signed) else None)


def seen(envelope: Any) -> Stored:
    return Stored(envelope.id, envelope.position, envelope.stream, envelope.sequence, envelope.event, envelope.source)


PublishMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
test_publishing_does_what_a_list_does = PublishMachine.TestCase
