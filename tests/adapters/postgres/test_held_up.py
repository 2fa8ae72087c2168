"""A transaction of the application's that stays open keeps the run it concerns, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import psycopg
import pytest

from holdfast import RunCancel, RunCreate
from holdfast.change import Change, Committed, Fence, Finish, Refusal, RunPatch, Step
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.errors import LeaseLost, RunLocked, StoreUnavailable
from holdfast.ports.work import LeaseRef
from holdfast_adapters.postgres import PostgresPersistence, within
from holdfast_testing.contracts.samples import TTL, created, key, operation, run_id, started, wanted
from tests.adapters.postgres.joined import kernel_on

#: Longer than anybody is held up who is not concerned, and shorter than the transaction stays open.
SOON: Final = 5
RUNS: Final = 10


@asynccontextmanager
async def working(url: str, *, patience: float = 30) -> AsyncGenerator[PostgresPersistence]:
    """Give an open store with some runs, each with a leased job."""
    store = PostgresPersistence(url, patience=patience)
    await store.open()
    outcomes = await store.commit([change for n in range(1, RUNS + 1) for change in (created(n), started(n))])
    assert all(isinstance(outcome, Committed) for outcome in outcomes)
    assert len(await store.lease(wanted(limit=RUNS))) == RUNS
    yield store
    await store.close()


@asynccontextmanager
async def cancelling(url: str, store: PostgresPersistence) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
    """Give an open transaction that has cancelled the first run."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        assert (await within(connection, kernel_on(store)).dispatch(RunCancel(run_id=run_id()))).cancelled
        yield connection


def completion(number: int) -> Change:
    """Return the end of a run by the holder of its first lease."""
    return Change(
        run_id=run_id(number),
        fence=Fence(key=key(run=number), epoch=1),
        settle=Finish(status=StageStatus.COMPLETED),
        step=Step(run=RunPatch(status=RunStatus.COMPLETED)),
    )


async def complete(store: PostgresPersistence, number: int) -> Committed | Refusal:
    """End a run and return what became of that."""
    (outcome,) = await store.commit([completion(number)])
    return outcome


def test_other_runs_go_on(url: str) -> None:
    """Of completions that arrive together only that of the cancelled run waits for the transaction."""

    async def main() -> None:
        async with working(url) as store:
            async with cancelling(url, store) as connection:
                tasks = [asyncio.create_task(complete(store, n)) for n in range(1, RUNS + 1)]
                async with asyncio.timeout(SOON):
                    others = await asyncio.gather(*tasks[1:])
                    # And so do those that come later, one of the same run aside.
                    again = asyncio.create_task(complete(store, 1))
                    await store.commit([created(RUNS + 1), started(RUNS + 1)])
                assert all(isinstance(outcome, Committed) for outcome in others)
                assert not tasks[0].done()
                assert not again.done()
                await connection.commit()
            assert isinstance(await tasks[0], LeaseLost)
            assert isinstance(await again, LeaseLost)

    asyncio.run(main())


def test_of_many_only_what_is_kept_is_refused(url: str) -> None:
    """What does many things at once, such as the reaper, is not held up: the kept run is left out, again and again."""

    async def main() -> None:
        async with working(url) as store, cancelling(url, store) as connection:
            async with asyncio.timeout(SOON):
                for first in (2, 5):
                    outcomes = await store.commit([completion(n) for n in (first, 1, first + 1, first + 2)])
                    assert [type(outcome) for outcome in outcomes] == [Committed, RunLocked, Committed, Committed]
            await connection.rollback()
            assert isinstance(await complete(store, 1), Committed)

    asyncio.run(main())


def test_other_runs_are_admitted(url: str) -> None:
    """A pending run that an open transaction has cancelled does not keep others from being admitted."""

    async def main() -> None:
        store = PostgresPersistence(url)
        await store.open()
        kernel = kernel_on(store)
        created_runs = [await kernel.dispatch(RunCreate(workflow_id="payment", input="A-17")) for _ in range(3)]
        kept, *others = [created.run_id for created in created_runs]
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await within(connection, kernel).dispatch(RunCancel(run_id=kept))
            async with asyncio.timeout(SOON):
                admitted = await kernel.dispatch(RunClaimPending(worker="w"))
            assert [run.run_id for run in admitted.claimed] == others
            await connection.rollback()
        admitted = await kernel.dispatch(RunClaimPending(worker="w"))
        assert [run.run_id for run in admitted.claimed] == [kept]
        await store.close()

    asyncio.run(main())


