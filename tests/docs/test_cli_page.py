"""The samples of the page on the command line, executed from top to bottom."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from holdfast_hosts.cli.main import main
from holdfast_hosts.cli.menu import MENU

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"
SAMPLE: Final = re.compile(r"<!-- sample -->\n```console\n\$ holdfast (.*)\n((?s:.*?))```")
MODULE: Final = re.compile(r"```python\n((?s:.*?))```")
OPTION: Final = re.compile(r"--[a-z][a-z-]+")

#: What differs from one execution to the next, and what stands for it.
VOLATILE: Final = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}(?:-[0-9a-f]{4}){3}[0-9a-f]{8}|[0-9a-f]{8}-[0-9a-f]{4}[0-9a-f-]*"), "ID"),
    (re.compile(r"worker-[0-9a-f]{6}"), "WORKER"),
    (re.compile(r"\d{4}-\d\d-\d\d "), "DATE "),
    (re.compile(r"\d\d:\d\d:\d\d(?:\.\d{3})?Z?"), "TIME"),
    (re.compile(r"\+?\d+(?:\.\d)? (?:ms|s|m|h|d)\b"), "LENGTH"),
    (re.compile(r"[\d.,]+ (?:bytes|KB|MB)"), "SIZE"),
    (re.compile(r"\d+\.\d+\.\d+ has the WAL-reset bug; .*|\d+\.\d+\.\d+, without the WAL-reset bug"), "SQLITE"),
    (re.compile(r"(?m)^holdfast \d+\.\d+\.\d+"), "holdfast VERSION"),
    # The gap to an event of the same commit is left out, that to one of the next commit is not.
    (re.compile(r"(TIME) +LENGTH"), r"\1"),
    (re.compile(r" +"), " "),
)


def normal(text: str) -> list[str]:
    """Return the lines of *text* without what differs from one execution to the next."""
    for pattern, word in VOLATILE:
        text = pattern.sub(word, text)
    return [line.strip() for line in text.splitlines()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder that holds the page's module."""
    import structlog

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOLDFAST_STORE", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    module = MODULE.search(PAGE.read_text(encoding="utf-8"))
    assert module is not None
    (tmp_path / "flows.py").write_text(module[1], encoding="utf-8")
    logging = structlog.get_config()
    yield tmp_path
    structlog.configure(**logging)
    sys.modules.pop("flows", None)


def said(words: str) -> str:
    """Return what a terminal would show of a command: both streams, in order."""
    seen = io.StringIO()
    with contextlib.redirect_stdout(seen), contextlib.redirect_stderr(seen):
        main(shlex.split(words))
    return seen.getvalue()


@pytest.mark.usefixtures("folder")
def test_the_samples_are_true() -> None:
    """Each sample shows what its command says, ids, times and durations aside."""
    samples = SAMPLE.findall(PAGE.read_text(encoding="utf-8"))
    assert len(samples) >= 15
    for words, shown in samples:
        assert normal(shown) == normal(said(words)), words


def test_the_page_names_every_command_and_option() -> None:
    """Whatever can be typed stands on the page."""
    page = PAGE.read_text(encoding="utf-8")
    for entry in MENU:
        for name in [f"{entry.word} {inner.word}" for inner in entry.entries] or [entry.word]:
            assert f"## holdfast {name}\n" in page
            options = {*OPTION.findall(said(f"{name} --help"))}
            assert not {option for option in options if option not in page}, name
