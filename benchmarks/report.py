"""What was found: as data, as a table in Markdown, and as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from attrs import field, frozen

from benchmarks.goals import Goal, goals_of
from benchmarks.measuring import Measured
from benchmarks.subjects.subject import SCALES, Subject


@frozen
class Verdict:
    """One goal, and what was found; `figure` is None where a side is missing."""

    goal: Goal
    unit: str
    figure: float | None

    @property
    def met(self) -> bool:
        return self.figure is not None and self.goal.is_met(self.figure)

    @property
    def sentence(self) -> str:
        """The goal in words."""
        return self.goal.sentence.format(unit=self.unit)

    @property
    def found(self) -> str:
        """The figure in words."""
        if self.figure is None:
            return "not measured"
        return f"{self.figure:.3g} {self.unit}" if self.goal.kind in ("excess", "value") else f"{self.figure:.3g}"

    @property
    def mark(self) -> str:
        return "met" if self.met else "NOT MEASURED" if self.figure is None else "FALLS SHORT"


@frozen
class Finding:
    """What became of one subject; `trouble` is why nothing did."""

    subject: Subject
    measured: Measured
    seconds: float
    trouble: str = ""

    @property
    def verdicts(self) -> list[Verdict]:
        """Its goals."""
        unit, scale = self.subject.unit, SCALES[self.subject.unit]
        return [Verdict(goal, unit, goal.figure(self.measured, scale)) for goal in goals_of(self.subject.name)]


@frozen
class Report:
    """All findings of one run."""

    sizes: str
    date: str
    machine: dict[str, Any]
    findings: list[Finding] = field(factory=list[Finding])

    @property
    def verdicts(self) -> list[tuple[Finding, Verdict]]:
        """All goals of what was run."""
        return [(finding, verdict) for finding in self.findings for verdict in finding.verdicts]

    @property
    def falls_short(self) -> bool:
        """True if a goal is not met, was not measured, or a benchmark broke."""
        return any(not verdict.met for _, verdict in self.verdicts) or any(each.trouble for each in self.findings)

    def as_data(self) -> dict[str, Any]:
        """The numbers, for JSON."""
        return {
            "sizes": self.sizes,
            "date": self.date,
            "machine": self.machine,
            "subjects": [_finding_as_data(finding) for finding in self.findings],
        }

    def as_markdown(self) -> str:
        """The tables."""
        return "\n".join(_markdown(self)) + "\n"


def _finding_as_data(finding: Finding) -> dict[str, Any]:
    subject, scale = finding.subject, SCALES[finding.subject.unit]
    return {
        "name": subject.name,
        "title": subject.title,
        "size": finding.measured.size,
        "unit": subject.unit,
        "seconds": round(finding.seconds, 1),
        "trouble": finding.trouble,
        "sides": [
            {
                "name": side.name,
                "durability": side.durability,
                "median": side.median * scale,
                "quartiles": [value * scale for value in side.quartiles],
                "rounds": len(side.samples),
            }
            for side in finding.measured.sides.values()
            if side.samples
        ],
        "not_measured": finding.measured.missing,
        "goals": [
            {
                "goal": verdict.sentence,
                "kind": verdict.goal.kind,
                "limit": verdict.goal.limit,
                "figure": verdict.figure,
                "met": verdict.met,
            }
            for verdict in finding.verdicts
        ],
    }


def _markdown(report: Report) -> Iterator[str]:
    yield f"# Benchmarks, {report.sizes} size"
    yield ""
    yield f"{report.date} · " + " · ".join(
        f"{key.replace('_', ' ')}: {value}" for key, value in report.machine.items() if not isinstance(value, dict)
    )
    yield ""
    yield "Versions: " + ", ".join(f"{name} {number}" for name, number in report.machine["versions"].items())
    yield ""
    yield "| benchmark | goal | found | |"
    yield "|---|---|---|---|"
    for finding, verdict in report.verdicts:
        yield f"| {finding.subject.name} | {verdict.sentence} | {verdict.found} | {verdict.mark} |"
    for finding in report.findings:
        yield from _section(finding)


def _section(finding: Finding) -> Iterator[str]:
    subject, scale = finding.subject, SCALES[finding.subject.unit]
    yield ""
    yield f"## {subject.name}: {subject.title}"
    yield ""
    yield f"{finding.measured.size}; {subject.unit}{'' if subject.unit == 'MiB' else ' each'}."
    if finding.trouble:
        yield f"**Broke: {finding.trouble}**"
    yield ""
    yield "| | durability | median | middle half |"
    yield "|---|---|---|---|"
    for side in finding.measured.sides.values():
        if side.samples:
            low, high = (number(value * scale) for value in side.quartiles)
            yield f"| {side.name} | {side.durability} | {number(side.median * scale)} | {low} - {high} |"
    for name, reason in finding.measured.missing.items():
        yield f"| {name} | | not measured: {reason} | |"


def number(value: float) -> str:
    """Three digits, without an exponent."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def lines(finding: Finding) -> Iterator[str]:
    """One finding for a terminal."""
    subject, scale = finding.subject, SCALES[finding.subject.unit]
    yield f"{subject.name}: {subject.title} ({finding.measured.size}; {finding.seconds:.1f} s)"
    if finding.trouble:
        yield f"    broke: {finding.trouble}"
    for side in finding.measured.sides.values():
        if side.samples:
            low, high = (number(value * scale) for value in side.quartiles)
            shown = f"{number(side.median * scale):>9} {subject.unit}  ({low} - {high})"
            yield f"    {side.name:42} {shown:36} {side.durability}"
    for name, reason in finding.measured.missing.items():
        yield f"    {name:42} not measured: {reason}"
    for verdict in finding.verdicts:
        yield f"  {'   ' if verdict.met else '!!!'} {verdict.sentence}: {verdict.found}, {verdict.mark}"
