"""Where words go: data to stdout, everything else to stderr, colours and drawing only to a terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Columns of a stream that is no terminal: nothing is cut for somebody who pipes it on.
UNLIMITED: Final = 10_000


def console(stream: IO[str]) -> Console:
    """Return the console that writes to *stream* as its reader wants it."""
    from rich.console import Console

    width = None if stream.isatty() else UNLIMITED
    return Console(file=stream, width=width, highlight=False, markup=False, emoji=False, soft_wrap=False)


def show(*parts: RenderableType) -> None:
    """Write data for a person to stdout."""
    _write(sys.stdout, parts)


def note(*parts: RenderableType) -> None:
    """Write anything that is no data to stderr."""
    _write(sys.stderr, parts)


def answer(value: Mapping[str, Any]) -> None:
    """Write the one JSON object of a command to stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=not _speaks_unicode(sys.stdout)) + "\n")
    sys.stdout.flush()


def _write(stream: IO[str], parts: tuple[RenderableType, ...]) -> None:
    if all(isinstance(part, str) for part in parts):
        stream.write("".join(f"{part}\n" for part in parts))
    else:
        paper = console(stream)
        with paper.capture() as captured:
            for part in parts:
                paper.print(part)
        # Tables pad their last column, which nobody wants to copy or compare.
        text = captured.get()
        stream.write(text if paper.is_terminal else "".join(f"{line.rstrip()}\n" for line in text.splitlines()))
    stream.flush()


def _speaks_unicode(stream: IO[str]) -> bool:
    return (getattr(stream, "encoding", None) or "").lower().replace("-", "") == "utf8"
