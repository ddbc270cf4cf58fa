"""Nothing is shown that does not run: the code in README.md, in docs/*.md and in the docstrings.

The python blocks of a page are one program, run in order in an empty folder. What the page says about them:

    <!-- no-run: reason -->    before a block: it is not run
    <!-- prints -->            before a text block: this is what the block above it prints, `...` for what varies
    <!-- prints, again -->     the same for the second run of README's main example, in the same folder
"""

from __future__ import annotations

import doctest
import importlib
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "eventbus").rglob("*.py"))
]
FENCE = re.compile(r"(?:^<!-- (?P<note>.+?) -->\n\s*)?^```(?P<language>.*)\n(?P<body>(?:.*\n)*?)^```$", re.M)
NOT_RUN_AT_MOST = 5  # in all pages together; a page that cannot be run is a page nobody checks
SECONDS = 120  # a program that hangs fails here, not in the job's time limit
END_OF_BLOCK = "-- end of the block at line"


@dataclass(frozen=True)
class Block:
    """A python block of a page, and what the page says that it prints."""

    page: str
    line: int
    code: str
    not_run: str | None
    prints: str | None
    prints_again: str | None

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def read_blocks(text: str, page: str) -> list[Block]:
    fences = list(FENCE.finditer(text))
    blocks = []
    for number, fence in enumerate(fences):
        if fence["language"] != "python":
            continue
        said = {}
        for following in fences[number + 1 :]:
            if following["language"] != "text":
                break
            said[following["note"]] = following["body"]
        note = fence["note"] or ""
        reason = note.removeprefix("no-run:").strip() if note.startswith("no-run:") else None
        line = text.count("\n", 0, fence.start("body")) + 1
        blocks.append(Block(page, line, fence["body"], reason, said.get("prints"), said.get("prints, again")))
    return blocks


def as_program(blocks: list[Block]) -> str:
    """One program whose line numbers are those of the page, and which says where each block ended."""
    lines: list[str] = []
    for block in blocks:
        lines += [""] * (block.line - 1 - len(lines))
        lines += [*block.code.splitlines(), f"print({f'{END_OF_BLOCK} {block.line}'!r}, flush=True)"]
    return "\n".join(lines) + "\n"


def run(blocks: list[Block], folder: Path) -> dict[Block, str]:
    """Run the blocks as a program in `folder`; what each of them printed."""
    program = folder / "page.py"
    program.write_text(as_program(blocks), "utf-8")
    search = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-W", "error", program.name],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": search, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    program.unlink()
    assert done.returncode == 0, f"{blocks[0].page} does not run:\n{done.stdout}{done.stderr}"
    printed = {}
    rest = done.stdout
    for block in blocks:
        printed[block], _, rest = rest.partition(f"{END_OF_BLOCK} {block.line}\n")
    return printed


def assert_prints(said: str | None, printed: str, block: Block) -> None:
    if said is not None:
        fits = doctest.OutputChecker().check_output(said, printed, doctest.ELLIPSIS)
        assert fits, f"{block} says that it prints\n{said}\nbut it prints\n{printed}"


def check_page(text: str, page: str, folder: Path) -> None:
    blocks = [block for block in read_blocks(text, page) if block.not_run is None]
    if blocks:
        for block, printed in run(blocks, folder).items():
            assert_prints(block.prints, printed, block)


def check_main_example(text: str, page: str, folder: Path) -> None:
    main = next((block for block in read_blocks(text, page) if block.not_run is None), None)
    assert main, f"{page} has no python block that runs"
    assert_prints(main.prints, run([main], folder)[main], main)
    assert_prints(main.prints_again, run([main], folder)[main], main)


