"""Every Python snippet of the README and the documentation, executed."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import pytest
from psycopg import conninfo
from sqlalchemy import Engine
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from holdfast_testing import CollectingSink, FakeClock, Harness
from tests.docs.samples import PAGES, files_of, name_of
from tests.postgres import empty_url

#: What a page calls the database that it needs.
DATABASE: Final = "DATABASE_URL"
SHOWING: Final = [
    pytest.param(page, id=name_of(page), marks=[pytest.mark.postgres] if DATABASE in text else [])
    for page in PAGES
    if "```python" in (text := page.read_text(encoding="utf-8"))
]
SYBIL: Final = Sybil(parsers=[PythonCodeBlockParser(), SkipParser()])


def fixtures() -> dict[str, Any]:
    """Return what the pytest plugin gives to a test, anew for each."""
    clock, sink = FakeClock(), CollectingSink()
    return {"fake_clock": clock, "collecting_sink": sink, "harness": Harness(clock=clock, event_sink=sink)}


def database() -> str:
    """Return the address of an empty database as a reader would write it."""
    parts = conninfo.conninfo_to_dict(empty_url())
    host = quote(str(parts["host"]), safe="")
    return f"postgresql://{parts['user']}@/{parts['dbname']}?host={host}&port={parts.get('port', 5432)}"


@pytest.mark.parametrize("page", SHOWING)
def test_snippets_run(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snippets of a page run from top to bottom, each seeing what those above defined, and its tests pass."""
    if DATABASE in page.read_text(encoding="utf-8"):
        monkeypatch.setenv(DATABASE, database())
    for name, text in files_of(page).items():
        (folder / name).write_text(text, encoding="utf-8")
    document = SYBIL.parse(page)
    document.namespace["__name__"] = "__main__"
    try:
        for example in document.examples():
            example.evaluate()
        for name, shown in list(document.namespace.items()):
            if name.startswith("test_"):
                given = fixtures()
                shown(**{one: given[one] for one in inspect.signature(shown).parameters})
    finally:
        # A page is the end of its process, and may leave its connections to that.
        for value in document.namespace.values():
            if isinstance(value, Engine):
                value.dispose()
