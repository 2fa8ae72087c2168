"""What the pages show of the command line, found and executed: files, commands, and what those print."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path
from typing import Final

from holdfast_hosts.cli.main import main

ROOT: Final = Path(__file__).resolve().parents[2]
#: Every page that a reader may open.
PAGES: Final = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))

_FILE: Final = re.compile(r"<!-- file: (\S+) -->\n```python\n((?s:.*?))```")
_SAMPLE: Final = re.compile(r"<!-- sample -->\n```console\n\$ holdfast (.*)\n((?s:.*?))```")

#: What differs from one execution to the next, and what stands for it.
_VOLATILE: Final = (
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}(?:-[0-9a-f]{4}){3}[0-9a-f]{8}|[0-9a-f]{8}-[0-9a-f]{4}[0-9a-f-]*"), "ID"),
    (re.compile(r"worker-[0-9a-f]{6}"), "WORKER"),
    (re.compile(r"\d{4}-\d\d-\d\d "), "DATE "),
    (re.compile(r"\d\d:\d\d:\d\d(?:\.\d{3})?Z?"), "TIME"),
    (re.compile(r"\+?\d+(?:\.\d)? (?:ms|s|m|h|d)\b"), "LENGTH"),
    (re.compile(r"[\d.,]+ (?:bytes|KB|MB)"), "SIZE"),
    (re.compile(r"\d+\.\d+\.\d+ has the WAL-reset bug; .*|\d+\.\d+\.\d+, without the WAL-reset bug"), "SQLITE"),
    (re.compile(r"(?m)^holdfast \d+\.\d+\.\d+"), "holdfast VERSION"),
    # A length of two units, and the gap to an event of the same commit, which is left out.
    (re.compile(r"LENGTH(?: LENGTH)+"), "LENGTH"),
    (re.compile(r"(TIME) +LENGTH"), r"\1"),
    (re.compile(r" +"), " "),
)


def name_of(page: Path) -> str:
    """Return the page as a reader would call it."""
    return page.relative_to(ROOT).as_posix()


def files_of(page: Path) -> dict[str, str]:
    """Return the files that the page asks its reader to write, by name."""
    return dict(_FILE.findall(page.read_text(encoding="utf-8")))


def samples_of(page: Path) -> list[tuple[str, str]]:
    """Return the commands of the page that are to be executed, with what it shows of each."""
    return _SAMPLE.findall(page.read_text(encoding="utf-8"))


def normal(text: str) -> list[str]:
    """Return the lines of *text* without what differs from one execution to the next."""
    for pattern, word in _VOLATILE:
        text = pattern.sub(word, text)
    return [line.strip() for line in text.splitlines()]


def said(words: str) -> str:
    """Return what a terminal would show of a command: both streams, in order."""
    seen = io.StringIO()
    with contextlib.redirect_stdout(seen), contextlib.redirect_stderr(seen):
        main(shlex.split(words))
    return seen.getvalue()