BLOCKS = [block for page in PAGES for block in read_blocks(page.read_text("utf-8"), page.relative_to(ROOT).as_posix())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_code_of_a_page_runs_and_prints_what_the_page_says(page: Path, tmp_path: Path) -> None:
    check_page(page.read_text("utf-8"), page.name, tmp_path)


def test_the_readme_has_a_main_example_that_runs_twice_in_the_same_folder(tmp_path: Path) -> None:
    check_main_example(README.read_text("utf-8"), README.name, tmp_path)


def test_a_block_that_is_not_run_says_why() -> None:
    assert [str(block) for block in BLOCKS if block.not_run is not None and not block.not_run.strip()] == []


def test_few_blocks_are_not_run() -> None:
    assert len([block for block in BLOCKS if block.not_run is not None]) <= NOT_RUN_AT_MOST


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_block_or_note_escapes_by_its_spelling(page: Path) -> None:
    text = page.read_text("utf-8")
    fences = list(FENCE.finditer(text))
    assert len(re.findall(r"^\s*(?:```|~~~)", text, re.M)) == 2 * len(fences), "a fence that is indented or left open"
    languages = {fence["language"] for fence in fences} - {"python"}
    assert [language for language in languages if language == "" or language.lower().startswith("py")] == []
    notes = [note for note in re.findall(r"<!-- ((?:no-run|prints).*?) -->", text) if not note.startswith("no-run: ")]
    used = [said for block in read_blocks(text, page.name) for said in (block.prints, block.prints_again)]
    assert len(notes) == len([said for said in used if said is not None]), "a note that no block answers to"


# --- docstrings -----------------------------------------------------------------------------------------


def failed_examples(module: object, name: str) -> str:
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        runner.run(test, out=report.append)
    return "".join(report)


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert failed_examples(importlib.import_module(name), name) == ""


# --- the checks can fail --------------------------------------------------------------------------------

PAGE = """\
Words.

```python
names = ["a"]
print("first", 1)
```

<!-- prints -->

```text
first ...
```

<!-- no-run: needs a broker -->
```python
raise SystemExit("never run")
```

```python
print(*names)
```
<!-- prints -->
```text
a
```
"""


def test_blocks_are_read_with_what_is_said_about_them() -> None:
    first, skipped, last = read_blocks(PAGE, "page.md")
    assert (first.line, first.prints, first.not_run) == (4, "first ...\n", None)
    assert (skipped.not_run, skipped.prints) == ("needs a broker", None)
    assert (last.line, last.code, last.prints) == (20, "print(*names)\n", "a\n")


def test_a_true_page_passes(tmp_path: Path) -> None:
    check_page(PAGE, "page.md", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("true", "untrue", "complaint"),
    [
        ("first ...", "second", "page.md:4 says that it prints"),
        ('names = ["a"]', 'names = ["b"]', "page.md:20 says that it prints"),
        ("print(*names)", "print(*nomes)", "line 20, in <module>"),
        ("print(*names)", "import warnings; warnings.warn('old')", "UserWarning: old"),
    ],
)
def test_an_untrue_page_is_found(true: str, untrue: str, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=re.escape(complaint)):
        check_page(PAGE.replace(true, untrue), "page.md", tmp_path)


ONCE = '```python\nopen("made", "x").close()\n```\n'
TWICE = """\
```python
with open("made", "a+") as made:
    made.write("x")
    made.seek(0)
    print(made.read())
```
<!-- prints -->
```text
x
```
<!-- prints, again -->
```text
xx
```
"""


def test_a_main_example_is_held_to_what_it_prints_the_second_time(tmp_path: Path) -> None:
    check_main_example(TWICE, "page.md", tmp_path)


@pytest.mark.parametrize("bad", [ONCE, TWICE.replace("xx", "x")])
def test_a_main_example_that_runs_only_once_is_found(bad: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"page\.md"):
        check_main_example(bad, "page.md", tmp_path)


def example() -> int:
    """Answer.

    >>> example()
    41
    """
    return 42


def test_an_untrue_docstring_is_found() -> None:
    assert "Got:\n    42" in failed_examples(sys.modules[__name__], __name__)
