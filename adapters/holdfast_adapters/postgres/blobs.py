"""Blobs in the database of the runs, where no other place is named: one thing to run, to back up and to reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from holdfast.errors import BlobMissing
from holdfast.naming import check_blob_key
from holdfast_adapters.postgres.access import Access
from holdfast_adapters.postgres.statements import Statement
from holdfast_adapters.postgres.wire import Wire

#: Sorts behind every character that a key can have.
_LAST: Final = "\U0010ffff"


class PostgresBlobStore:
    """The BlobStore port on Postgres; it shares the connections of the persistence that it belongs to."""

    def __init__(self, access: Access) -> None:
        self._access = access

    _PUT: Final = Statement("""
        INSERT INTO holdfast.blob (key, data) VALUES ($1::text, $2::bytea) ON CONFLICT (key) DO NOTHING""")

    async def put(self, key: str, data: bytes) -> None:
        """Store *data* under *key*, create-only.

        Raises:
            StoreUnavailable: If the database cannot be reached or refuses.
        """
        call = (self._PUT, (check_blob_key(key), bytes(data)))

        async def write(wire: Wire) -> None:
            await wire.run(call)

        await self._access.use(write)

    _GET: Final = Statement("SELECT data FROM holdfast.blob WHERE key = $1::text")

    async def get(self, key: str) -> bytes:
        """Return the bytes under *key*.

        Raises:
            BlobMissing: If there is nothing under the key.
            StoreUnavailable: If the database cannot be reached.
        """
        (found,) = await self._access.read((self._GET, (check_blob_key(key),)))
        if not found:
            raise BlobMissing(key)
        data: bytes = found[0][0]
        return data

    _DELETE: Final = Statement("DELETE FROM holdfast.blob WHERE key = $1::text")

    async def delete(self, key: str) -> None:
        """Remove *key*; harmless if it does not exist.

        Raises:
            StoreUnavailable: If the database cannot be reached.
        """
        call = (self._DELETE, (check_blob_key(key),))

        async def write(wire: Wire) -> None:
            await wire.run(call)

        await self._access.use(write)

    _LIST: Final = Statement("""
        SELECT key FROM holdfast.blob
        WHERE key >= $1::text AND key < $2::text AND key > $3::text ORDER BY key LIMIT $4::bigint""")

    async def list(self, prefix: str, *, limit: int, after: str | None = None) -> Sequence[str]:
        """Return at most *limit* keys that begin with *prefix* and come after *after*, in order of key.

        Raises:
            StoreUnavailable: If the database cannot be reached.
        """
        (found,) = await self._access.read((self._LIST, (prefix, prefix + _LAST, after or "", limit)))
        return [key for (key,) in found]
