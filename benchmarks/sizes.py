"""How much of everything is measured."""

from __future__ import annotations

from attrs import frozen


@frozen
class Sizes:
    """`rounds` of short blocks, `long_rounds` of long ones; the rest is counted in events unless it says otherwise."""

    name: str
    rounds: int
    long_rounds: int
    emits: int  # in a block
    publishes: int  # in a block, one commit each
    many: int  # in one publish_many
    many_calls: int  # in a block
    threads: int
    per_thread: int
    tasks: int
    per_task: int
    durable: int  # published and handled in a block
    durable_slow: int  # the same, of a peer that takes a millisecond for each
    durable_rounds: int
    dispatches_slow: int  # emits in a block of such a peer
    backlog: int
    latencies: int
    starts: int  # of a process
    idle: tuple[int, ...]  # subscriptions
    large: int  # events in a large log
    small: int  # events in a small one
    gets: int  # in a block


FULL = Sizes(
    name="full",
    rounds=51,
    long_rounds=7,
    emits=20_000,
    publishes=250,
    many=1000,
    many_calls=2,
    threads=64,
    per_thread=20,
    tasks=1000,
    per_task=5,
    durable=1000,
    durable_slow=100,
    durable_rounds=15,
    dispatches_slow=30,
    backlog=100_000,
    latencies=500,
    starts=31,
    idle=(10, 100, 1000),
    large=10_000_000,
    small=10_000,
    gets=1000,
)
QUICK = Sizes(
    name="quick",
    rounds=15,
    long_rounds=3,
    emits=5_000,
    publishes=150,
    many=1000,
    many_calls=1,
    threads=64,
    per_thread=10,
    tasks=1000,
    per_task=2,
    durable=1000,
    durable_slow=20,
    durable_rounds=3,
    dispatches_slow=5,
    backlog=10_000,
    latencies=100,
    starts=7,
    idle=(10, 100, 1000),
    large=100_000,
    small=10_000,
    gets=500,
)
TINY = Sizes(  # for the tests: does it run at all
    name="tiny",
    rounds=2,
    long_rounds=1,
    emits=5,
    publishes=2,
    many=3,
    many_calls=1,
    threads=2,
    per_thread=2,
    tasks=3,
    per_task=2,
    durable=3,
    durable_slow=2,
    durable_rounds=2,
    dispatches_slow=2,
    backlog=20,
    latencies=2,
    starts=1,
    idle=(10,),
    large=30,
    small=20,
    gets=3,
)
