"""Statements of the application's among those of Postgres: their settings, their values, their locks."""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from holdfast import RunCancel
from holdfast.change import Change, Committed, Refusal
from holdfast.errors import StaleVersion, StatementFailed, TransactionLost
from holdfast.traces import Statement
from holdfast_adapters.postgres import PostgresPersistence, within
from holdfast_adapters.postgres.access import KEYS_ONLY_SETTINGS, SET_PATIENCE, SETTINGS
from holdfast_adapters.postgres.executing import OWN_SETTINGS
from holdfast_testing.contracts.samples import created, run_id, started
from tests.adapters.postgres.joined import kernel_on
from tests.adapters.postgres.test_held_up import SOON


def table(url: str, *columns: str) -> None:
    """Make the application's table, empty."""
    with psycopg.connect(url) as connection:
        connection.execute("DROP TABLE IF EXISTS public.thing CASCADE")
        connection.execute(f"CREATE TABLE public.thing ({', '.join(columns)})".encode())


def rows(url: str) -> Sequence[tuple[Any, ...]]:
    """Return what stands in it."""
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT * FROM public.thing").fetchall()


def committed(url: str, *statements: Statement) -> Committed | Refusal:
    """Commit one change-set with the statements and return what became of it."""

    async def main() -> Committed | Refusal:
        store = PostgresPersistence(url)
        await store.open()
        await store.commit([created(), started()])
        (outcome,) = await store.commit([Change(run_id=run_id(), statements=statements)])
        await store.close()
        return outcome

    return asyncio.run(main())


def test_statements_run_with_the_settings_of_the_application(url: str) -> None:
    """Whatever this adapter sets for its own statements is as the database, or the user, has it for those of others."""
    said = b"".join(statement.sql for statement in (SETTINGS, KEYS_ONLY_SETTINGS, SET_PATIENCE))
    ours = re.findall(r"'(\w+)', (?:'|\$1)", said.decode())
    assert sorted(ours) == sorted(OWN_SETTINGS)
    table(url, "name text", "value text")
    with psycopg.connect(url) as connection:
        asked = "SELECT name, current_setting(name) FROM unnest(%s::text[]) name"
        expected = connection.execute(asked, (list(OWN_SETTINGS),)).fetchall()
    values = {"names": list(OWN_SETTINGS)}
    insert = "INSERT INTO thing SELECT name, current_setting(name) FROM unnest(%(names)s::text[]) name"
    assert isinstance(committed(url, Statement(insert, values)), Committed)
    assert sorted(rows(url)) == sorted(expected)


def test_values_are_those_that_psycopg_writes(url: str) -> None:
    """Whatever psycopg can write is a value, and quotes, percent signs and backslashes are nothing special in one."""
    table(url, "a numeric", "b date", "c uuid", "d jsonb", "e text", "f bytea", "g integer[]", "h text")
    values = (
        Decimal("1.50"),
        date(2026, 1, 31),
        uuid.UUID(int=7),
        Jsonb({"a": [1]}),
        "it's 5% \\ $1 é",
        b"\0\xff",
        [1, 2],
        None,
    )
    places = ", ".join(["%s"] * len(values))
    assert isinstance(committed(url, Statement(f"INSERT INTO thing VALUES ({places})", values)), Committed)
    assert rows(url) == [(*values[:3], {"a": [1]}, *values[4:])]


def test_what_a_statement_finds_is_not_read(url: str) -> None:
    """Rows that psycopg could not read are no failure, for the change-set stands by then."""
    table(url, "a date")
    insert = Statement("INSERT INTO thing VALUES ('2026-01-31') RETURNING 'infinity'::date")
    assert isinstance(committed(url, insert, Statement("SELECT 'infinity'::date")), Committed)
    assert len(rows(url)) == 1


@pytest.mark.parametrize("text", ["a\x00b", "\ud800"], ids=["nul", "surrogate"])
def test_text_that_postgres_has_no_form_for(url: str, text: str) -> None:
    """A value that cannot be stored is a failure of its statement."""
    table(url, "a text")
    assert isinstance(committed(url, Statement("INSERT INTO thing VALUES (%s)", (text,))), StatementFailed)
    assert rows(url) == []


def test_what_is_checked_at_the_end_is_checked_before(url: str) -> None:
    """A deferred constraint fails the statement and not the commit, of which nobody would know what it did."""
    table(url, "a integer UNIQUE DEFERRABLE INITIALLY DEFERRED")
    twice = Statement("INSERT INTO thing VALUES (1), (1)")
    outcome = committed(url, twice)
    assert isinstance(outcome, StatementFailed)
    assert "unique" in str(outcome)
    assert rows(url) == []


def test_a_procedure_cannot_end_the_transaction(url: str) -> None:
    """What a statement calls may not commit either."""
    table(url, "a integer")
    with psycopg.connect(url) as connection:
        connection.execute("CREATE OR REPLACE PROCEDURE public.rude() LANGUAGE plpgsql AS 'BEGIN COMMIT; END'")
    outcome = committed(url, Statement("INSERT INTO thing VALUES (1)"), Statement("CALL rude()"))
    assert isinstance(outcome, StatementFailed)
    assert rows(url) == []


def test_a_statement_that_waits_holds_up_nobody(url: str) -> None:
    """A row that the application has locked is waited for, and other change-sets are committed meanwhile."""
    table(url, "a integer")

    async def main() -> None:
        with psycopg.connect(url) as connection:
            connection.execute("INSERT INTO thing VALUES (1)")
        store = PostgresPersistence(url)
        await store.open()
        await store.commit([created(), started(), created(2)])
        async with await psycopg.AsyncConnection.connect(url) as holder:
            await holder.execute("UPDATE thing SET a = 2")
            statement = Statement("UPDATE thing SET a = a + 10")
            waiting = asyncio.create_task(store.commit([Change(run_id=run_id(), statements=(statement,))]))
            async with asyncio.timeout(SOON):
                # Longer than a lock of the store itself is waited for.
                await asyncio.wait([waiting], timeout=0.5)
                assert all(isinstance(outcome, Committed) for outcome in await store.commit([started(2)]))
            assert not waiting.done()
            await holder.commit()
        assert isinstance((await waiting)[0], Committed)
        await store.close()

    asyncio.run(main())
    assert rows(url) == [(12,)]


def test_a_circle_of_waiting_is_resolved(url: str) -> None:
    """A statement that waits for a row of a transaction that wants the same run: one of both is told to begin again."""
    table(url, "a integer")

    async def main() -> None:
        with psycopg.connect(url) as connection:
            connection.execute("INSERT INTO thing VALUES (1)")
        store = PostgresPersistence(url)
        await store.open()
        await store.commit([created(), started()])
        async with asyncio.timeout(2 * SOON), await psycopg.AsyncConnection.connect(url) as caller:
            await caller.execute("UPDATE thing SET a = 2")
            statement = Statement("UPDATE thing SET a = a + 10")
            waiting = asyncio.create_task(store.commit([Change(run_id=run_id(), statements=(statement,))]))
            await asyncio.wait([waiting], timeout=0.2)
            try:
                await within(caller, kernel_on(store)).dispatch(RunCancel(run_id=run_id()))
            except TransactionLost:
                await caller.rollback()
                expected: tuple[type[object], int] = (Committed, 11)
            else:
                await caller.commit()
                expected = (StaleVersion, 2)
            assert (type((await waiting)[0]), rows(url)[0][0]) == expected
        await store.close()

    asyncio.run(main())
