"""The models of publishing and of delivery, for as long as one likes: the machines of tests/test_*_model.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, seed, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

sys.path.append(str(Path(__file__).parent.parent))  # where the machines are, for those who do not come by pytest

from test_delivery_model import DeliveryMachine
from test_publish_model import PublishMachine

MACHINES: tuple[type[RuleBasedStateMachine], ...] = (PublishMachine, DeliveryMachine)
EXAMPLES, STEPS = 20, 30


def run(machine: type[RuleBasedStateMachine], first: int, examples: int) -> None:
    """So many examples, chosen by a seed; fails with what Hypothesis found, made small."""
    how = settings(
        max_examples=examples,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    seeded: Any = seed(first)(type(machine.__name__, (machine,), {}))
    run_state_machine_as_test(seeded, settings=how)
