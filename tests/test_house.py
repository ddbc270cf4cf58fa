"""The house keeps its shape: what may import what, where SQL may live, how long a file and a function may be.

Every rule is a function that returns complaints, so that it can be shown a bad sample as well as the house.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import eventbus

ROOT = Path(__file__).resolve().parent.parent
LONGEST_FILE = 400
LONGEST_FUNCTION = 40
NAMES_THAT_SAY_NOTHING = {"utils", "common", "helpers", "core", "types", "constants", "manager"}

Plan = dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Module:
    """One source file: its dotted name (a package is named by its folder), its path below the root, its text."""

    name: str
    path: str
    text: str
    is_package: bool = False

    @property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def room(self) -> str:
        return self.name.partition(".")[2].partition(".")[0]


def read_modules(*folders: str) -> list[Module]:
    found = []
    for path in sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py")):
        relative = path.relative_to(ROOT)
        parts = relative.with_suffix("").parts
        is_package = parts[-1] == "__init__"
        name = ".".join(parts[:-1] if is_package else parts)
        found.append(Module(name, relative.as_posix(), path.read_text("utf-8"), is_package))
    return found


LIBRARY = read_modules("eventbus")
EVERYTHING = LIBRARY + read_modules("tests", "examples", "benchmarks")


def sample(text: str, name: str = "eventbus.dispatch", *, is_package: bool = False) -> Module:
    path = name.replace(".", "/") + ("/__init__.py" if is_package else ".py")
    return Module(name, path, text, is_package)


# --- floors ---------------------------------------------------------------------------------------------


def read_plan(docstring: str) -> Plan:
    """Room -> (floor, place on the floor), from lines such as "    3 motion   dispatch, worker"."""
    plan: Plan = {}
    for line in re.finditer(r"^ +(\d) \w+ +(\w+(?:, \w+)*)$", docstring, re.M):
        for place, room in enumerate(line[2].split(", ")):
            plan[room] = (int(line[1]), place)
    return plan


PLAN = read_plan(eventbus.__doc__ or "")


def is_for_type_checkers(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def statements_run_while_loading(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for statement in body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        yield statement
        blocks = [value for _, value in ast.iter_fields(statement) if isinstance(value, list)]
        if isinstance(statement, ast.If) and is_for_type_checkers(statement.test):
            blocks = [statement.orelse]
        for child in (child for block in blocks for child in block):
            if isinstance(child, ast.stmt):
                yield from statements_run_while_loading([child])
            elif isinstance(child, ast.ExceptHandler | ast.match_case):
                yield from statements_run_while_loading(child.body)


def imported_modules(module: Module, statement: ast.stmt, known: set[str]) -> list[str]:
    """The modules of ours that an import statement loads; the package itself for a name of the front door."""
    if isinstance(statement, ast.Import):
        wanted = [alias.name for alias in statement.names]
    elif isinstance(statement, ast.ImportFrom):
        package = module.name.split(".") if module.is_package else module.name.split(".")[:-1]
        base = package[: len(package) - statement.level + 1] if statement.level else []
        source = ".".join(base + ([statement.module] if statement.module else []))
        wanted = [f"{source}.{alias.name}" for alias in statement.names]
    else:
        return []
    found = []
    for name in wanted:
        while name and name not in known:
            name = name.rpartition(".")[0]
        if name:
            found.append(name)
    return found


def load_time_imports(module: Module, known: set[str]) -> Iterator[tuple[int, str]]:
    for statement in statements_run_while_loading(module.tree.body):
        for target in imported_modules(module, statement, known):
            yield statement.lineno, target


def floor_complaints(modules: list[Module], plan: Plan) -> list[str]:
    known = {module.name for module in modules} | {"eventbus", *(f"eventbus.{room}" for room in plan)}
    above_all = (len(plan), 0)
    complaints = []
    for module in modules:
        if module.room not in plan and module.room not in {"", "__main__"}:
            complaints.append(f"{module.path}: the plan in eventbus/__init__.py has no room {module.room!r}")
            continue
        here = plan.get(module.room, above_all)
        for line, target in load_time_imports(module, known):
            room = target.partition(".")[2].partition(".")[0]
            inside = room == module.room != "" or (target == "eventbus" and plays_the_app(module))
            if plan.get(room, above_all) >= here and not inside:
                complaints.append(f"{module.path}:{line}: imports {target}, which is not below {module.name}")
    return complaints


def circle_complaints(modules: list[Module]) -> list[str]:
    known = {module.name for module in modules}
    graph = {m.name: {target for _, target in load_time_imports(m, known)} - {m.name} for m in modules}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return ["a circle of imports: " + " <- ".join(error.args[1])]
    return []


def test_imports_while_loading_go_down_the_stairs() -> None:
    assert floor_complaints(LIBRARY, PLAN) == []


def test_no_imports_while_loading_run_in_a_circle() -> None:
    assert circle_complaints(LIBRARY) == []


def test_every_room_of_the_plan_is_built() -> None:
    assert len(PLAN) >= 18, "the plan in eventbus/__init__.py could not be read"
    assert set(PLAN) - {module.room for module in LIBRARY} == set()


def test_the_house_is_really_looked_at() -> None:
    known = {module.name for module in LIBRARY}
    assert len(LIBRARY) > 20
    assert sum(len(list(load_time_imports(module, known))) for module in LIBRARY) > 20


@pytest.mark.parametrize(
    "bad",
    [
        "import eventbus.bus",
        "from eventbus.bus import EventBus",
        "from eventbus import bus",
        "from eventbus import EventBus",
        "from .bus import EventBus",
        "try:\n    import eventbus.bus\nfinally:\n    pass",
        "try:\n    pass\nexcept ImportError:\n    import eventbus.bus",
        "class A:\n    import eventbus.bus",
        "if not TYPE_CHECKING:\n    import eventbus.bus",
        "if TYPE_CHECKING:\n    pass\nelse:\n    import eventbus.bus",
    ],
)
def test_an_import_that_goes_up_is_found(bad: str) -> None:
    assert len(floor_complaints([sample(bad)], PLAN)) == 1


@pytest.mark.parametrize(
    "good",
    [
        "from eventbus.errors import EventBusError",
        "from eventbus import errors, clock",
        "from . import store",
        "import eventbus.dispatch.live",
        "import sqlite3, eventbusiness",
        "def later():\n    import eventbus.bus",
        "if TYPE_CHECKING:\n    import eventbus.bus",
        "if typing.TYPE_CHECKING:\n    import eventbus.bus",
    ],
)
def test_an_import_that_goes_down_or_waits_is_left_alone(good: str) -> None:
    assert floor_complaints([sample(good)], PLAN) == []


def test_a_module_that_the_plan_does_not_know_is_found() -> None:
    assert len(floor_complaints([sample("", "eventbus.attic")], PLAN)) == 1


def test_a_circle_inside_a_room_is_found() -> None:
    one = sample("from eventbus.store.two import b", "eventbus.store.one")
    two = sample("from . import one", "eventbus.store.two")
    assert circle_complaints([one]) == []
    assert len(circle_complaints([one, two])) == 1


# --- SQL ------------------------------------------------------------------------------------------------

STATEMENT = re.compile(
    r"\b(?:SELECT\s.*?\bFROM\b|INSERT\s+(?:OR\s+\w+\s+)?INTO\b|REPLACE\s+INTO\b|UPDATE\s+(?:OR\s+\w+\s+)?\S+\s+SET\b"
    r"|DELETE\s+FROM\b|(?:CREATE|DROP|ALTER)\s+(?:TEMP\w*\s+|UNIQUE\s+|VIRTUAL\s+)?(?:TABLE|INDEX|VIEW|TRIGGER)\b"
    r"|PRAGMA\s+\w+|BEGIN\s+(?:IMMEDIATE|EXCLUSIVE|DEFERRED)\b|SAVEPOINT\s+\w+|ATTACH\s+DATABASE\b|ON\s+CONFLICT\b"
    r"|ORDER\s+BY\b|LEFT\s+JOIN\b)",
    re.S,
)
RUNS_SQL = {"execute", "executemany", "executescript"}


def docstrings(tree: ast.Module) -> set[ast.expr]:
    return {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
        and isinstance(node.body[0].value, ast.Constant)
    }


def literal(node: ast.AST) -> str | None:
    """The text of a string or f-string as written, with an x for each value that is filled in."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(literal(part) or "x" for part in node.values)
    return None


