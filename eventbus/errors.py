"""Everything that can go wrong, as one tree.

EventBusError
|-- InvalidEvent (ValueError)            a value that the log could not bring back; refused at the door
|-- EventDefinitionError (TypeError)     a class, handler or projection that cannot work as declared
|-- WrongExpectedVersion                 the stream has moved on since the caller looked
|-- IdempotencyConflict                  the same key or id, but other content
|-- SequenceConflict                     two events of a sender with one number
|-- InboxFull                            too many events wait behind a gap
|-- SequenceMissing                      a gap that a person decides about
|-- PublishInDoubt                       nobody can know whether the commit took place
|-- LogError                             the file
|   |-- LogBusy                          another process holds the write lock
|   |-- LogFull                          no room on the disk
|   |-- LogReadOnly
|   |-- LogIOError
|   |-- LogCorrupt
|   |-- LogReplaced                      another file stands where the log was
|   |-- LogRolledBack                    storage lost acknowledged events
|   |-- LogTooNew                        written by a later release
|   |-- NotAnEventLog
|   `-- LogOnNetworkFS
|-- LeaseLost                            another process delivers this subscription now, or it was rewound
|-- ForkedBus                            a bus opened before fork() was used in the child
|-- BusClosed
|-- WouldDeadlock (RuntimeError)         a call that could never return where it was made
|-- CausationLoop                        handlers whose events cause each other, without an end
|-- StatementRefused                     SQL in a transaction of the bus that wanted more than it may
|-- InvalidStep (ValueError)             a step has run, and its result cannot be had again
|-- TransactionTimeout (TimeoutError)    a transaction was open for too long, and was taken away
|-- HandlerTimeout
|-- UnknownEvent                         a stored event whose class is not loaded
`-- WaitTimeout (TimeoutError)

Each error says what happened, whether anything is stored, and what to do next.
"""

from __future__ import annotations

from typing import Literal

Stored = Literal["stored", "not stored", "in doubt", ""]
Link = tuple[str, str, int]
"""An event of a chain of causes: its type, id and position."""

_SENTENCES: dict[str, str] = {
    "stored": "The events are stored.",
    "not stored": "Nothing was stored.",
    "in doubt": "Whether anything was stored is not known.",
    "": "",
}


class EventBusError(Exception):
    """The root: `what` happened, whether anything is `stored`, and a `hint` for what to do."""

    stored: Stored = ""
    hint: str = ""

    def __init__(self, what: str, *, stored: Stored | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        if stored is not None:
            self.stored = stored
        if hint is not None:
            self.hint = hint

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, _SENTENCES[self.stored], self.hint) if part)


class InvalidEvent(EventBusError, ValueError):
    """An event that could not be brought back equal: `path` names the field, `reason` says why."""

    stored = "not stored"

    def __init__(self, type_name: str, path: str, reason: str) -> None:
        where = f"{type_name}.{path}" if path else type_name
        super().__init__(f"{where}: {reason}.")
        self.type_name, self.path, self.reason = type_name, path, reason


class EventDefinitionError(EventBusError, TypeError):
    """A class, handler, subscription or projection that cannot work as it is declared."""


class WrongExpectedVersion(EventBusError):
    """The stream's last sequence (`actual`) is not the one the caller saw (`expected`)."""

    stored = "not stored"
    hint = "Read the stream again, decide again, and publish with the new version."

    def __init__(self, stream: str, expected: int, actual: int) -> None:
        super().__init__(f"Stream {stream!r} is at version {actual}, not {expected}.")
        self.stream, self.expected, self.actual = stream, expected, actual


class IdempotencyConflict(EventBusError):
    """An idempotency `key` (or event id) that already stands for other content, at `position`.

    `position` is None where one call used it twice.
    """

    stored = "not stored"
    hint = "One key names one event: use a new key for new content."

    def __init__(self, key: str, position: int | None, *, buffered: bool = False) -> None:
        where = "is used twice in this call, for different content"
        if buffered:
            where = "is that of an event with other content, which waits in the inbox"
        if position is not None:
            where = f"was already used for other content, at position {position}"
        super().__init__(f"The key or id {key!r} {where}.")
        self.key, self.position = key, position


class SequenceConflict(EventBusError):
    """The `number` of a sender's `stream` (None: of all that has no stream) belongs to another event than `id`.

    `other` is the id of that event while it waits in the inbox, None once it was stored.
    """

    stored = "not stored"
    hint = "A sender gives each event a number of its own; one that starts counting anew needs another source=."

    def __init__(self, source: str, stream: str | None, number: int, id: str, other: str | None) -> None:
        whose = "another event, stored before" if other is None else f"{other!r}, which waits for those before it"
        super().__init__(f"Number {number} of {_sender(source, stream)} came with {id!r}, and is that of {whose}.")
        self.source, self.stream, self.number, self.id, self.other = source, stream, number, id, other


