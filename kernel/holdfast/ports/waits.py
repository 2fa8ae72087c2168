"""The port that reads what runs wait for and what they were told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from holdfast.entities.stage import StageKey
from holdfast.entities.wait import Message, Token, Wait


class Waits(Protocol):
    """Reads waits for decisions; each call is one consistent read that sees every commit acknowledged before it."""

    async def list_waits(self, key: StageKey, *, since: int) -> Sequence[Wait]:
        """Return the waits of the stage instance and of those it retries, at most one of a name.

        Meant are waits of the key's run, stage, turn and item in generations from *since* to the key's own. Of one
        name that of the key's own generation comes first, else the newest that is RESOLVED or EXPIRED; the others
        are left out. They come in the order in which they were opened.
        """
        ...

    async def list_named_waits(self, run_id: str, name: str) -> Sequence[Wait]:
        """Return the waits of that name in the run that are not CLOSED, in the order in which they were opened."""
        ...

    async def find_token(self, hash: str) -> Token | None:
        """Return what the token with that hash is the right to, or None if there is none."""
        ...

    async def find_message(self, run_id: str, name: str) -> Message | None:
        """Return the payload that is kept for a wait of that name which is not open yet, or None."""
        ...
