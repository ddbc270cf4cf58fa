"""What can happen next in a simulated world, and how likely that is."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from eventbus.errors import EventBusError
from eventbus.worker.pump import TICK

if TYPE_CHECKING:
    from simulated.process import Process
    from simulated.world import World

MOST_PROCESSES = 3
Action = Callable[["World"], None]


def act(world: World) -> None:
    """One thing that happens, chosen by the world's chance."""
    if not _free(world):
        if len(world.processes) < MOST_PROCESSES:
            world.begin()
        return
    (action,) = world.chance.choices(_ACTIONS, _WEIGHTS)
    try:
        action(world)
        world.judge.look()
    except AssertionError as error:
        world.broken = world.broken or error
    if world.broken is not None:
        raise world.broken


def go_on(world: World) -> None:
    """The next thing that happens where nothing goes wrong: all that can run runs, then time passes."""
    if world.broken is not None:
        raise world.broken
    world.somebody()
    for process in world.processes:
        if process.elsewhere:
            _run_elsewhere(world, process)
            return
        if process.is_awake():
            _turn(world, process)
            return
    _until_next(world)


def _free(world: World) -> list[Process]:
    """Those who are not in the middle of something."""
    return [each for each in world.processes if not each.running and hasattr(each, "pump")]


def _any(world: World) -> Process:
    return world.chance.choice(_free(world))


def _turn(world: World, process: Process) -> None:
    world.say(process.number, "turn:", world.within(process, process.turn))


def _run_elsewhere(world: World, process: Process) -> None:
    which = world.chance.randrange(len(process.elsewhere))
    thunk = process.elsewhere[which]
    del process.elsewhere[which]
    world.say(process.number, "elsewhere:", world.within(process, thunk))


def _until_next(world: World) -> None:
    seconds = min((each.wakes_at for each in world.processes), default=world.time.now) - world.time.now
    world.time.pass_by(max(seconds, 0.001))


# -- the ordinary --------------------------------------------------------------------------------------
def _deliver(world: World) -> None:
    awake = [each for each in _free(world) if each.is_awake()]
    if awake:
        _turn(world, world.chance.choice(awake))
    else:
        _until_next(world)


def _deliver_elsewhere(world: World) -> None:
    """On another thread than the pump's, which may be in the middle of its turn, though not of a commit."""
    waiting = [each for each in world.processes if each.elsewhere and not each.in_transaction and not each.is_stepping]
    if waiting:
        _run_elsewhere(world, world.chance.choice(waiting))
    else:
        _deliver(world)


def _publish(world: World) -> None:
    world.publisher.say(_any(world))


def _pass(world: World) -> None:
    world.time.pass_by(world.chance.choice((0.01, 0.3, 1.0, 2.5)))


# -- the unusual ---------------------------------------------------------------------------------------
def _begin(world: World) -> None:
    if len(world.processes) < MOST_PROCESSES and not any(each.in_transaction for each in world.processes):
        world.begin()


def _close(world: World) -> None:
    process = _any(world)
    world.count("closes")
    world.say(process.number, "closes:", world.within(process, lambda: _closed(process)))


def _closed(process: Process) -> str:
    try:
        process.close()
    except EventBusError as error:
        process.die()
        return type(error).__name__
    return "well"


def _deal_with_the_dead(world: World) -> None:
    process = _any(world)
    world.say(process.number, "person:", world.within(process, lambda: _deal(world, process)))


def _deal(world: World, process: Process) -> str:
    try:
        letters = process.bus.dead_letters.list(limit=100)
        if not letters:
            return "nobody is dead"
        letter = world.chance.choice(letters)
        if world.chance.random() < 0.5:
            process.bus.dead_letters.retry(letter, subscription=letter.subscription)
            return f"retried {letter.subscription} {letter.position}"
        whole = world.chance.random() < 0.3
        behind = world.judge.events if whole else [letter.position]
        world.judge.may_be_discarded(letter.subscription, behind)
        process.bus.dead_letters.discard(letter, subscription=letter.subscription, reason="void", whole_key=whole)
    except EventBusError as error:
        return type(error).__name__
    return f"discarded {letter.subscription} {letter.position} {whole}"


def _pause_or_resume(world: World) -> None:
    process, kind = _any(world), world.chance.choice(world.kinds)
    paused = world.judge.stands[kind.name].paused
    verb = "resume" if paused or world.chance.random() < 0.3 else "pause"
    world.say(process.number, verb, kind.name, world.within(process, lambda: _asked(process, kind.name, verb)))


def _asked(process: Process, name: str, verb: str) -> str:
    try:
        getattr(process.bus.subscriptions[name], verb)()
    except EventBusError as error:
        return type(error).__name__
    return "done"


# -- what goes wrong -----------------------------------------------------------------------------------
def _be_busy(world: World) -> None:
    _any(world).faults.busy = world.chance.choice((1, 2, 5, 12))


def _fail_a_commit(world: World) -> None:
    _any(world).faults.commit_fails = world.chance.choice(("before", "after"))


def _kill(world: World) -> None:
    """At once, also where it is in the middle of a handler; whoever is on the stack finds out when it goes on."""
    process = world.chance.choice(world.processes)
    world.say(process.number, "is killed")
    world.kill(process)


def _kill_soon(world: World) -> None:
    """At some statement of its own: before it is run or, where it is a commit, right after."""
    process = _any(world)
    process.faults.fuse = world.chance.randint(1, 40)
    world.count("kills at a statement")


def _kill_all(world: World) -> None:
    if any(each.running for each in world.processes):
        return
    world.say("all are killed")
    world.count("all killed")
    world.move_house()


def _set_the_clock(world: World) -> None:
    """Not twice within two looks of a pump: a clock that is put forward and back in between goes unnoticed."""
    if world.time.now < world.clock_set_at + 2 * TICK:
        return
    world.clock_set_at = world.time.now
    by = world.chance.choice((-3600.0, -30.0, -3.0, 3.0, 30.0, 3600.0))
    world.time.set_by += by
    world.count("clock set")
    world.say("the clock is set by", by)


def _steal(world: World) -> None:
    kind = world.chance.choice(world.kinds)
    quietly = world.chance.random() < 0.5
    if quietly and any(each.in_transaction for each in world.processes):
        return  # whoever takes over writes, and has to wait
    world.say(kind.name, "is stolen", quietly)
    world.steal(kind, quietly=quietly)


def _break_or_mend(world: World) -> None:
    world.outage = not world.outage


_TABLE: dict[Action, int] = {
    _deliver: 40,
    _deliver_elsewhere: 14,
    _publish: 12,
    _pass: 6,
    _begin: 4,
    _close: 1,
    _deal_with_the_dead: 2,
    _pause_or_resume: 1,
    _be_busy: 2,
    _fail_a_commit: 3,
    _kill: 1,
    _kill_soon: 2,
    _kill_all: 1,
    _set_the_clock: 1,
    _steal: 2,
    _break_or_mend: 1,
}
_ACTIONS, _WEIGHTS = [*_TABLE], [*_TABLE.values()]
