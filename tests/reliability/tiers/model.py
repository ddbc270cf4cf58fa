"""Publishing does what a list does, and delivery what a model of it does, whatever Hypothesis has them do.

The machines are those of tests/test_publish_model.py and tests/test_delivery_model.py, which are their short form.
"""

from __future__ import annotations

import modelling
from budget import Budget, Figures, Say

UNIT = "examples"
SHORT = 2 * modelling.EXAMPLES
LONG = 20_000


def missing() -> str | None:
    """Nothing."""
    return None


def run(budget: Budget, seed: int, say: Say) -> Figures:
    """Both machines in turn; fails with what Hypothesis found, made small."""
    examples = 0
    for number, size in budget.rounds(2 * modelling.EXAMPLES):
        for machine in modelling.MACHINES:
            modelling.run(machine, seed + number, max(1, size // 2))
        examples += size
        say(f"{examples} examples")
    return {"examples": examples, "differences": 0}
