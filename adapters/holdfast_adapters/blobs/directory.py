"""Blobs as files below one directory, durable before they are acknowledged.

A committed row may refer to a blob as soon as `put` returns, so the file, its name and the directories on the way to
it must survive a power cut by then. obstore's local store does not ask the disk for that, so this one does: the bytes
go to a temporary file, which is synced, linked under its name (a link fails where a name exists, so it is create-only
and all or nothing) and removed; then each directory from the name up to the root is synced.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Final, TypeVar

from holdfast.errors import BlobMissing, InvalidInput, Unavailable
from holdfast.naming import check_blob_key, is_blob_part

T = TypeVar("T")

_PRIVATE: Final = 0o700
#: Begins with a dot, as no part of a key does, and lies on the same file system as the blobs, as links need it.
_UNFINISHED: Final = ".unfinished"
#: A temporary file that is older by the file system's own clock was left behind by a process that died.
_LEFT_BEHIND_SECONDS: Final = 24 * 3600
#: How often a put makes its directory anew when a delete has just removed it, empty, between two steps.
_TRIES: Final = 10
#: What the system says when there is no file of that name: nothing, a directory, or a file where a directory should be.
_ABSENT: Final = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class LocalBlobStore:
    """Keeps blobs below *directory*, made for its owner alone; inside an event loop a thread does the work."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        """Make the directory unless it is there, and remove what dead processes left unfinished.

        Raises:
            Unavailable: If the directory cannot be made or written.
        """
        self._root = Path(directory).absolute()
        self._unfinished = self._root / _UNFINISHED
        with _translated(f'use "{self._root}" for blobs'):
            self._root.parent.mkdir(parents=True, exist_ok=True)
            self._root.mkdir(mode=_PRIVATE, exist_ok=True)
            _sync_directory(self._root.parent)
            self._unfinished.mkdir(mode=_PRIVATE, exist_ok=True)
            self._sweep()

    async def put(self, key: str, data: bytes) -> None:
        """Store *data* under *key*, create-only and durable.

        Raises:
            Unavailable: If the file cannot be written.
        """
        target = self._path(key)
        with _translated(f'put blob "{key}"'):
            await _off_the_loop(lambda: self._write(target, data))

    async def get(self, key: str) -> bytes:
        """Return the bytes under *key*.

        Raises:
            BlobMissing: If there is nothing under the key.
            Unavailable: If the file cannot be read.
        """
        path = self._path(key)
        with _translated(f'get blob "{key}"'):
            try:
                return await _off_the_loop(path.read_bytes)
            except _ABSENT as error:
                self._check_root()
                raise BlobMissing(key) from error

    async def delete(self, key: str) -> None:
        """Remove *key* and the directories that are empty without it; harmless if it does not exist.

        Raises:
            Unavailable: If the file cannot be removed.
        """
        path = self._path(key)
        with _translated(f'delete blob "{key}"'), suppress(*_ABSENT):
            await _off_the_loop(lambda: self._remove(path))

    async def list(self, prefix: str, *, limit: int, after: str | None = None) -> Sequence[str]:
        """Return at most *limit* keys that begin with *prefix* and come after *after*, in order of key.

        Raises:
            Unavailable: If a directory cannot be read.
        """
        folder = prefix.rpartition("/")[0]
        try:
            start = self._path(folder) if folder else self._root
        except InvalidInput:
            return ()
        keys = _walk(start, within=f"{folder}/" if folder else "", prefix=prefix, after=after or "")
        with _translated(f'list blobs "{prefix}"'):
            self._check_root()
            return await _off_the_loop(lambda: tuple(islice(keys, limit)))

    def _check_root(self) -> None:
        # A directory that is gone, such as a volume that is not mounted, must not look like one without blobs.
        self._unfinished.stat()

    def _path(self, key: str) -> Path:
        return self._root / check_blob_key(key)

    def _write(self, target: Path, data: bytes) -> None:
        if not target.is_file():
            handle, name = tempfile.mkstemp(dir=self._unfinished)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                _link(Path(name), target)
            finally:
                Path(name).unlink()
        # Another put may have made the file or a directory and not synced it yet, so all of them are synced anyway.
        for folder in target.parents:
            _sync_directory(folder)
            if folder == self._root:
                break

    def _remove(self, path: Path) -> None:
        path.unlink()
        for folder in path.parents:
            if folder == self._root:
                break
            try:
                folder.rmdir()
            except OSError:
                break

    def _sweep(self) -> None:
        with tempfile.TemporaryFile(dir=self._unfinished) as probe:
            now = os.fstat(probe.fileno()).st_mtime
        for path in self._unfinished.iterdir():
            with suppress(FileNotFoundError):
                if now - path.stat().st_mtime > _LEFT_BEHIND_SECONDS:
                    path.unlink()


@contextmanager
def _translated(what: str) -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"could not {what}: {error}") from error


async def _off_the_loop(work: Callable[[], T]) -> T:
    """Do *work* in a thread when there is a loop that it would hold up, else at once."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return work()
    return await asyncio.to_thread(work)


def _link(source: Path, target: Path) -> None:
    failed: OSError | None = None
    for _ in range(_TRIES):
        try:
            target.parent.mkdir(mode=_PRIVATE, parents=True, exist_ok=True)
            target.hardlink_to(source)
        except (FileExistsError, FileNotFoundError) as error:
            # The name exists, or a delete has just removed a directory that was there a moment ago.
            if target.is_file():
                return
            failed = error
        else:
            return
    assert failed is not None, "a link is tried at least once"
    raise failed


def _sync_directory(folder: Path) -> None:
    if os.name == "nt":  # Windows offers no handle on a directory; NTFS journals names by itself.
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _walk(folder: Path, *, within: str, prefix: str, after: str) -> Iterator[str]:
    """Yield the keys below *folder* in order; a directory sorts by its name with the slash, as its keys do."""
    try:
        with os.scandir(folder) as entries:
            there = (
                f"{within}{entry.name}/" if entry.is_dir(follow_symlinks=False) else f"{within}{entry.name}"
                for entry in entries
                if is_blob_part(entry.name)
            )
            names = sorted(name for name in there if _may_hold(name, prefix=prefix, after=after))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        if name.endswith("/"):
            yield from _walk(folder / name[len(within) : -1], within=name, prefix=prefix, after=after)
        else:
            yield name


def _may_hold(name: str, *, prefix: str, after: str) -> bool:
    """Return whether *name* is a key that is wanted, or a directory that may have one."""
    if name.endswith("/"):
        return (name.startswith(prefix) or prefix.startswith(name)) and name >= after[: len(name)]
    return name.startswith(prefix) and name > after
