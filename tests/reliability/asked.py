"""The command line of what kills: how often, which schedule, where, and how the figures are printed."""

from __future__ import annotations

import argparse
import json
import logging
import random
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path


def rage_as_asked(about: str | None, rage: Callable[[Path, int, int], Mapping[str, float]]) -> None:
    """Run it as the command line says, and print its figures."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--folder", type=Path, help="an empty one; it is kept")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, and nothing else")
    args = parser.parse_args()
    logging.getLogger("eventbus.delivery").disabled = True  # handlers fail on purpose
    if not args.json:
        print(f"--kills {args.kills} --seed {args.seed}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(exist_ok=True)
        figures = rage(folder, args.kills, args.seed)
    if args.json:
        print(json.dumps(figures))
        return
    for name, figure in figures.items():
        print(f"{figure:>10} {name}")
