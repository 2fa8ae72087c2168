"""Links between the pages, and from the pages to the code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

import pytest

from tests.docs.samples import PAGES, ROOT, name_of

WRITTEN: Final = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "AGENTS.md", "CHANGELOG.md"))]
LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
HEADING: Final = re.compile(r"^#+ (.*)$", re.MULTILINE)
FENCED: Final = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
TEST: Final = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
FOLDER: Final = re.compile(r"`((?:kernel|adapters|hosts|testing|tests|docs)/[\w/.-]*)`")


def prose(page: Path) -> str:
    """Return the text of a page without its code blocks."""
    return FENCED.sub("", page.read_text(encoding="utf-8"))


@cache
def anchors(page: Path) -> frozenset[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    headings = (heading.lower().replace(" ", "-") for heading in HEADING.findall(prose(page)))
    return frozenset(re.sub(r"[^\w-]", "", heading) for heading in headings)


def links(page: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield every link of a page into the repository: as written, the file, and the anchor."""
    for link in LINK.findall(prose(page)):
        if not link.startswith(("http://", "https://")):
            path, _, anchor = link.partition("#")
            yield link, (page.parent / path).resolve() if path else page, anchor


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link within the repository leads to a file, and its anchor to a heading."""
    for link, target, anchor in links(page):
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_can_be_reached_from_the_index() -> None:
    """No page of the documentation is an orphan, but for decisions, which are a list."""
    reached, ahead = set[Path](), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        reached.add(page)
        ahead += [target for _, target, _ in links(page) if target in PAGES and target not in reached]
    assert [name_of(page) for page in PAGES if page not in reached and page.parent.name != "decisions"] == []


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_named_tests_and_folders_exist(page: Path) -> None:
    """A test or a folder that a page names is there."""
    text = page.read_text(encoding="utf-8")
    for path, name in TEST.findall(text):
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        there = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in there, f"{path}::{name}"
    if "decisions" not in page.parts:
        assert [path for path in FOLDER.findall(text) if not (ROOT / path).exists()] == []


def test_guarantees_are_shown() -> None:
    """Each promise on the page of guarantees names a test."""
    page = (ROOT / "docs" / "explanation" / "guarantees.md").read_text(encoding="utf-8")
    promises = page.split("## What you can rely on")[1].split("\n## ")[0].strip().split("\n\n")
    assert len(promises) > 10
    assert [promise[:60] for promise in promises if not TEST.search(promise)] == []
