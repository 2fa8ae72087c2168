"""`holdfast db …`: the schema of the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.opening import existing, lasting
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, note, show
from holdfast_hosts.cli.spelling import counted
from holdfast_hosts.cli.usage import misused
from holdfast_hosts.store_url import StoreUrl


class Migration(Protocol):
    """One step of the schema of a store, of whichever technology."""

    @property
    def number(self) -> int:
        """From 1, without gaps."""
        ...

    @property
    def name(self) -> str:
        """What it is about."""
        ...


class Schema(Protocol):
    """The schema of one store."""

    def known(self) -> Sequence[Migration]:
        """Return every migration that this version of Holdfast has."""
        ...

    async def version(self) -> int:
        """Return the number of the newest migration that is applied."""
        ...

    async def migrate(self) -> Sequence[Migration]:
        """Apply what is lacking and return it."""
        ...

    def script(self, *, first: int) -> str:
        """Return the migrations from *first* on as SQL."""
        ...


async def migrate(common: Common) -> int:
    """Apply what the store lacks.

    Raises:
        UnusableStore: If it is no store of this version of Holdfast, or may not be written.
        StoreUnavailable: If it cannot be written now.
    """
    url = lasting(common.store)
    schema = _schema(url)
    applied = await schema.migrate()
    version = len(schema.known())
    if common.json:
        answer({"store": str(url), "version": version, "applied": [_name(one) for one in applied]})
        return Exit.DONE
    for one in applied:
        show(f"✓ {_name(one)}")
    done = f"{counted(len(applied), 'migration')} applied" if applied else "there was nothing to do"
    note(f"{url} is at version {version}; {done}.")
    return Exit.DONE


async def status(common: Common) -> int:
    """Show each migration and whether it is applied.

    Raises:
        Told: If there is no store.
        UnusableStore: If it is no store of this version of Holdfast.
        StoreUnavailable: If it cannot be read now.
    """
    url = existing(common.store)
    schema = _schema(url)
    version, known = await schema.version(), schema.known()
    if common.json:
        answer(
            {
                "store": str(url),
                "version": version,
                "newest": len(known),
                "applied": [_name(one) for one in known[:version]],
                "pending": [_name(one) for one in known[version:]],
            }
        )
    else:
        _print(known, version=version)
        note(f"{url} is at version {version} of {len(known)}.")
    if version < len(known):
        note(f"  → {common.command('db', 'migrate')}")
        return Exit.SETTINGS
    return Exit.DONE


async def sql(*, first: int, common: Common) -> int:
    """Print the migrations from *first* on as SQL; the store itself is not looked at.

    Raises:
        Told: If stores of this kind have no schema, or no such migration.
        UnusableStore: If it is no store URL.
    """
    url = lasting(common.store)
    schema = _schema(url)
    known = schema.known()
    if not 1 <= first <= len(known):
        raise misused(
            f"There is no migration {first}.", fix=f"Give a number from 1 to {len(known)}, or leave --from out."
        )
    script = schema.script(first=first)
    if common.json:
        answer({"store": str(url), "migrations": [_name(one) for one in known[first - 1 :]], "sql": script})
    else:
        show(script.rstrip("\n"))
    return Exit.DONE


def _print(known: Sequence[Migration], *, version: int) -> None:
    for one in known:
        show(f"✓ {_name(one)}  applied" if one.number <= version else f"· {_name(one)}  pending")


def _name(migration: Migration) -> str:
    return f"{migration.number:04}_{migration.name}"


def _schema(url: StoreUrl) -> Schema:
    # Each technology is imported only when its store is asked for.
    if url.path is not None:
        from holdfast_hosts.cli.acts.db_sqlite import SqliteSchema

        return SqliteSchema(url.path)
    from holdfast_hosts.cli.acts.db_postgres import PostgresSchema

    assert url.address is not None, "a store that lasts is a file or has an address"
    return PostgresSchema(url.address)
