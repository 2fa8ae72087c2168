"""Every Python snippet of the README and the documentation, executed."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = sorted(
    page
    for page in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))
    if "```python" in page.read_text(encoding="utf-8")
)
SYBIL: Final = Sybil(parsers=[PythonCodeBlockParser(), SkipParser()])


def name_of(page: Path) -> str:
    """Return the page as a reader would call it."""
    return page.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snippets of a page run from top to bottom, each seeing what those above it defined."""
    monkeypatch.chdir(tmp_path)
    document = SYBIL.parse(page)
    document.namespace["__name__"] = "__main__"
    for example in document.examples():
        example.evaluate()
