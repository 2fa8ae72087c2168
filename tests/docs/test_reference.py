"""The reference pages against the code that they tell of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

import holdfast
from holdfast import RunStatus, StageStatus
from holdfast.entities.wait import WaitStatus
from tests.docs.reference import BLOCK, FRONT_DOOR, MADE, SCHEMA, remade, schema
from tests.docs.samples import PAGES, ROOT, name_of
from tests.docs.wire import WORDS, commands, values

REFERENCE: Final = ROOT / "docs" / "reference"
RENEW: Final = "Bring it up to date: .venv/bin/python -m tests.docs.reference"
MADE_PAGES: Final = [page for page in PAGES if BLOCK.search(page.read_text(encoding="utf-8"))]


def rows(page: Path) -> list[Sequence[str]]:
    """Return the cells of every row of every table of a page."""
    lines = page.read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("|")]


@pytest.mark.parametrize("page", MADE_PAGES, ids=name_of)
def test_made_parts_say_what_the_code_says(page: Path) -> None:
    """What a page takes from the code is what the code says now."""
    text = page.read_text(encoding="utf-8")
    assert remade(text) == text, RENEW


def test_every_made_part_stands_on_one_page() -> None:
    """Nothing that is made for the reference is left out or told twice."""
    placed = [name for page in PAGES for _, name, _, _ in BLOCK.findall(page.read_text(encoding="utf-8"))]
    assert sorted(placed) == sorted(MADE)


def test_the_front_door_is_told_whole() -> None:
    """Every name of the front door stands on the page of the Python API, once."""
    told = [name for names in FRONT_DOOR.values() for name in names]
    assert sorted(told) == sorted(holdfast.__all__)


def test_the_picture_of_the_schema_is_true() -> None:
    """The schema on the page is that of a new store."""
    assert SCHEMA.read_text(encoding="utf-8") == schema(), RENEW


def test_no_word_is_kept_for_a_field_that_is_gone() -> None:
    """Every field that is told beside the code is a field of some command or value."""
    told = commands() + values()
    assert [words for words in WORDS.values() if f"| {words.removesuffix('.')} |" not in told] == []


def test_every_status_is_told() -> None:
    """Each status of runs, stage instances and waits has its meaning on the page."""
    told = [cells[0] for cells in rows(REFERENCE / "state-machines.md") if len(cells) == 2]
    for status in (*RunStatus, *StageStatus, *WaitStatus):
        assert f"`{status.value}`" in told


def test_every_code_is_told() -> None:
    """Each code of an error, of any ring, and of a failure stands on its page."""
    sources = [path.read_text(encoding="utf-8") for ring in ("kernel", "hosts") for path in (ROOT / ring).rglob("*.py")]
    errors, events = ((REFERENCE / name).read_text(encoding="utf-8") for name in ("errors.md", "events.md"))
    codes = {code for text in sources for code in re.findall(r'"(E\d{4})"', text)}
    failures = {code for text in sources for code in re.findall(r'code="([A-Z]+(?:_[A-Z]+)*)"', text)}
    assert len(codes) > 30
    assert len(failures) > 5
    assert [code for code in sorted(codes) if f"`{code}`" not in errors] == []
    assert [code for code in sorted(failures) if f"`{code}`" not in events] == []
