"""What `import eventbus` costs: the bare interpreter against one that imports it, in turns, medians of both.

    python benchmarks/import_time.py [--rounds 100] [--limit 5.0]

Ends with 1 if the difference is above the limit, in milliseconds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
PROGRAMS = {
    "bare interpreter": "pass",
    "import eventbus": "import eventbus",
    "from eventbus import event": "from eventbus import event",
    "from eventbus import EventBus": "from eventbus import EventBus",
}
LIMITED = "import eventbus"


def milliseconds(program: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    return (time.perf_counter() - started) * 1000


def measure(rounds: int) -> dict[str, float]:
    """Median per program. They take turns, so that a busy moment of the machine falls on all of them."""
    taken: dict[str, list[float]] = {name: [] for name in PROGRAMS}
    for turn in range(rounds + 1):
        for name, program in PROGRAMS.items():
            spent = milliseconds(program)
            if turn > 0:  # the first turn writes and warms the caches
                taken[name].append(spent)
    return {name: median(values) for name, values in taken.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description="What importing eventbus costs.")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--limit", type=float, default=5.0, help="most that `import eventbus` may add, in ms")
    options = parser.parse_args()
    medians = measure(options.rounds)
    bare = medians["bare interpreter"]
    for name, value in medians.items():
        print(f"{name:32}{value:8.2f} ms{value - bare:+8.2f} ms")
    return 0 if medians[LIMITED] - bare <= options.limit else 1


if __name__ == "__main__":
    sys.exit(main())
