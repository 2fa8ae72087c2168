"""Reads the JSON that a person hands in: as an argument, from a file, or from standard input."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from holdfast.codec import from_json
from holdfast.errors import InvalidInput
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.problem import Problem, Told
from holdfast_hosts.cli.spelling import clean


def read_json(given: str, *, what: str) -> Any:
    """Return the value of *given*: JSON text, ``@file``, or ``-`` for standard input.

    Raises:
        InvalidInput: If the text is not UTF-8 or not acceptable JSON.
        Told: If the file cannot be read.
    """
    if given == "-":
        data = sys.stdin.buffer.read()
        source = f"{what} from standard input"
    elif given.startswith("@"):
        data = _read_file(given[1:], what=what)
        source = f"{what} in {clean(given[1:])}"
    else:
        return from_json(given, what=what)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(source, [f"it is not UTF-8: {error.reason} at byte {error.start}"]) from None
    return from_json(text, what=source)


def _read_file(name: str, *, what: str) -> bytes:
    try:
        return Path(name).read_bytes()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise Told(
            Problem(
                code="E2002",
                what=f"The {what} cannot be read from {clean(name)}.",
                why=(f"{reason}.",),
                fix=("Give the JSON itself, @file, or - for standard input.",),
                exit=Exit.NOT_FOUND if isinstance(error, FileNotFoundError) else Exit.USAGE,
            )
        ) from None
