"""What a database must be like to be a store, and how it becomes one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from holdfast.errors import StoreUnavailable, UnusableStore
from holdfast_adapters.postgres import (
    PostgresPersistence,
    all_migrations,
    database_version,
    migrate_database,
)
from holdfast_testing.contracts.samples import created, run_id
from tests.postgres import create_database, drop_database


@pytest.fixture
def empty() -> Iterator[str]:
    """Give the address of a database without our tables, which goes with the test."""
    name = f"holdfast_open_{os.getpid()}"
    drop_database(name)
    yield create_database(name)
    drop_database(name)


def open_close(url: str, *, migrate: bool = True) -> None:
    """Open a store and close it."""

    async def main() -> None:
        store = PostgresPersistence(url, migrate=migrate)
        await store.open()
        await store.close()

    asyncio.run(main())


def execute(url: str, statement: str) -> None:
    """Do something in the database behind the store's back."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def test_opening_makes_the_schema_once(empty: str) -> None:
    """Processes that open an empty database at the same moment migrate it once, and all of them find it ready."""

    async def main() -> None:
        stores = [PostgresPersistence(empty) for _ in range(6)]
        await asyncio.gather(*(store.open() for store in stores))
        await asyncio.gather(*(store.commit([created(n)]) for n, store in enumerate(stores, 1)))
        for store in stores:
            assert await store.find_run(run_id(6)) is not None
            await store.close()

    asyncio.run(main())
    assert asyncio.run(database_version(empty)) == len(all_migrations())


def test_migrating_twice_applies_nothing_the_second_time(empty: str) -> None:
    """Migrating returns what it applied, and nothing when there is nothing to do."""
    assert asyncio.run(database_version(empty)) == 0
    assert asyncio.run(migrate_database(empty)) == all_migrations()
    assert asyncio.run(migrate_database(empty)) == ()


def test_old_schema_is_refused_unless_it_may_be_migrated(empty: str) -> None:
    """A store that may not migrate says which command does, and changes nothing."""
    with pytest.raises(UnusableStore, match="holdfast db migrate"):
        open_close(empty, migrate=False)
    assert asyncio.run(database_version(empty)) == 0
    open_close(empty)
    open_close(empty, migrate=False)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("UPDATE holdfast.migration SET checksum = 'other'", "is not the one"),
        ("INSERT INTO holdfast.migration (number, name, checksum) VALUES (999, 'later', 'x')", "Upgrade Holdfast"),
        ("DROP TABLE holdfast.migration", "another program"),
    ],
)
def test_schema_of_somebody_else_is_refused(empty: str, statement: str, words: str) -> None:
    """A schema that this version did not make, or not so, is refused with the reason and left alone."""
    open_close(empty)
    execute(empty, statement)
    for migrate in (True, False):
        with pytest.raises(UnusableStore, match=words):
            open_close(empty, migrate=migrate)


def test_read_only_database_is_refused(empty: str) -> None:
    """A database whose transactions are read-only is refused before anything is tried."""
    with pytest.raises(UnusableStore, match="read-only"):
        open_close(make_conninfo(empty, options="-c default_transaction_read_only=on"))


def test_user_who_may_not_make_the_schema_is_told_what_to_do(empty: str, request: pytest.FixtureRequest) -> None:
    """Without the right to make the schema the error names the command whose output the owner can run."""
    role = f"holdfast_guest_{os.getpid()}"
    execute(empty, f"CREATE ROLE {role} LOGIN")
    request.addfinalizer(lambda: execute(empty, f"DROP ROLE {role}"))
    with pytest.raises(UnusableStore, match="holdfast db sql"):
        open_close(make_conninfo(empty, user=role))


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
def test_isolation_that_the_database_sets_does_not_matter(empty: str, level: str) -> None:
    """Transactions say themselves how isolated they are."""
    name = conninfo_to_dict(empty)["dbname"]
    execute(empty, f"ALTER DATABASE {name} SET default_transaction_isolation = '{level}'")

    async def main() -> None:
        stores = [PostgresPersistence(empty) for _ in range(2)]
        for store in stores:
            await store.open()
        await asyncio.gather(*(stores[n % 2].commit([created(n)]) for n in range(1, 41)))
        assert len(await stores[0].list_live_versions()) == 1
        for store in stores:
            await store.close()

    asyncio.run(main())


@pytest.mark.parametrize("url", ["postgresql://u:hunter2@127.0.0.1:1/db", "host=127.0.0.1 port=1 password=hunter2"])
def test_server_that_is_not_there_is_unavailable(url: str) -> None:
    """An address at which nobody listens is told without its password."""
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1") as caught:
        open_close(url)
    assert "hunter2" not in str(caught.value)


def test_address_that_cannot_be_read_is_refused() -> None:
    """An address that is none is told without repeating it, because it may hold a password."""
    with pytest.raises(UnusableStore) as caught:
        open_close("postgresql://u:hunter2@host:nowhere/db?sslmode")
    assert "hunter2" not in str(caught.value)


def test_calls_before_opening_and_after_a_fork_are_refused(empty: str) -> None:
    """A store that was not opened in this process answers nothing."""
    store = PostgresPersistence(empty)
    with pytest.raises(StoreUnavailable, match="not open"):
        asyncio.run(store.find_run(run_id()))
    asyncio.run(store.open())
    child = os.fork()
    if not child:
        try:
            asyncio.run(store.find_run(run_id()))
        except StoreUnavailable:
            os._exit(7)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    asyncio.run(store.close())
