"""Markdown made of docstrings and comments: the small tools behind the reference pages."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

#: Characters in a line of prose.
_WIDTH: Final = 120
_ENTRY: Final = re.compile(r"^ {4}(\w+): (.*?)(?=^ {4}\w+:|\Z)", re.MULTILINE | re.DOTALL)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    cells = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |\n" for row in cells)


def sentence(thing: object) -> str:
    """Return the first line of a docstring as Markdown, without its full stop."""
    return spelled((inspect.getdoc(thing) or "").split("\n", 1)[0]).removesuffix(".")


def filled(text: str) -> str:
    """Return a paragraph in lines of the usual length."""
    return textwrap.fill(" ".join(text.split()), _WIDTH, break_long_words=False, break_on_hyphens=False)


def spelled(text: str) -> str:
    """Return the text of a docstring as Markdown: double backquotes made single."""
    return text.replace("``", "`")


def comments(kind: type[Any]) -> Mapping[str, str]:
    """Return the ``#:`` comments above the fields of a class, by field."""
    lines = textwrap.dedent(inspect.getsource(kind)).splitlines()
    (body,) = ast.parse("\n".join(lines)).body
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {}
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            above: list[str] = []
            while (line := lines[node.lineno - 2 - len(above)].strip()).startswith("#:"):
                above.insert(0, line.removeprefix("#:").strip())
            found[node.target.id] = spelled(" ".join(above))
    return found


def section(doc: str, name: str) -> list[tuple[str, str]]:
    """Return the entries of a section of a docstring, such as ``Args``, each with its words."""
    _, _, behind = doc.partition(f"{name}:\n")
    entries = re.split(r"\n(?=\S)", behind, maxsplit=1)[0]
    return [(one, spelled(" ".join(words.split())).removesuffix(".")) for one, words in _ENTRY.findall(entries)]
