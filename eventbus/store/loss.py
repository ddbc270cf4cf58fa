"""Has storage lost what was acknowledged? Asked of the witness and the log, each time a log is opened."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterable

import attrs

from eventbus.clock import Clock, iso
from eventbus.errors import LogRolledBack
from eventbus.events import Vocabulary
from eventbus.store.append import Appender, head
from eventbus.store.drafter import Drafter
from eventbus.store.recognise import LogIdentity, read_identity
from eventbus.store.trouble import begin_immediate, until_free
from eventbus.store.witness import Witness, Witnessed

_BEGIN_ANEW = "UPDATE eventbus_log SET incarnation = ?, copy_of = NULL"
_GO_ON_AFTER = "UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'eventbus_events'"
_BEGIN_AFTER = "INSERT INTO sqlite_sequence (name, seq) VALUES ('eventbus_events', ?)"
_IS_COPY = "SELECT 1 FROM eventbus_log WHERE copy_of = log_id"
_GO_ON = "UPDATE eventbus_log SET incarnation = incarnation + 1, copy_of = NULL WHERE copy_of = log_id"
_BUSY_SECONDS = 15.0  # as for everything else while a log is opened
_LONGEST = 1 << 20

_log = logging.getLogger("eventbus.store")


@attrs.frozen
class Loss:
    """The events at the positions from `first` to `last`; `synced` of them were on the disk, so it said.

    `incarnation`: the last one that was seen, which is above the log's own where a copy from before was put back.
    """

    first: int
    last: int
    synced: int
    incarnation: int

    @property
    def missing(self) -> int:
        """How many."""
        return self.last - self.first + 1


def judge(identity: LogIdentity, head: int, witnessed: Iterable[Witnessed]) -> Loss | None:
    """What is missing of a log whose last position is `head`; None if it has all that was ever told."""
    mine = [each for each in witnessed if each.incarnation >= identity.incarnation and each.told > 0]
    if not mine:
        return None
    last, incarnation = max(each.told for each in mine), max(each.incarnation for each in mine)
    synced = max(each.synced for each in mine)
    if incarnation > identity.incarnation:
        # What the log has above where the later incarnation began are other events than those that were told.
        began = max(each.began for each in mine if each.incarnation == incarnation)
        first = min(head + 1, began or head + 1)
    elif last > head:
        first = head + 1
    else:
        return None
    return Loss(first, max(last, first), max(0, synced - first + 1), incarnation)


def refuse(connection: sqlite3.Connection, path: str, witness: Witness) -> None:
    """Raise LogRolledBack where events are missing; changes nothing."""
    _, loss = _look(connection, witness)
    if loss is not None:
        raise _rolled_back(path, loss)


def _look(connection: sqlite3.Connection, witness: Witness) -> tuple[list[Witnessed], Loss | None]:
    # The witness before the log: whoever publishes meanwhile commits before it says so.
    witnessed = witness.read(read_identity(connection).log_id)
    return witnessed, judge(read_identity(connection), head(connection), witnessed)


def _rolled_back(path: str, loss: Loss) -> LogRolledBack:
    return LogRolledBack(path, loss.missing, loss.first, loss.last, synced=loss.synced)


def settle(
    connection: sqlite3.Connection, path: str, witness: Witness, *, accept: Appender | None, clock: Clock
) -> None:
    """Have the witness speak for this log. Raises LogRolledBack where events are missing, unless they may be.

    `accept`: go on without them, in a new incarnation with positions beyond theirs, and record that in the log.
    """
    witnessed, loss = _look(connection, witness)
    if loss is not None and accept is None:
        raise _rolled_back(path, loss)
    if loss is not None and accept is not None:
        begin_immediate(connection, path, clock, _BUSY_SECONDS)
        try:
            began = _go_on(connection, path, witnessed, accept, clock)
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        if began is not None:
            witness.begin(read_identity(connection), witnessed, began)
            witness.tell(began, synced=True)
            return
    # A backup that was put back and lacks nothing. Only now: of earlier incarnations the witness misses nothing.
    until_free(lambda: go_on_as_another(connection), path, clock, _BUSY_SECONDS, during="open")
    witness.begin(read_identity(connection), witnessed)


def go_on_as_another(connection: sqlite3.Connection) -> bool:
    """If this is a copy that nobody has written to yet, make it the next incarnation of its log; True if it was one.

    Raises sqlite3.Error, busy too.
    """
    if connection.execute(_IS_COPY).fetchone() is None:
        return False
    return connection.execute(_GO_ON).rowcount == 1


def _go_on(
    connection: sqlite3.Connection, path: str, witnessed: list[Witnessed], appender: Appender, clock: Clock
) -> int | None:
    """In the open transaction; None if another process has done it meanwhile."""
    from eventbus.technical import LossAccepted  # which takes a while to load, and is hardly ever needed

    identity, last = read_identity(connection), head(connection)
    loss = judge(identity, last, witnessed)
    if loss is None:
        return None
    connection.execute(_BEGIN_ANEW, (loss.incarnation + 1,))
    after = max(loss.last, last)
    if not connection.execute(_GO_ON_AFTER, (after,)).rowcount:
        connection.execute(_BEGIN_AFTER, (after,))
    told = LossAccepted(loss.missing, loss.first, loss.last, loss.synced, loss.incarnation + 1)
    drafter = Drafter(Vocabulary(), clock, source="eventbus", max_payload=_LONGEST)
    (appended,) = appender.append(connection, [drafter.draft(told)], iso(clock.time()))
    _log.warning(
        "%s: goes on without %d acknowledged events, positions %d to %d", path, loss.missing, loss.first, loss.last
    )
    return appended.receipt.position
