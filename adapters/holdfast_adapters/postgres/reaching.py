"""Reaching a database: connecting to it, naming it, and looking after its schema."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
from psycopg import conninfo

from holdfast.errors import StoreUnavailable, UnusableStore
from holdfast.ports.clock import Clock
from holdfast_adapters.postgres.facts import ServerFacts, read_facts
from holdfast_adapters.postgres.schema import Connection, Migration, check_server, current_version, migrate

_FORM: Final = "Use postgresql://user@host/database, or key=value words as libpq takes them."


async def connect(url: str) -> psycopg.AsyncConnection[Any]:
    """Return a connection in autocommit mode.

    Raises:
        UnusableStore: If the address cannot be read.
        StoreUnavailable: If nobody answers there, or who does lets nobody in.
    """
    try:
        return await psycopg.AsyncConnection.connect(url, autocommit=True)
    except psycopg.ProgrammingError as error:
        # What it says quotes the address, in which there may be a password.
        raise UnusableStore(shown(url), why="The address cannot be read.", fix=_FORM) from error
    except psycopg.OperationalError as error:
        raise StoreUnavailable(f"{shown(url)} cannot be reached: {str(error).strip()}") from error


async def database_version(url: str) -> int:
    """Return the number of the newest migration in the database; 0 if it has none of our tables.

    Raises:
        UnusableStore: If the schema was not made by a Holdfast that this one knows.
        StoreUnavailable: If the database cannot be reached.
    """
    async with _connected(url) as connection:
        return await current_version(connection, store=shown(url))


async def database_facts(url: str, *, clock: Clock) -> ServerFacts:
    """Return what an operator should know of the database and of its server.

    Args:
        url: The database.
        clock: That of this machine, to compare the server's with.

    Raises:
        UnusableStore: If the schema was not made by a Holdfast that this one knows.
        StoreUnavailable: If the database cannot be reached.
    """
    async with _connected(url) as connection:
        return await read_facts(connection, clock=clock, store=shown(url))


async def migrate_database(url: str) -> Sequence[Migration]:
    """Bring the database up to date and return what was applied.

    Raises:
        UnusableStore: If no store can be there, or the schema may not be changed.
        StoreUnavailable: If the database cannot be reached or changed now.
    """
    async with _connected(url) as connection:
        await check_server(connection, store=shown(url))
        return await migrate(connection, store=shown(url))


@asynccontextmanager
async def _connected(url: str) -> AsyncGenerator[Connection]:
    connection = await connect(url)
    try:
        yield connection
    except psycopg.Error as error:
        raise StoreUnavailable(f"{shown(url)} does not answer: {str(error).strip()}") from error
    finally:
        await connection.close()


def shown(url: str) -> str:
    """Return an address as it may be shown: without what could be a secret."""
    try:
        parts = conninfo.conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return "postgresql:…"
    where = str(parts.get("host") or "")
    port = f":{parts['port']}" if parts.get("port") else ""
    return f"postgresql://{where}{port}/{parts.get('dbname') or ''}"
