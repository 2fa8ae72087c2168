"""Claims pass over what others have locked, and wait for them only when there is nothing else."""

from __future__ import annotations

import asyncio

import psycopg

from holdfast_adapters.postgres import PostgresPersistence
from holdfast_testing.contracts.samples import created, job, key, run_id, started, wanted
from tests.adapters.postgres.test_locks import stand, two_stores


def test_workers_that_claim_at_once_get_different_jobs(url: str) -> None:
    """Jobs claimed by several workers at the same moment go to one of them each, and all of them are given out."""

    async def main() -> None:
        async with two_stores(url) as stores:
            await stand(
                stores[0], [change for number in range(1, 101) for change in (created(number), started(number))]
            )

            async def claim(store: PostgresPersistence, worker: str) -> list[str]:
                got: list[str] = []
                while leases := await store.lease(wanted(limit=7, worker=worker)):
                    got += [lease.key.run_id for lease in leases]
                return got

            given = await asyncio.gather(*(claim(store, f"w{n}") for n in range(3) for store in stores))
            assert sum(map(len, given)) == 100
            assert {run for got in given for run in got} == {run_id(number) for number in range(1, 101)}

    asyncio.run(main())


def test_a_locked_run_is_passed_over(url: str) -> None:
    """A claim takes the jobs of other runs while somebody writes to one, and never waits for it."""

    async def main() -> None:
        async with two_stores(url) as (store, _):
            await stand(store, [change for number in (1, 2) for change in (created(number), started(number))])
            async with await psycopg.AsyncConnection.connect(url) as holder:
                await holder.execute("SELECT 1 FROM holdfast.run WHERE id = %s FOR UPDATE", (run_id(1),))
                async with asyncio.timeout(5):
                    leases = await store.lease(wanted())
                assert [lease.key for lease in leases] == [key(run=2)]

    asyncio.run(main())


def test_the_only_run_is_waited_for(url: str) -> None:
    """A claim whose jobs are all locked waits for their run, and sees what was done to it meanwhile."""

    async def main() -> None:
        async with two_stores(url) as (store, other):
            await stand(store, [created(), started(jobs=[job(key(name)) for name in "ab"])])
            async with await psycopg.AsyncConnection.connect(url) as holder:
                await holder.execute("SELECT 1 FROM holdfast.run WHERE id = %s FOR UPDATE", (run_id(),))
                claims = [asyncio.create_task(each.lease(wanted(limit=1))) for each in (store, other)]
                await asyncio.wait(claims, timeout=0.1)
                assert not any(claim.done() for claim in claims)
                await holder.execute("UPDATE holdfast.run SET version = version + 5 WHERE id = %s", (run_id(),))
                await holder.commit()
            leases = [lease for claim in claims for lease in await claim]
            assert {lease.key.stage_id for lease in leases} == {"a", "b"}
            run = await store.find_run(run_id())
            assert run is not None
            assert run.version == 2 + 5 + 2

    asyncio.run(main())


def test_lease_one_waits_for_a_commit_and_sees_it(url: str) -> None:
    """Of a claim of one job and a commit that takes it away, the later one sees what the earlier one did."""

    async def main() -> None:
        async with two_stores(url) as (store, other):
            for number in range(1, 21):
                await stand(store, [created(number), started(number)])
                lease, outcomes = await asyncio.gather(
                    store.lease_one(key(run=number), worker="w1", ttl=wanted().ttl),
                    other.lease(wanted(worker="w2")),
                )
                assert (lease is None) is (len(outcomes) == 1)

    asyncio.run(main())
