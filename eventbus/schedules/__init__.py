"""What is published later, or again and again: kept in the file, each run published once whatever crashes."""

from __future__ import annotations

from eventbus.schedules.factories import Factory
from eventbus.schedules.schedule import Schedule
from eventbus.schedules.schedules import Schedules
from eventbus.schedules.timetable import Timetable

__all__ = ["Factory", "Schedule", "Schedules", "Timetable"]
