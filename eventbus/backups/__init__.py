"""Copies of a log that are taken while others write to it, checked, and put into place when they are whole."""

from eventbus.backups.backup import Backup, back_up, back_up_file

__all__ = ["Backup", "back_up", "back_up_file"]
