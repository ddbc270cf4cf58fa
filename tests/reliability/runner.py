"""Runs tiers: prints progress and figures, and for what does not hold the command that does it again.

    python -m tests.reliability --list
    python -m tests.reliability --tier power                    as much as `make test` runs
    python -m tests.reliability --tier power --long             as much as `make soak` runs
    python -m tests.reliability --tier power --seconds 60       what begins within a minute
    python -m tests.reliability --tier power --seed 7           again what that seed did
    python -m tests.reliability --tier all --long

Ends with 0 if all held, 1 if not. A tier that this machine cannot run is skipped with the reason; where CI=true, that
is a failure.
"""

from __future__ import annotations

import argparse
import os
import random
import time
import traceback
from collections.abc import Sequence

import tiers
from budget import Budget, Figures, Say


def in_ci() -> bool:
    """True where nothing may be skipped."""
    return os.environ.get("CI", "").lower() in ("1", "true")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    asked = _parser().parse_args(arguments)
    if asked.list:
        for name in tiers.names():
            print(_line_about(name))
        return 0
    wanted = tiers.names() if "all" in asked.tier else asked.tier
    return max([_run(name, asked) for name in wanted], default=0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.reliability", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--list", action="store_true", help="the tiers there are")
    what.add_argument("--tier", action="append", choices=[*tiers.names(), "all"])
    amount = parser.add_mutually_exclusive_group()
    amount.add_argument("--long", action="store_true", help="as much as `make soak` runs")
    amount.add_argument("--amount", type=int, help="so many of what the tier counts")
    parser.add_argument("--seconds", type=float, help="begin nothing more after so long")
    parser.add_argument("--seed", type=int, help="what a run that failed has printed")
    return parser


def _line_about(name: str) -> str:
    tier = tiers.load(name)
    first = (tier.__doc__ or "").partition("\n")[0]
    lacking = tier.missing()
    return f"{name:<12} {tier.SHORT:>6} {tier.LONG:>7} {tier.UNIT:<12} {first}" + (f" ({lacking})" if lacking else "")


def _amount(name: str, asked: argparse.Namespace) -> int | None:
    """Given a time and no amount, the time alone says how much."""
    tier = tiers.load(name)
    if asked.amount is not None or asked.long:
        return asked.amount or tier.LONG
    return None if asked.seconds is not None else tier.SHORT


def _run(name: str, asked: argparse.Namespace) -> int:
    lacking = tiers.load(name).missing()
    if lacking is not None:
        print(f"{name}: skipped: {lacking}")
        return int(in_ci())
    seed = random.randrange(1 << 32) if asked.seed is None else asked.seed
    amount = _amount(name, asked)
    limits = [f"--{option} {value:g}" for option, value in (("amount", amount), ("seconds", asked.seconds)) if value]
    again = " ".join([f"python -m tests.reliability --tier {name} --seed {seed}", *limits])
    print(again, flush=True)
    try:
        figures = run(name, Budget(amount, asked.seconds), seed, print_line)
    except Exception as error:
        traceback.print_exception(error)
        print(f"{name}: FAILED; again: {again}", flush=True)
        return 1
    for figure, value in figures.items():
        print(f"{value:>12} {figure}")
    return 0


def run(name: str, budget: Budget, seed: int, say: Say) -> Figures:
    """One tier; its figures, and how long it took."""
    began = time.monotonic()
    figures = tiers.load(name).run(budget, seed, say)
    return {**figures, "seconds": round(time.monotonic() - began, 1)}


def print_line(line: str) -> None:
    """Progress."""
    print(f"{time.strftime('%H:%M:%S')} {line}", flush=True)
