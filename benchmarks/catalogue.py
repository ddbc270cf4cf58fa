"""All that is measured, in the order in which it is."""

from __future__ import annotations

from fnmatch import fnmatchcase

from benchmarks.subjects import (
    backlog,
    concurrency,
    durable,
    emitting,
    growing,
    idling,
    publishing,
    reading,
    remembering,
    starting,
    waking,
)
from benchmarks.subjects.subject import Subject

SUBJECTS: tuple[Subject, ...] = (
    *emitting.SUBJECTS,
    *publishing.SUBJECTS,
    *concurrency.SUBJECTS,
    *durable.SUBJECTS,
    *backlog.SUBJECTS,
    *reading.SUBJECTS,
    *waking.SUBJECTS,
    *idling.SUBJECTS,
    *starting.SUBJECTS,
    *growing.SUBJECTS,
    *remembering.SUBJECTS,
)


def selected(names: list[str]) -> list[Subject]:
    """Those named, by name or pattern; all if none is. ValueError for a name that is nobody's."""
    for name in names:
        if not any(fnmatchcase(subject.name, name) for subject in SUBJECTS):
            raise ValueError(f"There is no benchmark {name!r}; --list shows them.")
    return [each for each in SUBJECTS if not names or any(fnmatchcase(each.name, name) for name in names)]
