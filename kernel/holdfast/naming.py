"""What names, keys, short texts and numbers from outside may look like, so that every store can hold them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final

from holdfast.errors import InvalidInput

#: Longest key, id or short text that is taken, in characters.
MAX_NAME: Final = 255
#: The most that one command may be asked to take in one go, so that every transaction stays bounded.
MAX_LIMIT: Final = 1_000_000
#: Longest duration that is taken, so that no instant lies beyond the calendar.
MAX_DURATION: Final = timedelta(days=36_500)
#: Longest key of a blob in bytes of UTF-8; object stores take no more.
MAX_BLOB_KEY: Final = 1024
#: Longest part of it between slashes in bytes of UTF-8; file systems take 255, of which stores use some themselves.
MAX_BLOB_PART: Final = 250
#: A part that begins with a dot could be a way upwards or a file of the store's own.
_BLOB_PART: Final = re.compile(r"(?!\.)[\w.@=+~-]+")


def check_text(what: str, text: object) -> None:
    """Check a short text that may be empty.

    Raises:
        InvalidInput: If it is no text, is too long, or holds NUL, other control characters or lone surrogates.
    """
    # A caller that checks no types may hand in anything.
    if not isinstance(text, str):
        raise InvalidInput(what, ["it should be text"])
    problems: list[str] = []
    if len(text) > MAX_NAME:
        problems.append(f"it has {len(text)} characters; the limit is {MAX_NAME}")
    if not text.isprintable():
        # isprintable is false for control characters and for surrogates alike.
        problems.append("it holds control characters or lone surrogates, which not every store can keep")
    if problems:
        raise InvalidInput(what, problems)


def check_name(what: str, name: object) -> None:
    """Check a name or key that may be absent but not empty.

    Raises:
        InvalidInput: If it is empty, too long, or holds NUL, other control characters or lone surrogates.
    """
    if name is None:
        return
    if name == "":
        raise InvalidInput(what, ["it is empty; leave it out instead"])
    check_text(what, name)


def check_number(what: str, number: object, *, least: int = 0, most: int = MAX_LIMIT) -> None:
    """Check an integer from outside.

    Raises:
        InvalidInput: If it is no integer, or out of bounds.
    """
    if not isinstance(number, int) or isinstance(number, bool):
        raise InvalidInput(what, ["it should be an integer"])
    if not least <= number <= most:
        raise InvalidInput(what, [f"it should be between {least:,} and {most:,}"])


def check_duration(what: str, duration: object) -> None:
    """Check a duration from outside.

    Raises:
        InvalidInput: If it is none, is negative, or is longer than a century.
    """
    if not isinstance(duration, timedelta):
        raise InvalidInput(what, ["it should be a duration"])
    if not timedelta() <= duration <= MAX_DURATION:
        raise InvalidInput(what, [f"it should not be negative and at most {MAX_DURATION.days:,} days"])


def is_blob_part(name: str) -> bool:
    """Return whether *name* may stand between two slashes of the key of a blob."""
    return _BLOB_PART.fullmatch(name) is not None


def check_blob_key(key: str) -> str:
    """Return *key* if every blob store can hold it under its own root.

    Raises:
        InvalidInput: If it is empty or too long, or has a part that is empty, begins with a dot, or holds anything
            but letters, digits and ``_ . @ = + ~ -``.
    """
    parts = key.split("/")
    if not all(map(is_blob_part, parts)):
        raise InvalidInput(
            "blob key", [f"{key!r} has a part that could leave the store or that some store cannot hold"]
        )
    if len(key.encode()) > MAX_BLOB_KEY or any(len(part.encode()) > MAX_BLOB_PART for part in parts):
        limits = f"it is longer than {MAX_BLOB_KEY} bytes or has a part longer than {MAX_BLOB_PART}"
        raise InvalidInput("blob key", [limits])
    return key
