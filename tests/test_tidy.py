"""The rules of style that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
FOLDERS: Final = {"kernel", "adapters", "hosts", "testing", "tests", "docs", ".ci"}
SHIPPED: Final = ("kernel", "adapters", "hosts", "testing")
FORBIDDEN_MODULES: Final = {
    *("utils", "util", "helpers", "common", "misc", "types", "models", "base", "core", "manager", "managers"),
    *("service", "services"),
}
MODULE_LINES: Final = 400
FUNCTION_LINES: Final = 70
PORT_METHODS: Final = 12
#: Written in pieces, so that this file does not contain what it forbids.
LEAKS: Final = re.compile(
    "/wor" + "k/|/roo" + "t/|pye" + r"nv|pypi\." + r"org|python" + r"hosted\.|registry\." + r"npm|proxy\." + "golang"
)
UNFINISHED: Final = re.compile(
    r"\b(?:TO" + "DO|FIX" + "ME|XX" + r"X)\b|NotImplemented" + r"Error|pragma: no " + "cover"
)
UNREASONED: Final = re.compile(r"#\s*(?:type: ignore(?:\[[^\]]*\])?|noqa(?:: ?[A-Z0-9, ]+)?)\s*$", re.MULTILINE)


@cache
def tracked() -> tuple[Path, ...]:
    """Return the text files that belong to the project: those git has or would add, or all of an unpacked archive."""
    listing = subprocess.run(
        ["git", "-c", f"safe.directory={ROOT}", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode == 0 and listing.stdout:
        paths = [ROOT / name for name in listing.stdout.decode().split("\0") if name]
    else:
        paths = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if "__pycache__" not in path.parts]
    return tuple(sorted(path for path in paths if path.is_file()))


def modules(*folders: str) -> list[Path]:
    """Return the Python files below *folders*."""
    return [path for path in tracked() if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in folders]


@cache
def parse(path: Path) -> ast.Module:
    """Return the syntax tree of a module."""
    return ast.parse(path.read_text(encoding="utf-8"))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function of a module, methods and nested ones too."""
    return (node for node in ast.walk(parse(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def where(path: Path, node: ast.AST | None = None) -> str:
    """Return a place as an editor understands it."""
    line = f":{node.lineno}" if isinstance(node, ast.stmt) else ""
    return f"{path.relative_to(ROOT)}{line}"


def body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the length of a function without its signature and docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def report(offenders: list[str], rule: str) -> None:
    """Fail with the list of offenders."""
    if offenders:
        pytest.fail(f"{rule}\n  " + "\n  ".join(offenders), pytrace=False)


def test_there_is_something_to_check() -> None:
    """The rules below see the modules of every ring."""
    assert all(modules(folder) for folder in (*SHIPPED, "tests"))


def test_modules_are_short() -> None:
    """No module is longer than 400 lines, except contract suites and migrations."""
    excepted = {"contracts", "migrations"}
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in modules(*SHIPPED, "tests")}
    offenders = [
        f"{where(path)}: {n}" for path, n in lengths.items() if n > MODULE_LINES and not excepted & {*path.parts}
    ]
    report(offenders, f"A module longer than {MODULE_LINES} lines is split by responsibility.")


def test_functions_are_short() -> None:
    """No function body is longer than 70 lines."""
    offenders = [
        f"{where(path, function)}: {function.name} has {body_lines(function)}"
        for path in modules(*SHIPPED, "tests")
        for function in functions(path)
        if body_lines(function) > FUNCTION_LINES
    ]
    report(offenders, f"A function has at most {FUNCTION_LINES} lines.")


def test_ports_are_narrow() -> None:
    """No port has more than twelve methods."""
    offenders = [
        f"{where(path, node)}: {node.name}"
        for path in modules("kernel")
        if path.parent.name == "ports"
        for node in parse(path).body
        if isinstance(node, ast.ClassDef)
        and sum(isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) for member in node.body) > PORT_METHODS
    ]
    report(offenders, f"A port has at most {PORT_METHODS} methods; split it by caller.")


def test_module_names_say_what_they_hold() -> None:
    """No module or package has a name that could hold anything."""
    offenders = [
        where(path)
        for path in modules(*SHIPPED, "tests")
        if FORBIDDEN_MODULES & {part.removesuffix(".py").strip("_") for part in path.relative_to(ROOT).parts}
    ]
    report(offenders, "These names could hold anything; name the module for the one thing it holds.")


def test_modules_open_with_a_sentence() -> None:
    """Every module begins with a docstring whose first line is a sentence."""
    offenders: list[str] = []
    for path in modules(*SHIPPED, "tests"):
        first = (ast.get_docstring(parse(path)) or "").split("\n", 1)[0]
        if not first.endswith("."):
            offenders.append(where(path))
    report(offenders, "A module opens with one sentence that says what one finds in it.")


def test_tests_say_what_they_show() -> None:
    """Every test and every contract states a behaviour in one sentence."""
    offenders = [
        f"{where(path, function)}: {function.name}"
        for path in modules("tests", "testing")
        for function in functions(path)
        if function.name.startswith("test_")
        and not (ast.get_docstring(function) or "").split("\n\n", 1)[0].endswith((".", "?"))
    ]
    report(offenders, "A test opens with one present-tense sentence of behaviour.")


@pytest.mark.parametrize(
    ("pattern", "rule"),
    [
        pytest.param(LEAKS, "A path or host of one machine does not belong in the project.", id="machine"),
        pytest.param(UNFINISHED, "Finish it, or say it in an issue.", id="unfinished"),
        pytest.param(UNREASONED, "A silenced checker needs its reason in the same line.", id="silenced"),
    ],
)
def test_texts_hold_nothing_unfit(pattern: re.Pattern[str], rule: str) -> None:
    """No file names a machine's paths or package hosts, is left unfinished, or silences a checker without a reason."""
    offenders: list[str] = []
    for path in tracked():
        if path.suffix in {".py", ".md", ".toml", ".sql", ".lock", ".txt", ".html", ".js", ""}:
            lines = enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
            offenders += [f"{where(path)}:{n}: {line.strip()[:100]}" for n, line in lines if pattern.search(line)]
    report(offenders, rule)


def test_root_holds_only_the_rings() -> None:
    """No other folder stands at the root."""
    folders = {path.relative_to(ROOT).parts[0] for path in tracked() if len(path.relative_to(ROOT).parts) > 1}
    assert folders <= FOLDERS
