"""How declarations reach a bus: each follower gets each of them once, and all of them out again."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from eventbus import Context, Handlers, Registration, event
from eventbus.errors import EventBusError, EventDefinitionError
from eventbus.handlers import (
    Declaration,
    LiveDeclaration,
)


@event
class Placed:
    number: int = 0


@event
class Shipped:
    number: int = 0


def of_event(placed: Placed) -> str:
    return "event"


def of_both(placed: Placed, context: Context) -> str:
    return f"both {context.attempt}"


class Follower:
    """What a bus does with declarations, as far as these tests care."""

    def __init__(self, refuse: Any = None) -> None:
        self.registered: list[Declaration] = []
        self.refuse = refuse

    def __call__(self, declaration: Declaration) -> Registration:
        if isinstance(declaration, LiveDeclaration) and declaration.handler is self.refuse:
            raise EventDefinitionError("refused")
        self.registered.append(declaration)
        return Registration(lambda: self.registered.remove(declaration))


def test_a_follower_gets_present_and_later_declarations_and_closing_takes_them_all_out() -> None:
    handlers, follower, other = Handlers(), Follower(), Follower()
    handlers.on(Placed, handler=of_event)
    following = handlers.follow(follower)
    handlers.follow(other)
    handlers.subscribe("a", Placed, handler=of_both)
    assert follower.registered == list(handlers.declarations)
    following.close()
    handlers.on(Placed, handler=of_event)
    assert follower.registered == []
    assert other.registered == list(handlers.declarations)
    assert len(other.registered) == 3


def test_taking_a_declaration_out_takes_it_out_of_its_followers() -> None:
    handlers, follower = Handlers(), Follower()
    handlers.follow(follower)
    registration = handlers.on(Placed, handler=of_event)
    assert len(follower.registered) == 1
    registration.close()
    assert follower.registered == []


def test_a_follower_that_refuses_a_declaration_keeps_none_of_them() -> None:
    handlers, follower = Handlers(), Follower(refuse=of_both)
    handlers.on(Placed, handler=of_event)
    handlers.on(Placed, handler=of_both)
    with pytest.raises(EventDefinitionError, match="refused"):
        handlers.follow(follower)
    handlers.on(Placed, handler=of_event)
    assert follower.registered == []


def test_a_declaration_that_one_follower_refuses_is_declared_nowhere() -> None:
    handlers, willing, refusing = Handlers(), Follower(), Follower(refuse=of_both)
    handlers.follow(willing)
    handlers.follow(refusing)
    with pytest.raises(EventDefinitionError, match="refused"):
        handlers.on(Placed, handler=of_both)
    assert handlers.declarations == ()
    assert willing.registered == refusing.registered == []


def test_a_closing_that_fails_leaves_no_other_open() -> None:
    handlers, follower = Handlers(), Follower()

    def refuse_to_close() -> None:
        raise EventBusError("stays")

    handlers.on(Placed, handler=of_event)
    handlers.follow(follower)
    handlers.follow(lambda declaration: Registration(refuse_to_close))
    handlers.follow(other := Follower())
    registration = handlers.on(Placed, handler=of_event)
    assert len(follower.registered) == len(other.registered) == 2
    with pytest.raises(EventBusError, match="stays"):
        registration.close()
    assert len(follower.registered) == len(other.registered) == 1


def test_declaring_and_following_on_many_threads_gives_each_follower_each_declaration_once() -> None:
    handlers = Handlers()
    followers = [Follower() for _ in range(8)]
    start = threading.Barrier(16)

    def declare() -> None:
        start.wait()
        for _ in range(20):
            handlers.on(Placed, handler=of_event)

    def follow(follower: Follower) -> None:
        start.wait()
        handlers.follow(follower)

    threads = [threading.Thread(target=declare) for _ in range(8)]
    threads += [threading.Thread(target=follow, args=(follower,)) for follower in followers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    declared = set(map(id, handlers.declarations))
    assert len(declared) == 160
    for follower in followers:
        assert len(follower.registered) == 160
        assert set(map(id, follower.registered)) == declared
