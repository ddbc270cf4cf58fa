"""What is wrong with what is in the file: tables, pages, and the events themselves."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence

from eventbus.doctor.finding import Finding, sized, some
from eventbus.store import blueprint, examining, loss, verifying
from eventbus.store.asking import Asking
from eventbus.store.examining import Extent, LogRow
from eventbus.store.recognise import LogIdentity
from eventbus.store.schema import SCHEMA_VERSION
from eventbus.store.witness import Witnessed

Progress = Callable[[int, int], object]

_SALVAGE = (
    "Keep a copy of the file with its -wal. Restore a backup, or bring what is whole into a new log: eventbus salvage."
)
_MOST_COMPLAINTS = 100
_LOWEST = -(2**63)  # what SQLite's integers can hold


def of_row(row: LogRow) -> Iterator[Finding]:
    """The log's own row."""
    if row.copy_of is not None:
        yield Finding(
            "copy",
            "note",
            "This is a backup, to which no bus has written yet.",
            "Who opens it goes on as the next incarnation of the log; look at it with the program, or copy it first.",
            {"copy_of": row.copy_of},
        )
    if row.schema_version < SCHEMA_VERSION:
        yield Finding(
            "old-tables",
            "note",
            f"An older release made its tables (version {row.schema_version}; this one makes {SCHEMA_VERSION}).",
            "The next start of its application updates them. Other commands of this program ask for that first.",
            {"schema_version": row.schema_version},
        )


def of_tables(connection: sqlite3.Connection, *, is_current: bool) -> Iterator[Finding]:
    """What is not as a bus makes it, and what others have put on the bus's tables."""
    found = blueprint.differences(connection)
    wrong = [*(found.missing if is_current else ()), *(found.changed if is_current else ())]
    if wrong:
        yield Finding(
            "tables", "damaged", f"Tables or indexes are missing or changed: {some(wrong)}.", _SALVAGE, {"names": wrong}
        )
    if found.triggers:
        yield Finding(
            "triggers",
            "look",
            f"There are triggers on tables of the bus: {some(list(found.triggers))}. A bus refuses to open the log.",
            "Drop them with the sqlite3 shell; an app's triggers belong on its own tables.",
            {"triggers": list(found.triggers)},
        )
    if found.indexes:
        yield Finding(
            "indexes",
            "note",
            f"Somebody has put indexes on tables of the bus: {some(list(found.indexes))}.",
            "They slow down each publish, and a unique one refuses some.",
            {"indexes": list(found.indexes)},
        )
    if found.named_like_ours:
        yield Finding(
            "names",
            "note",
            f"Tables or views have names like the bus's own, and are not: {some(list(found.named_like_ours))}.",
            "Rename them: a later release may make tables of these names.",
            {"names": list(found.named_like_ours)},
        )


def of_pages(connection: sqlite3.Connection, *, quick: bool) -> Iterator[Finding]:
    """What SQLite finds when it looks at all pages."""
    complaints = examining.integrity(connection, quick=quick, most=_MOST_COMPLAINTS)
    if complaints:
        yield Finding(
            "integrity",
            "damaged",
            f"SQLite finds the file damaged: {'; '.join(complaints[:3])}{'; ...' if len(complaints) > 3 else ''}.",
            _SALVAGE,
            {"complaints": complaints},
        )


def of_positions(connection: sqlite3.Connection, extent: Extent) -> Iterator[Finding]:
    """What speaks of events that are not there."""
    beyond = examining.beyond(connection, extent.given_out)
    if beyond:
        highest = max(position for _, position in beyond.values())
        rows = ", ".join(sized(count, what.removesuffix("s")) for what, (count, _) in beyond.items())
        yield Finding(
            "lost-events",
            "damaged",
            f"The last position ever given out is {extent.given_out:,}, but {rows} go up to {highest:,}: the events"
            " after it were lost.",
            "Look for a newer copy of the file, or its -wal. What was published later gets these positions again.",
            {"last": extent.given_out, "highest": highest},
        )
    orphans, strangers = examining.stray_deliveries(connection, extent.given_out)
    if orphans or strangers:
        yield Finding(
            "stray-deliveries",
            "damaged" if orphans else "look",
            f"{sized(orphans, 'delivery' if orphans == 1 else 'deliverie')} of events that are not there,"
            f" {strangers:,} of subscriptions that are not there.",
            _SALVAGE,
            {"without_event": orphans, "without_subscription": strangers},
        )


def of_witness(row: LogRow, extent: Extent, told: Sequence[Witnessed]) -> Iterator[Finding]:
    """What was acknowledged, and is not there."""
    lost = loss.judge(LogIdentity(row.log_id, row.incarnation, row.schema_version), extent.given_out, told)
    if lost is not None:
        yield Finding(
            "rolled-back",
            "damaged",
            f"{sized(lost.missing, 'acknowledged event')} {'is' if lost.missing == 1 else 'are'} missing, at positions"
            f" {lost.first:,} to {lost.last:,}: storage lost them, or an older copy was put back. A bus refuses it.",
            "Look for a newer copy, or its -wal; accept_loss=True goes on without them.",
            {"missing": lost.missing, "first": lost.first, "last": lost.last, "synced": lost.synced},
        )


def of_sequences(connection: sqlite3.Connection, row: LogRow, extent: Extent) -> Iterator[Finding]:
    """Numbers that are missing between others."""
    streams, one = examining.holes_in_streams(connection)
    if streams:
        yield Finding(
            "holes",
            "damaged" if row.incarnation == 1 else "note",
            f"In {sized(streams, 'stream')} sequences are missing, as in {one!r}.",
            "Events were lost there. Restore a backup if they matter." if row.incarnation == 1 else "",
            {"streams": streams, "one": one},
        )
    missing = (extent.last - extent.first + 1 if extent.last else 0) - examining.count(connection)
    if missing > 0:
        yield Finding(
            "positions",
            "look" if row.incarnation == 1 else "note",
            f"{sized(missing, 'position')} between the first and the last event {_has(missing)} none.",
            "A bus leaves none out: rows were deleted or lost." if row.incarnation == 1 else "",
            {"missing": missing},
        )


def of_checksums(asking: Asking, extent: Extent, progress: Progress) -> tuple[int, list[Finding]]:
    """How many events there are, and those that are not what was written; a page at a time, so that nobody waits.

    What is published meanwhile is not looked at.
    """
    count, after, wrong = 0, max(min(extent.first, 0) - 1, _LOWEST), dict[int, str]()
    span = extent.last - extent.first + 1
    while after < extent.last and (checked := _page(asking, after)).count:
        count, after = count + checked.count, checked.last
        wrong.update(checked.wrong)
        progress(min(after - extent.first + 1, span), span)
    if not wrong:
        return count, []
    shown = [f"{position} ({what})" for position, what in sorted(wrong.items())[:3]]
    finding = Finding(
        "checksums",
        "damaged",
        f"{sized(len(wrong), 'event')} {'is' if len(wrong) == 1 else 'are'} not what was written: position"
        f" {'; '.join(shown)}{f' and {len(wrong) - 3:,} more' if len(wrong) > 3 else ''}.",
        _SALVAGE,
        {"positions": sorted(wrong)[:1000], "events": len(wrong)},
    )
    return count, [finding]


def _page(asking: Asking, after: int) -> verifying.Checked:
    return asking.ask(lambda connection: verifying.page(connection, verifying.Known.of(connection), after))


def _has(count: int) -> str:
    return "has" if count == 1 else "have"
