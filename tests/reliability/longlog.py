"""A log of a million events, and the two ways of replaying all of it: each in a process of its own.

    python longlog.py build|read|rebuild FOLDER

`read` and `rebuild` print how many events they met and the most memory the process ever had, in KiB.
"""

from __future__ import annotations

import resource
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from eventbus import EventBus, Projection, Table, Transaction, event, handles
from eventbus.store.checksums import header_crc

EVENTS = 1_000_000
STREAMS = 1000

# All rows are copies of the first one, which a bus has published: only what has to differ does.
COPY = """
WITH RECURSIVE number (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM number WHERE n < :events)
INSERT INTO eventbus_events (position, id, type_id, stream, sequence, time, source_id, payload, payload_crc, header_crc)
SELECT n, printf('01900000-0000-7000-8000-%012x', n), type_id, 'sensor-' || (n % :streams), n / :streams + 1, time,
       source_id, payload, payload_crc,
       header_sum(n, printf('01900000-0000-7000-8000-%012x', n), 'sensor-' || (n % :streams), n / :streams + 1, time,
                  payload_crc)
FROM number, (SELECT * FROM eventbus_events WHERE position = 1)
"""


@event(name="Measured")
class Measured:
    """An event of a usual size: 150 bytes of JSON."""

    sensor: str
    celsius: float
    remark: str


class Warmth(Projection):
    """One small row however long the log is."""

    warmth = Table("sensor TEXT PRIMARY KEY, measured INTEGER NOT NULL, celsius REAL NOT NULL")

    @handles(Measured)
    def measured(self, e: Measured, tx: Transaction) -> None:
        """Count it."""
        tx.execute(
            f"INSERT INTO {self.warmth} VALUES (?, 1, ?) ON CONFLICT (sensor) DO UPDATE"
            " SET measured = measured + 1, celsius = celsius + excluded.celsius",
            (e.sensor, e.celsius),
        )


def build(path: Path) -> None:
    """Publish one event and have SQLite copy it a million times."""
    with closing(EventBus(path)) as bus:
        bus.publish(Measured("north wall", 21.5, "x" * 96), stream="sensor-1")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.create_function("header_sum", 6, _header_sum)
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(COPY, {"events": EVENTS, "streams": STREAMS})


def _header_sum(position: int, id_: str, stream: str, sequence: int, time: str, payload_sum: int) -> int:
    row = (position, id_, 0, stream, sequence, time, 0, None, None, None, None)
    return header_crc(row, "Measured", 1, "events", payload_sum)


def read(bus: EventBus) -> int:
    """Decode every event through `log.read`."""
    return sum(envelope.event.celsius == 21.5 for envelope in bus.log.read())


def rebuild(bus: EventBus) -> int:
    """Fill a projection from the whole log."""
    bus.project(Warmth)
    bus.projections[Warmth].rebuild()
    return int(bus.query("SELECT sum(measured) AS measured FROM warmth")[0]["measured"])


def peak() -> int:
    """The most memory this process ever had, in KiB."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage counts what the parent had before it became this program
        return int(status.read_text("ascii").partition("VmHWM:")[2].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)


if __name__ == "__main__":
    verb, folder = sys.argv[1], Path(sys.argv[2])
    if verb == "build":
        build(folder / "events.db")
    else:
        with closing(EventBus(folder / "events.db", delivery="manual", durability="process")) as the_bus:
            print({"read": read, "rebuild": rebuild}[verb](the_bus), peak())
