"""What callers are told when Postgres refuses: whatever it says, nothing of it stands, and what comes next is well."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import product
from typing import Any, Final

import attrs
import psycopg
import pytest
from psycopg import errors

from holdfast.change import Change, Committed, Step
from holdfast.errors import InvalidInput, StoreUnavailable
from holdfast.ports.outbox import Delivery, Stream
from holdfast.ports.work import LeaseRef
from holdfast_adapters.postgres import PostgresPersistence
from holdfast_testing.contracts.samples import TTL, created, job, key, noted, operation, progress, run_id, started
from tests.adapters.postgres.test_failures import opened
from tests.adapters.postgres.test_locks import deadlocks, stand
from tests.adapters.postgres.test_pairs import NAMES, play

#: What means that nothing was refused.
_NO_ERRORS: Final = ("00", "01", "02", "03")
#: The errors that Postgres has, by their codes.
SQLSTATES: Final[dict[str, type[psycopg.Error]]] = {
    found.sqlstate: found
    for found in vars(errors).values()
    if isinstance(found, type) and issubclass(found, psycopg.Error) and found.sqlstate
    if not found.sqlstate.startswith(_NO_ERRORS)
}
REFUSING: Final = """
    CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        IF NEW.data LIKE '%%refuse:_____%%' THEN
            RAISE EXCEPTION USING ERRCODE = substring(NEW.data FROM 'refuse:(.....)'), MESSAGE = 'refused by a test';
        END IF;
        RETURN NEW;
    END $$;
    CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON holdfast.event DEFERRABLE INITIALLY {when}
        FOR EACH ROW EXECUTE FUNCTION refuse()"""

Act = Callable[[PostgresPersistence], Awaitable[object]]


def execute(url: str, statement: str) -> None:
    """Do something in the database behind the store's back."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def configure(url: str, setting: str) -> None:
    """Change a setting of the database for the connections to come."""
    with psycopg.connect(url, autocommit=True) as connection:
        execute(url, f'ALTER DATABASE "{connection.info.dbname}" SET {setting}')


def refusing(state: str) -> Change:
    """Return a change-set that the trigger refuses with the error of that code."""
    return Change(run_id=run_id(1), step=Step(events=(progress(text=f"refuse:{state}"),)))


@pytest.mark.parametrize("when", ["IMMEDIATE", "DEFERRED"])
def test_peer_19_whatever_postgres_refuses_with_is_told_and_leaves_nothing(own: str, when: str) -> None:
    """Every error there is, at a statement or at COMMIT, fails its change-set alone and spoils no connection."""

    async def main(store: PostgresPersistence) -> None:
        execute(own, REFUSING.format(when=when))
        await stand(store, [created(1), started(1), created(2), started(2)])
        version = 2
        for state, kind in sorted(SQLSTATES.items()):
            told, other = await asyncio.gather(
                store.commit([refusing(state)]), store.commit([noted(2)]), return_exceptions=True
            )
            expected = InvalidInput if issubclass(kind, psycopg.DataError) else StoreUnavailable
            assert type(told) is expected, (state, told)
            if not isinstance(other, BaseException):
                version += 1
            # What tells of the server fails all that shared the transaction; nothing of it stands.
            assert isinstance(other, list) or issubclass(kind, psycopg.OperationalError), (state, other)
            await stand(store, [noted(2)])
            version += 1
        runs = [await store.find_run(run_id(number)) for number in (1, 2)]
        assert [run and run.version for run in runs] == [2, version]

    # A lock that is never free is waited for as long as the store has patience.
    opened(own, main, patience=0.5)


def test_deadlock_of_another_program_is_tried_again(own: str) -> None:
    """A transaction that Postgres ends to break a circle is done again, and nobody is told."""
    # Before the store gives up a lock by itself.
    configure(own, "deadlock_timeout = '100ms'")

    async def circle(store: PostgresPersistence, holder: psycopg.AsyncConnection[Any]) -> None:
        await _lock(holder, run_id(2))
        both = asyncio.create_task(store.commit([noted(1), noted(2)]))
        await blocked(own)
        await _lock(holder, run_id(1))
        await holder.rollback()
        assert all(isinstance(outcome, Committed) for outcome in await both)

    async def main(store: PostgresPersistence) -> None:
        await stand(store, [created(1), started(1), created(2), started(2)])
        async with await psycopg.AsyncConnection.connect(own) as holder:
            await holder.execute("SET deadlock_timeout = '1h'")
            await holder.commit()
            circles = 0
            # Postgres looks once in each wait, and may do so before there is a circle.
            while not deadlocks(own):
                circles += 1
                assert circles < 50, "no circle of waiting has been seen"
                await circle(store, holder)
        runs = [await store.find_run(run_id(number)) for number in (1, 2)]
        assert [run and run.version for run in runs] == [2 + circles] * 2

    opened(own, main)