class InboxFull(EventBusError):
    """`most` events wait behind the gap from `first` to `last` already: no more are taken before it is filled."""

    stored = "not stored"
    hint = "Send what is missing, or give it up with bus.inbox.skip(...); what is sent again later is taken then."

    def __init__(self, source: str, stream: str | None, first: int, last: int, most: int) -> None:
        super().__init__(f"{most} events of {_sender(source, stream)} wait for {_numbers(first, last)}.")
        self.source, self.stream, self.first, self.last, self.most = source, stream, first, last, most


class SequenceMissing(EventBusError):
    """What the dead letter of a gap says: the numbers from `first` to `last` are still missing."""

    hint = "Retry looks again; discard goes on without them."

    def __init__(self, source: str, stream: str | None, first: int, last: int, buffered: int) -> None:
        waiting = "1 event waits" if buffered == 1 else f"{buffered} events wait"
        missing = "is" if first == last else "are"
        numbers = _numbers(first, last).capitalize()
        super().__init__(f"{numbers} of {_sender(source, stream)} {missing} missing; {waiting}.")
        self.source, self.stream, self.first, self.last, self.buffered = source, stream, first, last, buffered


def _sender(source: str, stream: str | None) -> str:
    return repr(source) if stream is None else f"{source!r}, stream {stream!r}"


def _numbers(first: int, last: int) -> str:
    return f"number {first}" if first == last else f"numbers {first} to {last}"


class PublishInDoubt(EventBusError):
    """The commit failed in a way that leaves its outcome open; publish again with `idempotency_key`."""

    stored = "in doubt"

    def __init__(self, idempotency_key: str, reason: str) -> None:
        super().__init__(
            f"The commit failed and its outcome is unknown: {reason}.",
            hint=f"Publish again with idempotency_key={idempotency_key!r}: it will be stored exactly once.",
        )
        self.idempotency_key, self.reason = idempotency_key, reason


class LogError(EventBusError):
    """Something about the file at `path`."""

    def __init__(self, path: str, what: str, *, stored: Stored | None = None, hint: str | None = None) -> None:
        super().__init__(f"{path}: {what}", stored=stored, hint=hint)
        self.path = path


class LogBusy(LogError):
    """Another process held the write lock for longer than we wait."""

    stored = "not stored"


class LogFull(LogError):
    """There is no room left where the log lives."""

    stored = "not stored"
    hint = "Free some space; the bus goes on by itself."


class LogReadOnly(LogError):
    """The file or its folder cannot be written."""

    stored = "not stored"


class LogIOError(LogError):
    """The operating system reported an error while reading or writing the log."""


