"""A to-do list that forgets nothing: what is on it follows from what happened to it, so anything can be undone.

python examples/history_cli.py [--file FILE] add TEXT | done NUMBER | undo | list | history
"""

from __future__ import annotations

import argparse
import sys

from eventbus import Envelope, EventBus, EventBusError, event


@event(name="todo.Added", stream="todo")
class Added:
    text: str


@event(name="todo.Done", stream="todo")
class Done:
    number: int  # the entry that the event of this sequence added


@event(name="todo.Undone", stream="todo")
class Undone:
    number: int  # nothing leaves the log: undoing is one more event, about the event of this sequence


NOTHING_SAID = {
    "add": "Say what is to be done: add TEXT",
    "done": "Say which entry is done: done NUMBER",
    "undo": "There is nothing to undo here.",
}


def in_force(past: list[Envelope]) -> dict[int, Envelope]:
    """What was not undone, by sequence."""
    undone = {each.event.number for each in past if isinstance(each.event, Undone)}
    return {n: each for n, each in enumerate(past, 1) if n not in undone and not isinstance(each.event, Undone)}


def act(command: str, what: str, past: list[Envelope]) -> object:
    """What happens now, as an event, or nothing; exits with a sentence for what cannot be."""
    valid = in_force(past)
    finished = {each.event.number for each in valid.values() if isinstance(each.event, Done)}
    entries = {n: each.event for n, each in valid.items() if isinstance(each.event, Added) and n not in finished}
    if command == "list":
        print("\n".join(f"{n:4}  {entry.text}" for n, entry in entries.items()) or "Nothing to do.")
    elif command == "history":
        for n, each in enumerate(past, 1):
            undone = "" if n in valid or isinstance(each.event, Undone) else "  (undone)"
            print(f"{n:4}  {each.time.astimezone():%d %b %H:%M}  {each.event}{undone}")
    elif command == "add" and what:
        return Added(what)
    elif command == "done" and what.isdecimal() and int(what) in entries:
        return Done(int(what))
    elif command == "undo" and valid:
        return Undone(max(valid))
    else:
        sys.exit(f"{what!r} is not on the list." if what else NOTHING_SAID[command])
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description="A to-do list with a history.")
    parser.add_argument("--file", help="where the list is kept; by default in your folder for application data")
    parser.add_argument("command", choices=["add", "done", "undo", "list", "history"])
    parser.add_argument("what", nargs="*", help="the text to add, or the number that is done")
    options = parser.parse_args()
    bus = EventBus(options.file, delivery="manual") if options.file else EventBus.for_app("eventbus-todo")
    with bus:
        past = list(bus.log.read(stream="todo"))
        happened = act(options.command, " ".join(options.what), past)
        if happened is not None:  # refused if another window was quicker
            receipt = bus.publish(happened, expected_version=len(past))
            print(f"{receipt.sequence:4}  {happened}")


if __name__ == "__main__":
    try:
        main()
    except EventBusError as error:
        sys.exit(str(error))
