"""What is known to be wrong with a version of SQLite, as far as it concerns a log."""

from __future__ import annotations

from collections.abc import Iterator

from eventbus.doctor.finding import Finding

Version = tuple[int, ...]

# sqlite.org: a checkpoint while another connection restarts the WAL can corrupt the file.
_WAL_RESET = ((3, 7, 0), (3, 51, 3))
_MENDED = ((3, 44, 6), (3, 50, 7))  # and what follows within 3.44 and 3.50


def has_wal_reset_bug(version: Version) -> bool:
    """True for 3.7.0 to 3.51.2, but not for 3.44.6 and 3.50.7 and what follows on their branches."""
    if any(version[:2] == mended[:2] and version >= mended for mended in _MENDED):
        return False
    return _WAL_RESET[0] <= version < _WAL_RESET[1]


def known_bugs(version: Version) -> Iterator[Finding]:
    """The findings about the SQLite of this Python."""
    text = ".".join(map(str, version))
    if has_wal_reset_bug(version):
        yield Finding(
            "sqlite-wal-reset",
            "note",
            f"SQLite {text} can damage a file when it empties the -wal while another connection begins it anew"
            " (mended in 3.44.6, 3.50.7 and 3.51.3). A bus avoids it; other programs on the same file do not.",
            "Have them set wal_autocheckpoint to 0, or use a newer SQLite.",
            {"version": text},
        )
