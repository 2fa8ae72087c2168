"""The conditions of edges: what they are called with, and how they read."""

from __future__ import annotations

import inspect
import linecache
from types import CodeType
from typing import Any

from holdfast.authoring import misroutes
from holdfast.authoring.options import takes
from holdfast.authoring.source import Source, source_of
from holdfast.entities.graph import Condition

#: Labels longer than this end in an ellipsis.
_MAX_LABEL = 200


def condition_of(function: object, *, call: Source) -> Condition:
    """Return the condition that *function* is: it takes the output and, if it wants, what the run knows.

    Raises:
        DefinitionError: If it cannot be one.
    """
    if not callable(function) or isinstance(function, type):
        raise misroutes.no_condition(function, call=call)
    known: Any = function
    if inspect.iscoroutinefunction(known) or inspect.isgeneratorfunction(known):
        raise misroutes.late_condition(function, call=call)
    takes_run = not takes(known, 1)
    if takes_run and not takes(known, 2):
        raise misroutes.uncallable_condition(function, call=call)
    return Condition(function=known, takes_run=takes_run, label=label_of(known), source=str(source_of(known)))


def label_of(function: Any) -> str:
    """Return a lambda's body as it stands in its source; the name of any other function."""
    code = getattr(function, "__code__", None)
    name = str(getattr(function, "__name__", type(function).__name__))
    if not isinstance(code, CodeType) or name != "<lambda>":
        return name
    text = _source_of_body(code)
    return name if text is None else text if len(text) <= _MAX_LABEL else f"{text[: _MAX_LABEL - 1]}…"


def _source_of_body(code: CodeType) -> str | None:
    """Return the text that the instructions of *code* were made of; None where positions or the file are missing."""
    places = [
        (line, end_line, column, end_column)
        for line, end_line, column, end_column in code.co_positions()
        # The prologue has no width.
        if line is not None and end_line is not None and column is not None and end_column
    ]
    if not places:
        return None
    first, start = min((line, column) for line, _, column, _ in places)
    last, end = max((end_line, end_column) for _, end_line, _, end_column in places)
    # Columns count the bytes of a line in UTF-8.
    lines = [linecache.getline(code.co_filename, number).encode() for number in range(first, last + 1)]
    lines[-1] = lines[-1][:end]
    lines[0] = lines[0][start:]
    text = " ".join(b"".join(lines).decode(errors="replace").split())
    return text or None
