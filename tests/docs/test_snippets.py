"""Every Python snippet of the README and the documentation, executed."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Final

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from holdfast_testing import CollectingSink, FakeClock, Harness
from tests.docs.samples import PAGES, files_of, name_of

SHOWING: Final = [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]
SYBIL: Final = Sybil(parsers=[PythonCodeBlockParser(), SkipParser()])


def fixtures() -> dict[str, Any]:
    """Return what the pytest plugin gives to a test, anew for each."""
    clock, sink = FakeClock(), CollectingSink()
    return {"fake_clock": clock, "collecting_sink": sink, "harness": Harness(clock=clock, event_sink=sink)}


@pytest.mark.parametrize("page", SHOWING, ids=name_of)
def test_snippets_run(page: Path, folder: Path) -> None:
    """The snippets of a page run from top to bottom, each seeing what those above defined, and its tests pass."""
    for name, text in files_of(page).items():
        (folder / name).write_text(text, encoding="utf-8")
    document = SYBIL.parse(page)
    document.namespace["__name__"] = "__main__"
    for example in document.examples():
        example.evaluate()
    for name, shown in list(document.namespace.items()):
        if name.startswith("test_"):
            given = fixtures()
            shown(**{one: given[one] for one in inspect.signature(shown).parameters})
