"""Run benchmarks: `python -m benchmarks [--quick] [--only NAME ...] [--list] [--json]`.

Ends with 1 if a figure falls short of its goal or was not measured. A run of all of them writes its table, plot and
numbers to benchmarks/results/, under `full` or `quick`; a run of some of them under `partial`.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import sys
import tempfile
import traceback
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

from benchmarks import machine, sizes
from benchmarks.catalogue import SUBJECTS, selected
from benchmarks.goals import goals_of
from benchmarks.measuring import Measured
from benchmarks.progress import Progress
from benchmarks.report import Finding, Report, lines
from benchmarks.sizes import Sizes
from benchmarks.subjects.subject import Run, Subject

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
CACHE = ROOT / "build" / "benchmarks"


def measure(subject: Subject, run: Run) -> Finding:
    """One subject; one that breaks is reported and stops no other."""
    began = perf_counter()
    try:
        return Finding(subject, subject.measure(run), perf_counter() - began)
    except Exception as error:
        run.tell("")
        traceback.print_exc()
        trouble = " ".join(f"{type(error).__name__}: {error}".split())
        return Finding(subject, Measured(""), perf_counter() - began, trouble)


def measure_all(subjects: list[Subject], size: Sizes, folder: Path, *, peers: bool, quiet: bool) -> Report:
    """All of them, each told as it ends. `folder`: where the logs lie, which decides what a sync costs."""
    folder.mkdir(parents=True, exist_ok=True)
    progress, date = Progress(len(subjects)), datetime.now(UTC).strftime("%Y-%m-%d")
    report = Report(size.name, date, {**machine.facts(folder), "load_before": machine.load()})
    for subject in subjects:
        progress.begin(subject.name)
        work = Path(tempfile.mkdtemp(dir=folder, prefix="run-"))
        try:
            report.findings.append(measure(subject, Run(size, work, folder, peers, progress.tell)))
        finally:
            shutil.rmtree(work, ignore_errors=True)
        progress.clear()
        if not quiet:
            print("\n".join(lines(report.findings[-1])), flush=True)
    report.machine["load_after"] = machine.load()
    return report


def write(report: Report, name: str) -> None:
    """The table, the numbers, and the plot if matplotlib is there."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(report.as_data(), indent=1) + "\n", encoding="utf-8")
    (RESULTS / f"{name}.md").write_text(report.as_markdown(), encoding="utf-8")
    try:
        from benchmarks import plot

        plot.draw(report, RESULTS / f"{name}.png")
    except ImportError as error:
        print(f"No plot: {error}.", file=sys.stderr)


def _show_list() -> None:
    for subject in SUBJECTS:
        print(f"{subject.name:30} {subject.title}")
        for goal in goals_of(subject.name):
            print(f"{'':30}     {goal.sentence.format(unit=subject.unit)}")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--list", action="store_true", help="show what there is, with its goals")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="names or patterns, such as 'publish*'")
    parser.add_argument("--skip", nargs="+", default=[], metavar="NAME", help="names or patterns")
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--no-peers", action="store_true", help="ours and the floor only")
    parser.add_argument("--json", action="store_true", help="print the numbers, and nothing else")
    parser.add_argument("--folder", type=Path, default=CACHE, help="where the logs lie; large ones are kept there")
    return parser.parse_args()


def main() -> int:
    """Measure, print and write."""
    options = _parse()
    if options.list:
        _show_list()
        return 0
    try:
        subjects = selected(options.only)
        skipped = selected(options.skip) if options.skip else []
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    size = sizes.QUICK if options.quick else sizes.FULL
    chosen = [subject for subject in subjects if subject not in skipped]
    report = measure_all(chosen, size, options.folder, peers=not options.no_peers, quiet=options.json)
    is_whole = len(chosen) == len(SUBJECTS) and not options.no_peers
    write(report, size.name if is_whole else "partial")
    if options.json:
        print(json.dumps(report.as_data(), indent=1))
    short = [(finding, verdict) for finding, verdict in report.verdicts if not verdict.met]
    if not options.json:
        print(f"\n{len(report.verdicts) - len(short)} of {len(report.verdicts)} goals met.")
        for finding, verdict in short:
            print(f"  {verdict.mark}: {finding.subject.name}, {verdict.sentence}: {verdict.found}")
    return 1 if report.falls_short else 0


if __name__ == "__main__":
    logging.getLogger("eventbus").setLevel(logging.ERROR)
    sys.exit(main())
