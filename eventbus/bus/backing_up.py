"""The verbs of a bus that copy its log: `backup`, `backup_async`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from eventbus.bus.attaching import Attachment
from eventbus.bus.transacting import refuse_in_transaction
from eventbus.threads import off_the_loop

if TYPE_CHECKING:
    from eventbus.backups import Backup

Progress = Callable[[int, int], object]
_AFTER = "Back up after the with block."


class BacksUp:
    """A copy of the log, taken while others write."""

    _attachment: Attachment

    def backup(
        self, path: str | os.PathLike[str], *, replace: bool = False, progress: Progress | None = None
    ) -> Backup:
        """Copy the log of this moment, all of its file, to `path`: checked, synced, 0600, put there when it is whole.

        Others go on writing meanwhile; a log in memory waits. A file that is there is refused unless `replace`.
        `progress(done, total)` is called in between, first for pages, then for events. Raises LogError.
        """
        from eventbus.backups import back_up

        refuse_in_transaction(self._attachment.attached, "backup", _AFTER)
        return back_up(self._attachment.engine().storage, path, replace=replace, progress=progress)

    async def backup_async(
        self, path: str | os.PathLike[str], *, replace: bool = False, progress: Progress | None = None
    ) -> Backup:
        """`backup` without blocking the loop; `progress` is called in another thread."""
        refuse_in_transaction(self._attachment.attached, "backup_async", _AFTER)
        return await off_the_loop(lambda: self.backup(path, replace=replace, progress=progress))
