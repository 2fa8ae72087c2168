"""The stores that scenarios are played on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

from holdfast.driving import run_sync
from holdfast.ports.clock import Clock
from holdfast.ports.persistence import Persistence
from holdfast_adapters.postgres import PostgresPersistence
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.scenarios import StoreMaker
from tests.postgres import bridged, empty_url

#: A file system in memory, where there is one: thousands of databases need not wait for a disk to show what the engine
#: does when its process dies. That committed bytes survive is shown elsewhere, by processes that are really killed.
_IN_MEMORY: Final = Path("/dev/shm")


def quick_folder() -> Path | None:
    """Return where temporary databases are quick; None for wherever temporary files are."""
    return _IN_MEMORY if _IN_MEMORY.is_dir() and os.access(_IN_MEMORY, os.W_OK) else None


class SqliteFile:
    """A database file that every process of a story opens for itself; the dead leave their connections open."""

    def __init__(self, clock: Clock, *, path: Path) -> None:
        self._clock = clock
        self._path = path
        self._opened: list[SqlitePersistence] = []

    def connect(self) -> Persistence:
        """Open the file as a new process does."""
        persistence = SqlitePersistence(self._path, clock=self._clock)
        run_sync(persistence.open())
        self._opened.append(persistence)
        return persistence

    def discard(self) -> None:
        """Close what dead processes left open, and remove the file."""
        for persistence in self._opened:
            run_sync(persistence.close())
        for file in self._path.parent.glob(f"{self._path.name}*"):
            file.unlink()


def sqlite_files(folder: Path) -> StoreMaker:
    """Return a maker of database files in *folder*, each a copy of one empty database."""
    empty = folder / "empty.db"
    first = SqlitePersistence(empty, clock=FakeClock())
    run_sync(first.open())
    run_sync(first.close())
    numbers = iter(range(1_000_000))

    def make(clock: Clock) -> SqliteFile:
        path = folder / f"{next(numbers)}.db"
        shutil.copyfile(empty, path)
        return SqliteFile(clock, path=path)

    return make


class PostgresDatabase:
    """An empty database that every process of a story opens for itself; the dead leave their connections open."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._url = empty_url()
        self._opened: list[Persistence] = []

    def connect(self) -> Persistence:
        """Open the database as a new process does."""
        persistence = bridged(PostgresPersistence(self._url, clock=self._clock, connections=1))
        run_sync(persistence.open())
        self._opened.append(persistence)
        return persistence

    def discard(self) -> None:
        """Close what dead processes left open."""
        for persistence in self._opened:
            run_sync(persistence.close())
