"""The picture: every figure beside its goal, and what some things cost beside others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.report import Finding, Report, number
from benchmarks.subjects.subject import SCALES

SHOWN = ("emit-1", "emit-10", "publish-power", "publish-process", "publish-many", "durable")
MET, SHORT, OURS, THEIRS = "#3b7dd8", "#d8583b", "#3b7dd8", "#b8bec8"


def draw(report: Report, path: Path) -> None:
    """Write it as PNG. ImportError without matplotlib."""
    import matplotlib as mpl  # pyright: ignore[reportMissingImports]

    mpl.use("Agg")
    from matplotlib import pyplot  # pyright: ignore[reportMissingImports]

    mpl.rcParams.update({"font.size": 7, "axes.spines.top": False, "axes.spines.right": False})
    found = {finding.subject.name: finding for finding in report.findings if finding.measured.sides}
    shown = [found[name] for name in SHOWN if name in found]
    rows = (len(shown) + 2) // 3
    goals = [pair for pair in report.verdicts if pair[1].figure is not None]
    figure = pyplot.figure(figsize=(11, 1.2 + 0.17 * len(goals) + 2.2 * rows), layout="constrained")
    grid = figure.add_gridspec(1 + rows, 3, height_ratios=[max(1.0, 0.17 * len(goals)), *([2.2] * rows)])
    _draw_goals(figure.add_subplot(grid[0, :]), goals, report)
    for nth, finding in enumerate(shown):
        _draw_sides(figure.add_subplot(grid[1 + nth // 3, nth % 3]), finding)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _draw_goals(axes: Any, goals: list[Any], report: Report) -> None:
    """How much of each limit is used; where more is better, the other way round."""
    axes.set_title(f"How much of what each goal allows is used ({report.sizes} size, {report.date}); less is better")
    if not goals:
        axes.set_axis_off()
        return
    used = [_used(verdict.figure, verdict.goal.limit, verdict.goal.kind) for _, verdict in goals]
    names = [f"{finding.subject.name}: {verdict.sentence}" for finding, verdict in goals]
    colors = [MET if verdict.met else SHORT for _, verdict in goals]
    axes.barh(range(len(goals)), used, color=colors, height=0.7)
    axes.set_yticks(range(len(goals)), names)
    for row, (value, (_, verdict)) in enumerate(zip(used, goals, strict=True)):
        axes.text(min(max(value, 0.02), 2.9), row, f" {verdict.found}", va="center")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlim(0, 3.2)
    axes.set_ylim(len(goals) - 0.4, -0.6)


def _used(figure: float, limit: float, kind: str) -> float:
    return min(3.0, max(0.0, limit / figure if kind == "speed" and figure > 0 else figure / limit))


def _draw_sides(axes: Any, finding: Finding) -> None:
    scale = SCALES[finding.subject.unit]
    sides = [side for side in finding.measured.sides.values() if side.samples]
    values = [side.median * scale for side in sides]
    axes.set_title(f"{finding.subject.name}, {finding.subject.unit} (logarithmic)")
    axes.barh(range(len(sides)), values, color=[OURS if side.name.startswith("eventbus") else THEIRS for side in sides])
    axes.set_yticks(range(len(sides)), [side.name for side in sides])
    for row, value in enumerate(values):
        axes.text(value, row, f" {number(value)}", va="center")
    axes.set_xscale("log")
    axes.margins(x=0.25)
    axes.invert_yaxis()