def test_what_was_held_up_stands_after_a_rollback(url: str) -> None:
    """When the transaction is rolled back the completion of its run is committed as if nothing had been."""

    async def main() -> None:
        async with working(url) as store:
            async with cancelling(url, store) as connection:
                task = asyncio.create_task(complete(store, 1))
                async with asyncio.timeout(SOON):
                    assert isinstance(await complete(store, 2), Committed)
                await connection.rollback()
            assert isinstance(await task, Committed)

    asyncio.run(main())


def test_the_patience_of_what_is_held_up_ends(url: str) -> None:
    """Who waits for a lock longer than the store is patient is told so, and nothing of it was written."""

    async def main() -> None:
        async with working(url, patience=0.5) as store, cancelling(url, store) as connection:
            with pytest.raises(StoreUnavailable, match="lock"):
                await complete(store, 1)
            await connection.rollback()
            assert isinstance(await complete(store, 1), Committed)

    asyncio.run(main())


def test_closing_waits_for_nobody_elses_transaction(url: str) -> None:
    """What is held up when the store is closed is told that it was not written."""

    async def main() -> None:
        async with working(url) as store, cancelling(url, store):
            task = asyncio.create_task(complete(store, 1))
            await asyncio.wait([task], timeout=0.5)
            async with asyncio.timeout(SOON):
                await store.close()
            with pytest.raises(StoreUnavailable):
                await task

    asyncio.run(main())


def test_leases_of_other_runs_are_extended(url: str) -> None:
    """A heartbeat extends the leases of all runs but the one that is kept, and counts none as lost."""

    async def main() -> None:
        async with working(url) as store:
            leases = [LeaseRef(key=key(run=n), epoch=1) for n in range(1, RUNS + 1)]
            gone = LeaseRef(key=key(run=RUNS + 1), epoch=1)
            before = await ends(url)
            async with cancelling(url, store) as connection:
                async with asyncio.timeout(SOON):
                    assert await store.extend([*leases, gone], ttl=2 * TTL) == [gone]
                await connection.rollback()
            after = await ends(url)
            assert after[0] == before[0]
            assert all(new > old for new, old in zip(after[1:], before[1:], strict=True))

    asyncio.run(main())


async def ends(url: str) -> Sequence[int]:
    """Return the ends of the leases, by run."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        found = await connection.execute("SELECT lease_until FROM holdfast.job ORDER BY run")
        return [until for (until,) in await found.fetchall()]


def test_a_claim_gives_up_a_run_that_is_kept(url: str) -> None:
    """When all that is due belongs to a run that somebody keeps, a claim returns with nothing before long."""

    async def main() -> None:
        store = PostgresPersistence(url)
        await store.open()
        await store.commit([created(), started()])
        async with cancelling(url, store) as connection:
            async with asyncio.timeout(SOON):
                assert await store.lease(wanted()) == []
            await connection.rollback()
        assert [lease.key for lease in await store.lease(wanted())] == [key()]
        await store.close()

    asyncio.run(main())


def test_an_operation_that_is_kept_holds_up_no_other(url: str) -> None:
    """Who records an operation that an open transaction has recorded waits for that, and others do not."""

    async def main() -> None:
        async with working(url) as store:
            record = operation("the same")
            async with await psycopg.AsyncConnection.connect(url) as connection:
                await connection.execute(
                    "INSERT INTO holdfast.operation (tenant, scope, key, command, fingerprint, result, run_id, at)"
                    " VALUES (%s, %s, %s, '', '', '', '', 0)",
                    (record.tenant, record.scope, record.key),
                )
                same = Change(run_id=run_id(1), operations=(record,))
                held_up, other = asyncio.create_task(store.commit([same])), asyncio.create_task(complete(store, 2))
                async with asyncio.timeout(SOON):
                    assert isinstance(await other, Committed)
                    assert isinstance(await complete(store, 3), Committed)
                assert not held_up.done()
                await connection.rollback()
            assert isinstance((await held_up)[0], Committed)

    asyncio.run(main())
