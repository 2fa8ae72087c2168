"""Blobs in this process, for tests and for stores that are in memory themselves."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from holdfast.errors import BlobMissing
from holdfast.naming import check_blob_key


class MemoryBlobStore:
    """Keeps blobs in a dictionary; they end with the process."""

    def __init__(self) -> None:
        self._blobs: dict[str, bytes] = {}

    async def put(self, key: str, data: bytes) -> None:
        """Store *data* under *key*, create-only."""
        # A mutable buffer that the caller goes on using must not change what was stored.
        self._blobs.setdefault(check_blob_key(key), bytes(data))

    async def get(self, key: str) -> bytes:
        """Return the bytes under *key*.

        Raises:
            BlobMissing: If there is nothing under the key.
        """
        try:
            return self._blobs[check_blob_key(key)]
        except KeyError:
            raise BlobMissing(key) from None

    async def delete(self, key: str) -> None:
        """Remove *key*; harmless if it does not exist."""
        self._blobs.pop(check_blob_key(key), None)

    async def list(self, prefix: str, *, limit: int, after: str | None = None) -> Sequence[str]:
        """Return at most *limit* keys that begin with *prefix* and come after *after*, in order of key."""
        found = (key for key in tuple(self._blobs) if key.startswith(prefix) and (after is None or key > after))
        return heapq.nsmallest(limit, found)