async def _lock(connection: psycopg.AsyncConnection[Any], run: str) -> None:
    await connection.execute("SELECT 1 FROM holdfast.run WHERE id = %s FOR UPDATE", (run,))


async def blocked(url: str) -> list[int]:
    """Return the backends that wait for a lock, as soon as there are any."""
    async with asyncio.timeout(5), await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        while True:
            found = await connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
            if pids := [pid for (pid,) in await found.fetchall()]:
                return pids


ACTS: Final[dict[str, Act]] = {
    "commit": lambda store: store.commit([noted(1)]),
    "lease one": lambda store: store.lease_one(key("b"), worker="w", ttl=TTL),
    "extend": lambda store: store.extend([LeaseRef(key=key("a"), epoch=1)], ttl=TTL),
}


@pytest.mark.parametrize("act", ACTS)
def test_backend_that_is_killed_half_way_is_replaced(url: str, act: str) -> None:
    """What was under way on a backend that an administrator ends is done again on another one, once and whole."""

    async def main(store: PostgresPersistence) -> None:
        await stand(store, [created(), started(jobs=[job(key(name)) for name in "ab"])])
        await store.lease_one(key("a"), worker="w", ttl=TTL)
        run = await store.find_run(run_id())
        assert run is not None
        async with await psycopg.AsyncConnection.connect(url) as holder:
            await _lock(holder, run_id())
            doing = asyncio.ensure_future(ACTS[act](store))
            (pid,) = await blocked(url)
            await holder.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
            assert await blocked(url) != [pid]
            await holder.rollback()
        await doing
        after = await store.find_run(run_id())
        assert after is not None
        assert after.version == run.version + (act != "extend")

    opened(url, main)


def test_statement_that_takes_too_long_is_told(own: str) -> None:
    """A limit of time that the database sets ends a commit that waits for somebody, and nothing of it stands."""
    configure(own, "statement_timeout = '100ms'")

    async def main(store: PostgresPersistence) -> None:
        await stand(store, [created(), started()])
        async with await psycopg.AsyncConnection.connect(own) as holder:
            await holder.execute("SET statement_timeout = 0")
            await _lock(holder, run_id())
            with pytest.raises(StoreUnavailable, match="timeout"):
                await store.commit([noted()])
        await stand(store, [noted()])
        run = await store.find_run(run_id())
        assert run is not None
        assert run.version == 3

    opened(own, main)


@pytest.mark.parametrize("level", ["serializable", "repeatable read"])
def test_isolation_that_the_database_sets_changes_no_command(url: str, level: str) -> None:
    """Commands that meet on one run get through whatever level of isolation new sessions have."""
    configure(url, f"default_transaction_isolation = '{level}'")
    try:
        play(list(product(NAMES, NAMES))[::9])
    finally:
        configure(url, "default_transaction_isolation = DEFAULT")


def test_peer_21_what_is_committed_late_is_delivered(url: str) -> None:
    """A run whose number was given out before those of others that sinks have read is not passed over by any sink."""

    async def main(store: PostgresPersistence) -> None:
        waits_for = operation("taken")
        async with await psycopg.AsyncConnection.connect(url) as holder:
            # Whoever creates a run under the same operation has its number, and waits.
            await holder.execute(
                "INSERT INTO holdfast.operation (tenant, scope, key, command, fingerprint, result, run_id, at)"
                " VALUES (%s, %s, %s, '', '', '', '', 0)",
                (waits_for.tenant, waits_for.scope, waits_for.key),
            )
            late = asyncio.create_task(store.commit([attrs.evolve(created(1), operations=(waits_for,))]))
            await blocked(url)
            other = PostgresPersistence(url)
            await other.open()
            await stand(other, [created(2), started(2)])
            told = [stream.run_id for sink in ("one", "two") for stream in await _flushed(other, sink)]
            assert told == [run_id(2)] * 2
            await holder.rollback()
            ((outcome,),) = await asyncio.gather(late)
        assert outcome == Committed(version=1)
        await stand(other, [noted(2)])
        for sink in ("one", "two", "three"):
            streams = {
                stream.run_id: [event.number for event in stream.events] for stream in await _flushed(other, sink)
            }
            assert streams == {run_id(1): [1], run_id(2): [4] if sink != "three" else [1, 2, 3, 4]}
        await other.close()

    opened(url, main)


async def _flushed(store: PostgresPersistence, sink: str) -> list[Stream]:
    streams = list(await store.lease_streams(sink=sink, limit=10, events=100, ttl=TTL))
    taken = [Delivery(run_id=one.run_id, sink=sink, epoch=one.epoch, position=one.events[-1].number) for one in streams]
    assert all(await store.settle_streams(taken))
    return streams
