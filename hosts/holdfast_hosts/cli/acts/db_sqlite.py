"""The schema of a SQLite file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from holdfast_adapters.sqlite import Migration, all_migrations, current_version, migrate, migration_script

_MICROSECOND: Final = timedelta(microseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SqliteSchema:
    """What `holdfast db` needs of a SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def known(self) -> Sequence[Migration]:
        """Return every migration that this version of Holdfast has."""
        return all_migrations()

    async def version(self) -> int:
        """Return the number of the newest migration that is applied."""
        return current_version(self._path)

    async def migrate(self) -> Sequence[Migration]:
        """Apply what is lacking and return it."""
        return migrate(self._path, now=(datetime.now(UTC) - _EPOCH) // _MICROSECOND)

    def script(self, *, first: int) -> str:
        """Return the migrations from *first* on as SQL."""
        return migration_script(first=first)
