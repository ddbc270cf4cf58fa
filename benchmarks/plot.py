"""The picture: every figure beside its goal, and what some things cost beside others."""

from __future__ import annotations

from itertools import zip_longest
from pathlib import Path
from typing import Any

from benchmarks.report import Finding, Report, number
from benchmarks.subjects.subject import SCALES

SHOWN = ("emit-1", "emit-10", "publish-power", "publish-process", "publish-many", "durable")
MOST = 3.0  # of a limit that is drawn
MET, SHORT, OURS, THEIRS = "#3b7dd8", "#d8583b", "#3b7dd8", "#b8bec8"


def draw(report: Report, path: Path) -> None:
    """Write it as PNG. ImportError without matplotlib."""
    import matplotlib as mpl  # pyright: ignore[reportMissingImports]

    mpl.use("Agg")
    from matplotlib import pyplot  # pyright: ignore[reportMissingImports]

    mpl.rcParams.update({"font.size": 7, "axes.spines.top": False, "axes.spines.right": False})
    found = {finding.subject.name: finding for finding in report.findings if finding.measured.sides}
    shown = [found[name] for name in SHOWN if name in found]
    goals = [pair for pair in report.verdicts if pair[1].figure is not None]
    rows = (len(shown) + 1) // 2
    heights = [0.5 + 0.16 * len(goals), *([2.1] * rows)]
    figure = pyplot.figure(figsize=(9, sum(heights)), layout="constrained")
    parts = figure.subfigures(1 + rows, 1, height_ratios=heights, squeeze=False)[:, 0]  # each aligns its own labels
    _draw_goals(parts[0].subplots(), goals, report)
    for row in range(rows):
        panels = parts[1 + row].subplots(1, 2)
        for panel, finding in zip_longest(panels, shown[2 * row : 2 * row + 2]):
            _draw_sides(panel, finding)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def _draw_goals(axes: Any, goals: list[Any], report: Report) -> None:
    """How much of each limit is used; where more is better, the other way round."""
    axes.set_title(f"Used of what each goal allows ({report.sizes} size, {report.date}); less is better")
    if not goals:
        axes.set_axis_off()
        return
    used = [_used(verdict.figure, verdict.goal.limit, verdict.goal.kind) for _, verdict in goals]
    names = [f"{finding.subject.name}: {verdict.sentence}" for finding, verdict in goals]
    colors = [MET if verdict.met else SHORT for _, verdict in goals]
    axes.barh(range(len(goals)), used, color=colors, height=0.7)
    axes.set_yticks(range(len(goals)), names)
    for row, (value, (_, verdict)) in enumerate(zip(used, goals, strict=True)):
        axes.text(value, row, f" {verdict.found}", va="center")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlim(0, MOST + 0.5)
    axes.set_ylim(len(goals) - 0.4, -0.6)


def _used(figure: float, limit: float, kind: str) -> float:
    return min(MOST, max(0.0, limit / figure if kind == "speed" and figure > 0 else figure / limit))


def _draw_sides(axes: Any, finding: Finding | None) -> None:
    if finding is None:
        axes.set_axis_off()
        return
    scale = SCALES[finding.subject.unit]
    sides = [side for side in finding.measured.sides.values() if side.samples]
    values = [side.median * scale for side in sides]
    axes.set_title(f"{finding.subject.name}, {finding.subject.unit} (logarithmic)")
    axes.barh(range(len(sides)), values, color=[OURS if side.name.startswith("eventbus") else THEIRS for side in sides])
    axes.set_yticks(range(len(sides)), [side.name for side in sides])
    for row, value in enumerate(values):
        axes.text(value, row, f" {number(value)}", va="center")
    axes.set_xscale("log")
    axes.set_xlim(min(values) / 3, max(values) * 8)
    axes.set_xticks([])
    axes.minorticks_off()
    axes.invert_yaxis()
