"""The proofs, one in each file; budget.py says what such a file has to have."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import cast

from budget import Tier


def names() -> list[str]:
    """All there are."""
    return sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py"))


def load(name: str) -> Tier:
    """One of them."""
    return cast(Tier, import_module(f"tiers.{name}"))
