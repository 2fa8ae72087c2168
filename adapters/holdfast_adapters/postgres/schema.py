"""The runner of the numbered migrations: what a database is, what it lacks, and how it gets it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

import attrs
import psycopg
from psycopg import errors

from holdfast.errors import StoreUnavailable, UnusableStore

_NAME: Final = re.compile(r"(\d{4})_(\w+)\.sql")
_COMMAND: Final = "holdfast db migrate"
#: A pipeline, ordered inserts and everything else that the statements need is there from this version on.
OLDEST_SERVER: Final = 140_000
#: "Hold" in ASCII: the advisory lock under which a database is migrated.
MIGRATION_LOCK: Final = 0x486F6C64
#: How long a migration waits for a lock that running workers hold. They would queue up behind it, so it gives up and
#: is tried again by whoever asked for it.
LOCK_TIMEOUT: Final = "5s"
#: How long it waits for another one that is under way: nobody queues up behind that.
TURN_TIMEOUT: Final = "60s"

Connection = psycopg.AsyncConnection[Any]


@attrs.frozen(kw_only=True)
class Migration:
    """One step of the schema."""

    #: From 1, without gaps.
    number: int
    name: str
    sql: str
    #: SHA-256 of the text, hex; a database that was migrated with another text is not ours to touch.
    checksum: str


@cache
def all_migrations() -> tuple[Migration, ...]:
    """Return every migration in order."""
    found: list[Migration] = []
    for resource in files("holdfast_adapters.postgres.migrations").iterdir():
        match = _NAME.fullmatch(resource.name)
        if match is not None:
            sql = resource.read_text(encoding="utf-8")
            digest = hashlib.sha256(sql.encode()).hexdigest()
            found.append(Migration(number=int(match[1]), name=match[2], sql=sql, checksum=digest))
    return tuple(sorted(found, key=lambda migration: migration.number))


async def current_version(connection: Connection, *, store: str) -> int:
    """Return the number of the newest migration in the database; 0 if it has none of our tables.

    Args:
        connection: A connection in autocommit mode.
        store: How errors name the store.

    Raises:
        UnusableStore: If the schema was not made by a Holdfast that this one knows.
    """
    return len(await _applied(connection, store=store))


async def pending_migrations(connection: Connection, *, store: str) -> Sequence[Migration]:
    """Return the migrations that the database lacks.

    Raises:
        UnusableStore: If the schema was not made by a Holdfast that this one knows.
    """
    return all_migrations()[await current_version(connection, store=store) :]


_RECORD: Final = "INSERT INTO holdfast.migration (number, name, checksum) VALUES (%s, %s, %s)"


async def migrate(connection: Connection, *, store: str) -> Sequence[Migration]:
    """Bring the database up to date in one transaction and return what was applied.

    Two who do so at once do it one after the other: the lock lasts as long as the transaction, so it needs no session
    and nobody can forget to give it back.

    Raises:
        UnusableStore: If the schema was not made by a Holdfast that this one knows, or may not be changed.
        StoreUnavailable: If it cannot be changed now.
    """
    try:
        async with connection.transaction():
            await connection.execute("SELECT set_config('lock_timeout', %s, true)", (TURN_TIMEOUT,))
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", (MIGRATION_LOCK,))
            await connection.execute("SELECT set_config('lock_timeout', %s, true)", (LOCK_TIMEOUT,))
            # Looked at again under the lock: another process may have been here since.
            lacking = await pending_migrations(connection, store=store)
            for migration in lacking:
                await connection.execute(migration.sql.encode())
                await connection.execute(_RECORD, (migration.number, migration.name, migration.checksum))
    except errors.InsufficientPrivilege as error:
        raise UnusableStore(
            store,
            why=f"this user may not make the schema ({_said(error)}).",
            fix="Have the owner run what this prints: holdfast db sql",
        ) from error
    except psycopg.Error as error:
        raise StoreUnavailable(f"{store} cannot be migrated now: {_said(error)}") from error
    return lacking


_SCRIPT: Final = """\
-- {title}
BEGIN;
SET LOCAL lock_timeout = '{turn}';
SELECT pg_advisory_xact_lock({lock});
SET LOCAL lock_timeout = '{timeout}';

{sql}

