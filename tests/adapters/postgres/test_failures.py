"""What callers are told when the server, or the way to it, fails, and how the store recovers by itself."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

import attrs
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from holdfast.change import PENDING, Change, Committed, Duplicate
from holdfast.errors import CommitUnknown, InvalidInput, StoreUnavailable
from holdfast.ports.queries import RunFilter
from holdfast_adapters.postgres import PostgresPersistence
from holdfast_adapters.postgres.wave import COMMIT
from holdfast_testing.contracts.samples import MANY, TTL, created, noted, operation, run_id, started
from tests.adapters.postgres.proxy import Cut, proxy
from tests.postgres import SWEEPER, Server

#: How long a store in these tests waits for an answer that does not come.
PATIENCE = 0.5


def opened(url: str, play: Callable[[PostgresPersistence], Awaitable[None]], **options: float) -> None:
    """Let *play* have an opened store."""

    async def main() -> None:
        patience = options.get("patience", 30.0)
        store = PostgresPersistence(url, connections=int(options.get("connections", 4)), patience=patience)
        await store.open()
        await play(store)
        await store.close()

    asyncio.run(main())


def kill_backends(url: str) -> int:
    """End every connection to the database but one's own, as an administrator does, and return how many there were."""
    with psycopg.connect(url, autocommit=True) as connection:
        killed = connection.execute(
            """
            SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity
            WHERE datname = current_database() AND pid <> pg_backend_pid() AND query <> ''
                AND application_name <> %s""",
            (SWEEPER,),
        ).fetchone()
    assert killed is not None
    return int(killed[0])


async def _stands(store: PostgresPersistence, change: Change) -> None:
    (outcome,) = await store.commit([change])
    assert isinstance(outcome, Committed), outcome


def test_backends_that_were_killed_while_idle_are_replaced(url: str) -> None:
    """Nobody is told that idle connections had ended: the next commit, claim and read get new ones."""

    async def play(store: PostgresPersistence) -> None:
        for number in range(1, 4):
            await _stands(store, created(number))
            assert await store.next_due() is None
            assert await asyncio.to_thread(kill_backends, url) >= 2
            assert await store.find_run(run_id(number)) is not None

    opened(url, play)


@pytest.mark.parametrize("how", [Cut.BEFORE, Cut.AFTER])
def test_commit_whose_answer_is_lost_is_unknown_and_can_be_looked_up(url: str, how: Cut) -> None:
    """A connection lost while COMMIT is under way leaves open whether it happened; the operation tells."""
    change = attrs.evolve(created(), operations=(operation(),))

    async def main() -> None:
        async with proxy(url) as way:
            store = PostgresPersistence(way.url)
            await store.open()
            way.cut_at(COMMIT.name, how)
            with pytest.raises(CommitUnknown):
                await store.commit([change])
            found = await store.find_operation(tenant="acme", scope=operation().scope, key=operation().key)
            assert (found is not None) is (how is Cut.AFTER)
            (outcome,) = await store.commit([change])
            assert isinstance(outcome, Duplicate if how is Cut.AFTER else Committed)
            await store.close()

    asyncio.run(main())


def test_connection_lost_before_commit_is_tried_again(url: str) -> None:
    """What was lost before COMMIT was sent did not happen, so it is done again and nobody is told."""

    async def main() -> None:
        async with proxy(url) as way:
            store = PostgresPersistence(way.url)
            await store.open()
            way.cut_at(b"FOR UPDATE", Cut.BEFORE)
            await _stands(store, created())
            await store.close()

    asyncio.run(main())


def test_server_that_falls_silent_is_given_up(url: str) -> None:
    """A half-open connection ends a read and a commit within the patience of the store, and the next ones are well."""

    async def main() -> None:
        async with proxy(url) as way:
            store = PostgresPersistence(way.url, patience=PATIENCE)
            await store.open()
            await _stands(store, created())
            way.cut_at(COMMIT.name, Cut.SILENCE)
            with pytest.raises(CommitUnknown, match="in time"):
                await store.commit([noted(require=PENDING)])
            # Read again by itself.
            way.cut_at(b"run_payload", Cut.SILENCE)
            assert await store.find_run(run_id()) is not None
            await store.close()

    asyncio.run(main())


