"""What a key may look like, so that it names the same blob in every store and never a place outside of one."""

from __future__ import annotations

import re
from typing import Final

from holdfast.errors import InvalidInput

#: Longest key in bytes of UTF-8; object stores take no more.
MAX_KEY: Final = 1024
#: Longest part of a key between slashes in bytes of UTF-8; file systems take 255, of which stores use some themselves.
MAX_PART: Final = 250
#: A part that begins with a dot could be a way upwards or a file of the store's own.
_PART: Final = re.compile(r"(?!\.)[\w.@=+~-]+")


def is_part(name: str) -> bool:
    """Return whether *name* may stand between two slashes of a key."""
    return _PART.fullmatch(name) is not None


def check_key(key: str) -> str:
    """Return *key* if every store can hold it under its own root.

    Raises:
        InvalidInput: If it is empty or too long, or has a part that is empty, begins with a dot, or holds anything
            but letters, digits and ``_ . @ = + ~ -``.
    """
    parts = key.split("/")
    if not all(map(is_part, parts)):
        raise InvalidInput(
            "blob key", [f"{key!r} has a part that could leave the store or that some store cannot hold"]
        )
    if len(key.encode()) > MAX_KEY or any(len(part.encode()) > MAX_PART for part in parts):
        raise InvalidInput("blob key", [f"it is longer than {MAX_KEY} bytes or has a part longer than {MAX_PART}"])
    return key