class LogCorrupt(LogError):
    """The file does not hold together; `position` is that of the event that is damaged, if it is one event."""

    hint = (
        "Keep a copy of the file with its -wal, and restore a backup, or bring what is whole into a new log with"
        " `eventbus salvage`."
    )

    def __init__(
        self,
        path: str,
        what: str,
        *,
        position: int | None = None,
        stored: Stored | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(path, what, stored=stored, hint=hint)
        self.position = position


class LogReplaced(LogError):
    """Another file stands where the open log was."""

    stored = "in doubt"


class LogRolledBack(LogError):
    """Storage lost `missing` acknowledged events, the positions from `first` to `last`.

    `synced` of them had been written to the disk, as it said; the others only to the operating system, which is all
    that durability="process" asks for.
    """

    def __init__(self, path: str, missing: int, first: int, last: int, *, synced: int | None = None) -> None:
        events = "1 acknowledged event is" if missing == 1 else f"{missing} acknowledged events are"
        where = f"position {first}" if first == last else f"positions {first} to {last}"
        unsynced = missing - (missing if synced is None else min(synced, missing))
        why = "" if not unsynced else f"; {unsynced} of them were never synced to the disk (durability='process')"
        super().__init__(
            path,
            f"{events} missing, {where}{why}.",
            hint="Bring the newest file and its -wal back, or open with accept_loss=True to go on without them.",
        )
        self.missing, self.first, self.last = missing, first, last
        self.synced = missing - unsynced


class LogTooNew(LogError):
    """The log was written by a later release: its schema `version` is above the one we know."""

    def __init__(self, path: str, version: int, known: int) -> None:
        super().__init__(
            path,
            f"its schema version is {version}, this release knows up to {known}.",
            hint="Update eventbus; nothing was changed.",
        )
        self.version, self.known = version, known


class NotAnEventLog(LogError):
    """The file exists and is something else."""

    hint = "Nothing was changed; choose another file."


class LogOnNetworkFS(LogError):
    """The file lies on a network file system, where SQLite's locks cannot be trusted."""

    hint = "Keep the log on a local disk; nothing was changed."


class LeaseLost(EventBusError):
    """Another process has taken over the subscription `name`, or a person has rewound it."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"Subscription {name!r} is delivered by another process now, or was rewound.",
            hint="Nothing is lost: what was not recorded is delivered there, or in the new run.",
        )
        self.name = name


class ForkedBus(EventBusError):
    """The bus was opened by process `parent`, and this is a fork of it."""

    stored = "not stored"
    hint = "Make a new EventBus in the child."

    def __init__(self, parent: int) -> None:
        super().__init__(f"This bus belongs to process {parent}; it cannot be used after fork().")
        self.parent = parent


class BusClosed(EventBusError):
    """The bus was closed before this call."""

    stored = "not stored"
    hint = "Make a new EventBus, or close later."

    def __init__(self, what: str = "The bus is closed.") -> None:
        super().__init__(what)


class WouldDeadlock(EventBusError, RuntimeError):
    """The call would wait for something that only its own caller can finish."""

    stored = "not stored"


class CausationLoop(EventBusError):
    """An event that so many `causes`, one caused by the other, stand behind that it can only be a loop.

    `cycle` is what comes round: the type, id and position of each event from the last one of `type_name` on.
    """

    stored = "not stored"
    hint = (
        "One of these handlers has to stop publishing. For a series that is meant, publish with"
        " causation_id=ctx.envelope.correlation_id: the cause of each is then the event that began it."
    )
    _SHOWN = 10

    def __init__(self, type_name: str, causes: int, cycle: tuple[Link, ...], how: str) -> None:
        shown = [f"{name} (position {position})" if position else name for name, _, position in cycle[-self._SHOWN :]]
        if len(cycle) > self._SHOWN:
            shown.insert(0, "...")
        turn = " -> ".join([*shown, type_name])
        super().__init__(f"{type_name} is the end of a chain of {causes} causes, {how}; what comes round is {turn}.")
        self.type_name, self.causes, self.cycle = type_name, causes, cycle


class StatementRefused(EventBusError):
    """SQL in a transaction of the bus that wanted more than it may; raised as a sqlite3.OperationalError, too."""


class InvalidStep(EventBusError, ValueError):
    """The `step` of a handler has run, but its result could not be kept: `path` names the place, `reason` says why."""

    hint = "It does not run again under this name. Return what fits its annotation, or JSON values if it has none."

    def __init__(self, step: str, path: str, reason: str) -> None:
        where = path if path.startswith("[") or not path else f".{path}"
        super().__init__(f"The step {step!r} has run, but its result{where} {reason}.")
        self.step, self.path, self.reason = step, path, reason


class TransactionTimeout(EventBusError, TimeoutError):
    """A transaction kept the log locked for longer than `seconds`, and was revoked."""

    stored = "not stored"
    hint = "Do what takes long before or after it: nobody else can write meanwhile."

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The transaction was open for longer than {seconds:g} s and was revoked.")
        self.seconds = seconds


class HandlerTimeout(EventBusError):
    """A handler ran longer than `seconds`."""

    def __init__(self, name: str, seconds: float) -> None:
        super().__init__(f"Handler of {name!r} ran longer than {seconds:g} s.")
        self.name, self.seconds = name, seconds


class UnknownEvent(EventBusError):
    """A stored event whose class is not loaded in this process; `loaded`: the versions of its type that are."""

    hint = "Import the module that defines the class; Envelope.payload can be read without it."

    def __init__(self, type_name: str, version: int, loaded: tuple[int, ...] = ()) -> None:
        hint = None
        if loaded:
            have = f"Version {loaded[0]} is" if len(loaded) == 1 else f"Versions {', '.join(map(str, loaded))} are"
            hint = f"{have} loaded; keep a class for version {version}, too. Envelope.payload can be read without it."
        super().__init__(f"No event class is loaded for {type_name!r} version {version}.", hint=hint)
        self.type_name, self.version, self.loaded = type_name, version, loaded


class WaitTimeout(EventBusError, TimeoutError):
    """What was waited for did not happen within `seconds`."""

    def __init__(self, what: str, seconds: float, hint: str = "") -> None:
        super().__init__(f"{what} within {seconds:g} s.", hint=hint)
        self.seconds = seconds