def test_restart_in_the_middle_of_everything_loses_nothing_acknowledged() -> None:
    """A server that crashes again and again keeps what was acknowledged; what failed was not told to have happened."""
    server = Server()

    async def main() -> None:
        store = PostgresPersistence(server.url)
        await store.open()
        acknowledged: list[int] = []
        unknown: list[int] = []

        async def work(first: int) -> None:
            for number in range(first, 600, 3):
                try:
                    await _stands(store, created(number))
                except CommitUnknown:
                    unknown.append(number)
                except StoreUnavailable:
                    await asyncio.sleep(0.01)
                else:
                    acknowledged.append(number)

        async def crash() -> None:
            for _ in range(3):
                before = len(acknowledged)
                while len(acknowledged) < before + 40:
                    await asyncio.sleep(0.005)
                await asyncio.to_thread(server.stop, signal.SIGQUIT)
                await asyncio.to_thread(server.start)

        await asyncio.gather(crash(), *(work(first) for first in (1, 2, 3)))
        await _stands(store, created(1_000))
        there = {run.id for run in await store.list_runs(RunFilter(), limit=MANY)}
        assert {run_id(number) for number in acknowledged} <= there
        assert there <= {run_id(number) for number in (*acknowledged, *unknown, 1_000)}
        await store.close()

    try:
        asyncio.run(main())
    finally:
        server.discard()


def test_value_without_a_form_in_the_store_fails_alone(url: str) -> None:
    """Of change-sets that share a transaction one that cannot be stored is refused, and the others stand."""

    async def play(store: PostgresPersistence) -> None:
        bad = attrs.evolve(created(2), operations=(operation("a\x00b"),))
        worse = attrs.evolve(created(3), operations=(operation("a\ud800b"),))
        outcomes = await asyncio.gather(
            *(store.commit([change]) for change in (created(1), bad, worse, created(4))), return_exceptions=True
        )
        assert [type(outcome) for outcome in outcomes] == [list, InvalidInput, InvalidInput, list]
        assert await store.find_run(run_id(4)) is not None
        assert await store.find_run(run_id(2)) is None

    opened(url, play)


def test_all_connections_in_use_is_told_in_time(url: str) -> None:
    """Who waits for a connection longer than the patience of the store is told so; later callers get one."""

    async def play(store: PostgresPersistence) -> None:
        let_go = asyncio.Event()

        async def hold(_: object) -> None:
            await let_go.wait()

        holding = asyncio.create_task(store._access.use(hold))
        await asyncio.sleep(0)
        with pytest.raises(StoreUnavailable, match="in use"):
            await store.find_run(run_id())
        waiting = asyncio.create_task(store.find_run(run_id()))
        await asyncio.sleep(0)
        let_go.set()
        assert await waiting is None
        await holding

    opened(url, play, connections=1, patience=PATIENCE)


def test_cancelled_callers_take_no_connection_with_them(url: str) -> None:
    """Whoever is cancelled half-way leaves its connection to others; what was begun is undone, or done as a whole."""

    async def play(store: PostgresPersistence) -> None:
        await _stands(store, created())
        for turns in range(1, 12):
            for call in (store.find_run(run_id()), store.lease_streams(sink="s", limit=1, events=1, ttl=TTL)):
                task = asyncio.create_task(call)
                for _ in range(turns):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
        cancelled = asyncio.create_task(store.commit([started()]))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        async with asyncio.timeout(5):
            # What was cancelled while it waited to be committed is committed all the same, before what came after it.
            (outcome,) = await store.commit([noted()])
            assert outcome == Committed(version=3)
            await store.lease_streams(sink="s", limit=1, events=1, ttl=TTL)

    opened(url, play, connections=1, patience=5)


def test_loops_that_end_leave_no_connection_open(url: str) -> None:
    """A loop that ended without closing the store gives its connections back when the next begins, or at the end."""

    def connections() -> int:
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute("""
                SELECT count(*) FROM pg_stat_activity
                WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'loops'""")
            found = row.fetchone()
        assert found is not None
        return int(found[0])

    store = PostgresPersistence(make_conninfo(url, application_name="loops"))
    asyncio.run(store.open())
    for _ in range(5):
        asyncio.run(store.commit([created()]))
        assert asyncio.run(store.find_run(run_id())) is not None
    asyncio.run(store.close())
    for _ in range(100):
        if not connections():
            break
    assert connections() == 0
