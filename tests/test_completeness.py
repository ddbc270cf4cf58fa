"""Nothing public is left out of the documentation, and what docs/cli.md shows is what the program prints."""

from __future__ import annotations

import doctest
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

import eventbus
from eventbus import errors, placement, technical, testing
from eventbus.cli.program import program

ROOT = Path(__file__).resolve().parent.parent
GUIDE = (ROOT / "docs" / "guide.md").read_text("utf-8")
ERRORS = (ROOT / "docs" / "errors.md").read_text("utf-8")
CLI = (ROOT / "docs" / "cli.md").read_text("utf-8")
README = (ROOT / "README.md").read_text("utf-8")
SECONDS = 60  # for one command; one that hangs fails here


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def headings(text: str, level: int) -> list[str]:
    return re.findall(rf"^{'#' * level} (.+)$", text, re.M)


def errors_in(module: object) -> list[type[Exception]]:
    found = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Exception)]
    return [error for error in found if error.__module__ == errors.__name__]


def commands(group: click.Group = program) -> Iterator[list[str]]:
    """Every command there is, by the words that call it."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from ([name, *rest] for rest in commands(command))
        else:
            yield [name]


def parameters(words: list[str]) -> list[click.Parameter]:
    command: click.Command = program
    for word in words:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), word)
        assert found is not None
        command = found
    return command.params


# --- what there is, and whether it is told ----------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in eventbus.__all__ if name != "__version__"])
def test_every_public_name_is_documented(name: str) -> None:
    assert name in words(GUIDE) | words(ERRORS)


@pytest.mark.parametrize(
    "name",
    [name for name in vars(eventbus.EventBus) if not name.startswith("_")]
    + ["on", "subscribe", "project", "publish_every", "publish_at", "publish_at_async", "schedules"],
)
def test_every_verb_of_the_bus_is_in_the_guide(name: str) -> None:
    assert re.search(rf"(?:bus|shop)\.{name}\b|EventBus\.{name}\b|`{name}\b|\b{name}\(", GUIDE)


@pytest.mark.parametrize("module", [placement, testing], ids=lambda module: module.__name__)
def test_every_name_of_the_rooms_an_app_imports_from_is_in_the_guide(module: object) -> None:
    own = {"Thunk", "Via", "START", "RecordingContext"}  # types and a number that nobody has to write
    assert set(module.__all__) - own <= words(GUIDE)  # type: ignore[attr-defined]


def test_every_technical_event_is_in_the_table_of_the_guide() -> None:
    there = {name for name, value in vars(technical).items() if getattr(value, "__module__", "") == technical.__name__}
    assert set(re.findall(r"^\| `([A-Z]\w+)` \|", GUIDE, re.M)) == there


def test_every_error_has_its_section_and_no_section_is_about_another() -> None:
    assert sorted(headings(ERRORS, 3)) == sorted(error.__name__ for error in errors_in(errors))


@pytest.mark.parametrize("error", errors_in(errors), ids=lambda error: error.__name__)
def test_the_section_of_an_error_says_whether_anything_is_stored(error: type[errors.EventBusError]) -> None:
    section = ERRORS.partition(f"### {error.__name__}\n")[2].partition("\n#")[0]
    said = {"not stored": r"[Nn]ot stored", "in doubt": r"[Ii]n doubt", "stored": "stored"}.get(error.stored)
    assert said is None or re.search(said, section)
    facts = set(re.findall(r"self\.(\w+)", (ROOT / "eventbus" / "errors.py").read_text("utf-8")))
    named = set(re.findall(r"`(\w+)`", section)) & facts
    code = error.__init__.__code__
    taken = (
        set(code.co_varnames[1 : code.co_argcount]) if error.__init__ is not errors.EventBusError.__init__ else set()
    )
    assert (taken & facts) - {"path", "what"} <= named | {"what", "hint"}


def test_every_command_has_its_section_in_the_order_of_the_help() -> None:
    assert headings(CLI, 2) == list(dict.fromkeys(command[0] for command in commands()))


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_every_command_has_an_example_and_names_its_options(command: list[str]) -> None:
    section = CLI.partition(f"\n## {command[0]}\n")[2].partition("\n## ")[0]
    assert f"eventbus {' '.join(command)}" in section
    told = section + CLI.partition("\n## ")[0]  # some options are those of all commands
    options = [max(each.opts, key=len) for each in parameters(command) if isinstance(each, click.Option)]
    assert [option for option in options if option not in told] == []


def test_the_readme_names_every_command() -> None:
    assert [command[0] for command in commands() if command[0] not in words(README)] == []


def test_the_changelog_has_a_section_for_this_release() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(r"^## \[(Unreleased|" + re.escape(eventbus.__version__) + r")\]", changes, re.M)


# --- what docs/cli.md shows -------------------------------------------------------------------------------

EXAMPLE = re.compile(r"^```sh\n(?P<command>eventbus .+)\n```\n\n```text\n(?P<output>(?:.*\n)*?)```$", re.M)
VARYING = [
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} [+-]\d{4}", "TIME"),
    (r"\d\d:\d\d:\d\d\.\d{3}", "TIME"),
    (r"── \w{3} \d+ \w{3} \d{4} ──", "DAY"),
    (r"\b\d+(?:\.\d+)? (?:ms|s|m)\b(?: \d+ s\b)?(?: ago\b)?|\bnow\b", "SPAN"),
    (r"Process \d+", "Process"),
    (r'File ".*?([^/"]+)", line \d+', r'File "\1"'),
    (r"(?:\S+/python\S* -m )?\S*eventbus (?=log|show|sub|dead|proj|run)", "eventbus "),
    (r"(?<![^\s=])/\S*/demo\b", "demo"),
    (r"  # .*", ""),
    (r" {2,}", "  "),
]


def settled(output: str) -> str:
    """What an output says, without what differs from run to run or between versions of Python."""
    for pattern, replacement in VARYING:
        output = re.sub(pattern, replacement, output)
    return "".join(f"{line.rstrip()}\n" for line in output.splitlines() if line.strip(" ~^"))


def install_example_plugin(site: Path) -> None:
    """What pip would leave of examples/plugin."""
    project = (ROOT / "examples" / "plugin" / "pyproject.toml").read_text("utf-8")
    shutil.copy(ROOT / "examples" / "plugin" / "shop_loyalty.py", site)
    version = re.findall(r'^version = "(.+)"$', project, re.M)[0]
    info = site / f"shop_loyalty-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: shop-loyalty\nVersion: {version}\n", "utf-8")
    (info / "entry_points.txt").write_text("[shop.plugins]\nloyalty = shop_loyalty\n", "utf-8")


def run_page(text: str, folder: Path) -> Iterator[tuple[str, str, str]]:
    """Each command of a page, what the page says it prints, and what it printed."""
    site = folder / "site"
    site.mkdir()
    install_example_plugin(site)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{ROOT}{os.pathsep}{site}",
        "PYTHONIOENCODING": "utf-8",
        "COLUMNS": "200",
    }
    for example in EXAMPLE.finditer(text):
        done = subprocess.run(
            [sys.executable, "-W", "error", "-m", *shlex.split(example["command"])],
            cwd=folder,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), example["command"]
        yield example["command"], example["output"], done.stdout


def test_the_program_prints_what_its_page_shows(tmp_path: Path) -> None:
    shown = list(run_page(CLI, tmp_path))
    assert len(shown) == CLI.count("```sh\n")
    for command, said, printed in shown:
        fits = doctest.OutputChecker().check_output(settled(said), settled(printed), doctest.ELLIPSIS)
        assert fits, f"{command} prints\n{printed}\nand not, as docs/cli.md says,\n{said}"
