"""The port that keeps large payloads and artifacts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class BlobStore(Protocol):
    """Keeps bytes behind keys; keys are made of ids and digests only, so no user text reaches a path.

    A key is one or more parts with slashes between them, at most 1024 bytes in all, and none is a folder of another.
    A part holds letters, digits and ``_ . @ = + ~ -``, does not begin with a dot, and is at most 250 bytes long. Any
    other key raises `InvalidInput`, so that none leaves the store's root or means something else in another store.
    """

    async def put(self, key: str, data: bytes) -> None:
        """Store *data* under *key*, create-only.

        A key that exists keeps its bytes and the call succeeds: keys name their content and attempt, so the bytes
        are the same. A put that fails leaves nothing visible.

        Raises:
            Unavailable: If the store cannot be reached or refuses.
        """
        ...

    async def get(self, key: str) -> bytes:
        """Return the bytes under *key*.

        Raises:
            BlobMissing: If there is nothing under the key, in every adapter alike.
            Unavailable: If the store cannot be reached.
        """
        ...

    async def delete(self, key: str) -> None:
        """Remove *key*; harmless if it does not exist."""
        ...

    async def list(self, prefix: str, *, limit: int, after: str | None = None) -> Sequence[str]:
        """Return at most *limit* keys that begin with *prefix* and come after *after*, in order of key."""
        ...