def sql_in(module: Module) -> list[str]:
    """Where a string looks like a statement, or a literal is handed to a method that runs one."""
    tree = module.tree
    skipped = docstrings(tree)
    found: set[int] = set()
    for node in ast.walk(tree):
        if node not in skipped and STATEMENT.search(literal(node) or ""):
            found.add(node.lineno)  # type: ignore[attr-defined]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in RUNS_SQL:
            found.update(argument.lineno for argument in node.args[:1] if literal(argument) is not None)
    return [f"{module.path}:{line}: SQL outside store/" for line in sorted(found)]


def plays_the_app(module: Module) -> bool:
    """The demo is an application on the bus: it enters by the front door and writes SQL, as a user's does."""
    return module.name.split(".")[1:3] == ["cli", "demo"]


def test_all_sql_lives_in_the_store() -> None:
    outside = [m for m in LIBRARY if m.room != "store" and not plays_the_app(m)]
    assert [complaint for module in outside for complaint in sql_in(module)] == []


def test_the_search_for_sql_finds_that_of_the_store() -> None:
    files = [module.path for module in LIBRARY if module.room == "store" and sql_in(module)]
    assert len(files) >= 5, files


@pytest.mark.parametrize(
    "bad",
    [
        'rows = run("SELECT a\\nFROM b")',
        'rows = run(f"SELECT a FROM {table}")',
        'TEXT = "INSERT OR IGNORE INTO a VALUES (1)"',
        'TEXT = f"UPDATE {table} SET a = 1"',
        'run("PRAGMA user_version")',
        'connection.execute("begin")',
        'connection.executescript(f"{a}; {b}")',
    ],
)
def test_sql_is_found(bad: str) -> None:
    assert len(sql_in(sample(bad))) == 1