INSERT INTO holdfast.migration (number, name, checksum) VALUES ({number}, '{name}', '{checksum}');
COMMIT;
"""


def migration_script(*, first: int = 1) -> str:
    """Return what `migrate` does from migration *first* on, as SQL for psql: each migration a transaction.

    One that fails, because it is applied already or a lock is not to be had, leaves nothing and is tried again.
    """
    return "\n".join(
        _SCRIPT.format(
            title=f"{migration.number:04}_{migration.name}",
            turn=TURN_TIMEOUT,
            lock=MIGRATION_LOCK,
            timeout=LOCK_TIMEOUT,
            sql=migration.sql.strip(),
            number=migration.number,
            name=migration.name,
            checksum=migration.checksum,
        )
        for migration in all_migrations()[first - 1 :]
    )


#: What the setting `holdfast.accept` holds for a server that need not keep what it acknowledged, such as one for tests.
ACCEPT_NO_FSYNC: Final = "fsync"
_SETTINGS: Final = """
    SELECT pg_is_in_recovery(), current_setting('transaction_read_only')::boolean, current_setting('server_encoding'),
        current_setting('fsync')::boolean, coalesce(current_setting('holdfast.accept', true), '')"""


async def check_server(connection: Connection, *, store: str) -> None:
    """Raise UnusableStore if the server is none that a store can be on."""
    if connection.info.server_version < OLDEST_SERVER:
        found = connection.info.server_version // 10_000
        raise UnusableStore(store, why=f"Postgres {found} is too old.", fix="Use Postgres 14 or newer.")
    row = await (await connection.execute(_SETTINGS)).fetchone()
    assert row is not None, "a SELECT without FROM has a row"
    is_replica, is_read_only, encoding, syncs, accepted = row
    if is_replica or is_read_only:
        raise UnusableStore(
            store,
            why="it is a replica." if is_replica else "its transactions are read-only.",
            fix="Name the primary server, in read-write mode.",
        )
    if encoding != "UTF8":
        raise UnusableStore(store, why=f"its encoding is {encoding}.", fix="Make a database with the encoding UTF8.")
    if not syncs and ACCEPT_NO_FSYNC not in accepted.split(","):
        raise UnusableStore(
            store,
            why="its server runs with fsync=off: a power cut may destroy it, with runs that were acknowledged.",
            fix=(
                "Set fsync = on. Only where all may be lost, such as in tests, accept it: add "
                "options=-c%20holdfast.accept%3Dfsync to the URL, or set holdfast.accept = 'fsync' for the database."
            ),
        )


async def require_current(connection: Connection, *, store: str) -> None:
    """Raise UnusableStore if the database lacks migrations."""
    version, newest = await current_version(connection, store=store), len(all_migrations())
    if version < newest:
        raise UnusableStore(
            store, why=f"its schema is version {version} and {newest} is needed.", fix=f"Run: {_COMMAND}"
        )


_IS_THERE: Final = "SELECT to_regclass('holdfast.migration') IS NOT NULL, to_regclass('holdfast.run') IS NOT NULL"
_APPLIED: Final = "SELECT number, name, checksum FROM holdfast.migration ORDER BY number"


async def _applied(connection: Connection, *, store: str) -> Sequence[int]:
    """Return the numbers of the applied migrations, after making sure that they are ours and unchanged."""
    row = await (await connection.execute(_IS_THERE)).fetchone()
    assert row is not None, "a SELECT without FROM has a row"
    has_migrations, has_runs = row
    if not has_migrations:
        if has_runs:
            raise UnusableStore(
                store,
                why='its schema "holdfast" belongs to another program.',
                fix="Name another database for Holdfast.",
            )
        return ()
    known = all_migrations()
    applied = await (await connection.execute(_APPLIED)).fetchall()
    for (number, name, checksum), expected in zip(applied, known, strict=False):
        if (number, checksum) != (expected.number, expected.checksum):
            raise UnusableStore(
                store,
                why=f"its migration {number} ({name}) is not the one this version of Holdfast knows.",
                fix="Use the version of Holdfast that made it, or restore it from a backup.",
            )
    if len(applied) > len(known):
        raise UnusableStore(
            store,
            why=f"its schema is version {len(applied)} and this Holdfast knows only {len(known)}.",
            fix="Upgrade Holdfast.",
        )
    return [number for number, _, _ in applied]


def _said(error: psycopg.Error) -> str:
    return str(error).strip().split("\n", 1)[0]
