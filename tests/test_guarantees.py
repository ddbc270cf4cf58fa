"""docs/guarantees.md names tests that exist, for every promise, docs/reliability.md every proof.

docs/delivery.md knows the states of its picture.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parent.parent
GUARANTEES = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
RELIABILITY = (ROOT / "docs" / "reliability.md").read_text("utf-8")
TIERS = sorted(path.stem for path in (ROOT / "tests" / "reliability" / "tiers").glob("[!_]*.py"))
DELIVERY = (ROOT / "docs" / "delivery.md").read_text("utf-8")
PICTURE = ROOT / "docs" / "delivery.svg"
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
PROMISES = 9
LARGEST = 15_000  # bytes of the picture
STATES = ("due", "running", "handled", "retrying", "held", "waiting", "dead", "discarded")


def names_in(path: Path) -> set[str]:
    """The names that pytest would collect: functions, and what was assigned."""
    names: set[str] = set()
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
    return names


def missing(text: str) -> list[str]:
    """The tests that a text names and that are not there."""
    found = sorted(set(NAMED.findall(text)))
    return [f"{path}::{name}" for path, name in found if not name.startswith("test_") or not exists(path, name)]


def exists(path: str, name: str) -> bool:
    return (ROOT / path).is_file() and name in names_in(ROOT / path)


def promises(text: str) -> dict[int, str]:
    """The sections whose headings have a number."""
    found = re.findall(r"^## (\d+)\. .*\n((?:(?!^## ).*\n)*)", text, re.M)
    return {int(number): section for number, section in found}


@pytest.mark.parametrize("page", [GUARANTEES, RELIABILITY], ids=["guarantees", "reliability"])
def test_every_test_that_is_named_exists(page: str) -> None:
    assert missing(page) == []
    assert page.count("::") == len(NAMED.findall(page)), "a name that is spelled otherwise"


@pytest.mark.parametrize("tier", TIERS)
def test_every_proof_has_its_row_in_the_table(tier: str) -> None:
    assert re.search(rf"^\| [^|]+ \| `{tier}` \|", RELIABILITY, re.M)


@pytest.mark.parametrize("promise", range(1, PROMISES + 1))
def test_every_promise_names_its_tests(promise: int) -> None:
    assert NAMED.findall(promises(GUARANTEES)[promise])


@pytest.mark.parametrize(
    "wrong", ["tests/test_guarantees.py::test_nothing", "tests/test_nowhere.py::test_it", "tests/test_docs.py::run"]
)
def test_a_test_that_does_not_exist_is_found(wrong: str) -> None:
    assert missing(f"| `{wrong}` | |") == [wrong]


def test_the_picture_is_small_and_its_text_can_be_selected() -> None:
    assert PICTURE.stat().st_size < LARGEST
    words = {text.text for text in ElementTree.parse(PICTURE).iter("{http://www.w3.org/2000/svg}text")}
    assert set(STATES) <= words


@pytest.mark.parametrize("state", STATES)
def test_the_page_explains_every_state_of_its_picture(state: str) -> None:
    assert re.search(rf"^\| {state}\b.* \|$", DELIVERY, re.M)
    assert re.search(rf"\b{state}\b", DELIVERY.partition("```text\n")[2].partition("```")[0], re.I)