@pytest.mark.parametrize(
    "good",
    [
        '"""tx.execute("INSERT INTO a VALUES (1)")"""',
        'hint = "Select another file, or update from the first release."',
        "connection.execute(statement)",
    ],
)
def test_prose_and_docstrings_are_no_sql(good: str) -> None:
    assert sql_in(sample(good)) == []


# --- length, names and habits ---------------------------------------------------------------------------


def file_length_complaints(module: Module) -> list[str]:
    lines = module.text.count("\n")
    return [f"{module.path}: {lines} lines"] if lines > LONGEST_FILE else []


def code_lines(module: Module) -> set[int]:
    """Line numbers that hold code: not blank, not only a comment, not a docstring."""
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(module.text).readline):
        if token.type not in layout:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in docstrings(module.tree):
        lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    blank = {number for number, line in enumerate(module.text.splitlines(), 1) if not line.strip()}
    return lines - blank


def function_length_complaints(module: Module) -> list[str]:
    code = code_lines(module)
    complaints = []
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = len(code & set(range(node.lineno, (node.end_lineno or node.lineno) + 1)))
            if length > LONGEST_FUNCTION:
                complaints.append(f"{module.path}:{node.lineno}: {node.name} has {length} lines")
    return complaints


def name_complaints(module: Module) -> list[str]:
    bad = {part.strip("_") for part in module.name.split(".")} & NAMES_THAT_SAY_NOTHING
    return [f"{module.path}: {name!r} says nothing about what is inside" for name in bad]


def print_complaints(module: Module) -> list[str]:
    if module.room == "cli":
        return []
    calls = [node for node in ast.walk(module.tree) if isinstance(node, ast.Call)]
    return [f"{module.path}:{call.lineno}: prints" for call in calls if ast.unparse(call.func) == "print"]


def bare_except_complaints(module: Module) -> list[str]:
    handlers = [node for node in ast.walk(module.tree) if isinstance(node, ast.ExceptHandler)]
    return [f"{module.path}:{handler.lineno}: bare except" for handler in handlers if handler.type is None]


Rule = Callable[[Module], list[str]]


@pytest.mark.parametrize("rule", [file_length_complaints, function_length_complaints, bare_except_complaints])
def test_all_python_files_keep_the_rule(rule: Rule) -> None:
    assert [complaint for module in EVERYTHING for complaint in rule(module)] == []


@pytest.mark.parametrize("rule", [name_complaints, print_complaints])
def test_the_library_keeps_the_rule(rule: Rule) -> None:
    assert [complaint for module in LIBRARY for complaint in rule(module)] == []


FORTY_LINES = "def f(\n    a,\n):\n" + "    a += 1\n" * 37
UNCOUNTED = '    """Says.\n\n    More.\n    """\n    # why\n\n'


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (file_length_complaints, sample("\n" * 400), sample("\n" * 401)),
        (function_length_complaints, sample(FORTY_LINES), sample(FORTY_LINES + "    return a\n")),
        (
            function_length_complaints,
            sample(FORTY_LINES.replace("):\n", "):\n" + UNCOUNTED)),
            sample("class A:\n    async def f(self):\n" + "        a = '''\n        b'''\n" * 20),
        ),
        (
            bare_except_complaints,
            sample("try:\n    f()\nexcept OSError:\n    g()"),
            sample("try:\n    f()\nexcept:\n    g()"),
        ),
        (print_complaints, sample("print(1)", "eventbus.cli.log"), sample("def f():\n    print(1)")),
        (name_complaints, sample("", "eventbus.events.names"), sample("", "eventbus.events.types")),
        (
            name_complaints,
            sample("", "eventbus.store", is_package=True),
            sample("", "eventbus._utils", is_package=True),
        ),
    ],
)
def test_each_rule_tells_good_from_bad(rule: Rule, good: Module, bad: Module) -> None:
    assert rule(good) == []
    assert len(rule(bad)) == 1
