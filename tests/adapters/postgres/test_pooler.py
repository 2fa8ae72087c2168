"""Behind a pooler that lends sessions for single transactions everything works as it does without one."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg

from holdfast.commands.run_create import RunCreate
from holdfast_adapters.postgres import PostgresPersistence, all_migrations, database_version
from holdfast_testing.contracts.samples import created, run_id
from tests.adapters.postgres.pooler import SESSIONS, pooler
from tests.adapters.postgres.processes import commands, make_busy, processes
from tests.adapters.postgres.test_locks import stand
from tests.adapters.postgres.test_pairs import NAMES, TELLING, prepare
from tests.adapters.postgres.test_waves import broken
from tests.postgres import empty_url


def test_every_command_works_behind_a_pooler(url: str) -> None:
    """Nothing is kept in a session: each transaction may have another one, and every command does what it does."""

    async def main() -> None:
        async with pooler(url) as between, processes(between.url, between.url) as (one, other):
            for name in NAMES:
                empty_url()
                busy = await make_busy(one)
                await prepare(name, busy, one)
                result: Any = await other.kernel.dispatch(commands(busy, other)[name])
                assert name in {"run.transition", "job.heartbeat"} or getattr(result, TELLING[name]), result
                assert not broken(url)
            assert between.moved > between.transactions / 2

    asyncio.run(main())


def test_more_connections_than_sessions_get_through(url: str) -> None:
    """Many calls of two processes share a few sessions, and none of them is mixed up with another's."""

    async def main() -> None:
        async with pooler(url) as between, processes(between.url, between.url, connections=SESSIONS) as both:
            runs = await asyncio.gather(
                *(
                    process.kernel.dispatch(RunCreate(workflow_id="busy", input=str(number)))
                    for number in range(40)
                    for process in both
                )
            )
            found = await asyncio.gather(*(both[0].store.find_run(run.run_id) for run in runs))
            assert [run and run.id for run in found] == [run.run_id for run in runs]
            assert len({run.run_id for run in runs}) == 80

    asyncio.run(main())


def test_schema_is_made_behind_a_pooler(own: str) -> None:
    """Stores that open an empty database through a pooler at once make its schema once, and leave nothing locked."""

    async def main() -> None:
        async with pooler(own) as between:
            stores = [PostgresPersistence(between.url) for _ in range(3)]
            await asyncio.gather(*(store.open() for store in stores))
            await stand(stores[0], [created()])
            assert await stores[1].find_run(run_id()) is not None
            for store in stores:
                await store.close()

    asyncio.run(main())
    assert asyncio.run(database_version(own)) == len(all_migrations())
    with psycopg.connect(own) as connection:
        assert connection.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'").fetchone() == (0,)
