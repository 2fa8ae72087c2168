"""The port that makes identities and randomness."""

from __future__ import annotations

from typing import Protocol


class Ids(Protocol):
    """Makes what must be unique or random; a test hands in a deterministic one."""

    def new_id(self) -> str:
        """Return a new UUIDv7 as lower-case hyphenated text; ids of one source sort by the instant they were made."""
        ...

    def token(self) -> str:
        """Return a new secret of at least 256 random bits as text of letters, digits, ``-`` and ``_``."""
        ...

    def fraction(self) -> float:
        """Return a random number that is at least 0 and below 1."""
        ...
