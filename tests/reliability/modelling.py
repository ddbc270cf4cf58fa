"""The models of publishing and of delivery, for as long as one likes: the machines of tests/test_*_model.py.

python tests/reliability/modelling.py --seconds 600 [--seed SEED]
"""

from __future__ import annotations

import argparse
import logging
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import run_state_machine_as_test

sys.path.append(str(Path(__file__).parent.parent))  # where the machines are, for those who do not come by pytest

from test_delivery_model import DeliveryMachine
from test_publish_model import PublishMachine

EXAMPLES, STEPS = 20, 30


def run(seconds: float, first: int, say: Callable[[str], object]) -> dict[str, float]:
    """Both machines in turn, with one seed after the other, until the time is over; returns figures.

    Fails with what Hypothesis found, made small.
    """
    end = time.monotonic() + seconds
    how = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    rounds = 0
    while time.monotonic() < end or not rounds:
        for machine in (PublishMachine, DeliveryMachine):
            say(f"{machine.__name__}, seed {first + rounds}")
            seeded: Any = seed(first + rounds)(type(machine.__name__, (machine,), {}))
            run_state_machine_as_test(seeded, settings=how)
        rounds += 1
    return {"rounds of both models": rounds, "examples": rounds * 2 * EXAMPLES, "seconds": round(seconds, 1)}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)  # the handlers fail on purpose
    for name, figure in run(args.seconds, args.seed, print).items():
        print(f"{figure:>10} {name}")


if __name__ == "__main__":
    main()
