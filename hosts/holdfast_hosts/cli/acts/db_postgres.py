"""The schema of a Postgres database."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast_adapters.postgres import Migration, all_migrations, database_version, migrate_database, migration_script


class PostgresSchema:
    """What `holdfast db` needs of a Postgres database."""

    def __init__(self, address: str) -> None:
        self._address = address

    def known(self) -> Sequence[Migration]:
        """Return every migration that this version of Holdfast has."""
        return all_migrations()

    async def version(self) -> int:
        """Return the number of the newest migration that is applied."""
        return await database_version(self._address)

    async def migrate(self) -> Sequence[Migration]:
        """Apply what is lacking and return it."""
        return await migrate_database(self._address)

    def script(self, *, first: int) -> str:
        """Return the migrations from *first* on as SQL."""
        return migration_script(first=first)
