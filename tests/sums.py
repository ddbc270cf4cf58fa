"""For tests that change a log with SQL and mean it: its checksums are brought in line with that."""

from __future__ import annotations

import sqlite3

from eventbus.store.checksums import header_crc, payload_crc
from eventbus.store.reading import COLUMNS

_NAMES = (
    "SELECT t.name, t.version, s.name FROM eventbus_types t, eventbus_sources s WHERE t.id = :type AND s.id = :source"
)
_SET = "UPDATE eventbus_events SET payload_crc = ?, header_crc = ? WHERE position = ?"


def sum_again(connection: sqlite3.Connection, after: int = 0) -> None:
    """Write the checksums of the events after a position as a bus would have written them."""
    for row in connection.execute(f"SELECT {COLUMNS} FROM eventbus_events WHERE position > ?", (after,)).fetchall():
        type_name, version, source = connection.execute(_NAMES, {"type": row[2], "source": row[6]}).fetchone()
        payload = payload_crc(row[11])
        connection.execute(_SET, (payload, header_crc(row, type_name, version, source, payload), row[0]))
