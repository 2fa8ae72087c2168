"""Blobs in any object store that obstore reaches: S3, Google Cloud, Azure, a directory, memory.

Cloud stores acknowledge a put when it is durable. The local store of obstore does not: it writes a temporary file and
links it into place, but never asks the disk to keep it (no fsync in a system call trace of 0.12), so a blob that a
committed row refers to could vanish with the power. Use `LocalBlobStore` for a directory.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, TypeVar

from holdfast.errors import BlobMissing, Unavailable
from holdfast.naming import check_blob_key, is_blob_part

if TYPE_CHECKING:
    from obstore.store import ObjectStore

T = TypeVar("T")

#: How many keys are asked for at once when listing.
_PAGE: Final = 1_000


class ObstoreBlobStore:
    """Keeps blobs in an object store; calls are asynchronous inside an event loop and block where there is none."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def put(self, key: str, data: bytes) -> None:
        """Store *data* under *key*, create-only: in one request, so nothing partial is ever visible.

        Raises:
            Unavailable: If the store cannot be reached or refuses.
        """
        import obstore
        from obstore.exceptions import AlreadyExistsError

        check_blob_key(key)
        try:
            await _call(
                lambda: obstore.put(self._store, key, data, mode="create"),
                lambda: obstore.put_async(self._store, key, data, mode="create"),
                what=f'put blob "{key}"',
            )
        except AlreadyExistsError:
            return

    async def get(self, key: str) -> bytes:
        """Return the bytes under *key*.

        Raises:
            BlobMissing: If there is nothing under the key.
            Unavailable: If the store cannot be reached.
        """
        import obstore

        check_blob_key(key)

        async def fetch() -> bytes:
            answer = await obstore.get_async(self._store, key)
            return (await answer.bytes_async()).to_bytes()

        try:
            return await _call(
                lambda: obstore.get(self._store, key).bytes().to_bytes(), fetch, what=f'get blob "{key}"'
            )
        except FileNotFoundError as error:
            raise BlobMissing(key) from error

    async def delete(self, key: str) -> None:
        """Remove *key*; harmless if it does not exist.

        Raises:
            Unavailable: If the store cannot be reached.
        """
        import obstore

        check_blob_key(key)
        try:
            await _call(
                lambda: obstore.delete(self._store, key),
                lambda: obstore.delete_async(self._store, key),
                what=f'delete blob "{key}"',
            )
        except FileNotFoundError:
            return

    async def list(self, prefix: str, *, limit: int, after: str | None = None) -> Sequence[str]:
        """Return at most *limit* keys that begin with *prefix* and come after *after*, in order of key.

        Raises:
            Unavailable: If the store cannot be reached.
        """
        import obstore

        # Object stores match whole parts between slashes, promise no order, and a local one shows foreign files.
        folder = prefix.rpartition("/")[0] or None
        if folder is not None and not all(map(is_blob_part, folder.split("/"))):
            return ()
        pages = obstore.list(  # pyright: ignore[reportUnknownMemberType]  # other overloads need a package we do not
            self._store, folder, offset=after, chunk_size=_PAGE
        )

        def matching(keys: Iterable[str]) -> Iterable[str]:
            return (key for key in keys if key.startswith(prefix))

        async def gather() -> Sequence[str]:
            found: list[str] = []
            async for page in pages:
                found = heapq.nsmallest(limit, (*found, *matching(item["path"] for item in page)))
            return found

        return await _call(
            lambda: heapq.nsmallest(limit, matching(item["path"] for page in pages for item in page)),
            gather,
            what=f'list blobs "{prefix}"',
        )


async def _call(blocking: Callable[[], T], waiting: Callable[[], Awaitable[T]], *, what: str) -> T:
    """Call the store in the way that fits, and turn its errors but two, which mean something, into `Unavailable`."""
    from obstore.exceptions import AlreadyExistsError, BaseError

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        has_loop = False
    else:
        has_loop = True
    try:
        return await waiting() if has_loop else blocking()
    except (AlreadyExistsError, FileNotFoundError):
        raise
    except (BaseError, OSError, ValueError, RuntimeError) as error:
        # The last is what a store raises that cannot put create-only, such as plain HTTP.
        raise Unavailable(f"could not {what}: {error}") from error
