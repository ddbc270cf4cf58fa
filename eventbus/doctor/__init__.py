"""What is wrong with a log, and what can be saved of it: `examine(path)`, `salvage(path, new)`."""

from eventbus.doctor.examination import examine
from eventbus.doctor.finding import Examination, Finding
from eventbus.doctor.salvaging import Lost, Salvaged, salvage

__all__ = ["Examination", "Finding", "Lost", "Salvaged", "examine", "salvage"]
