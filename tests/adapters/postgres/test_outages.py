"""How the store gets over outages: of the server, of the way to it, of its disk, and of its own connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import resource
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import attrs
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from holdfast.change import Change
from holdfast.entities.run import Run
from holdfast.errors import CommitUnknown, StoreUnavailable, Unavailable
from holdfast_adapters.postgres import PostgresPersistence
from holdfast_testing.contracts.samples import created, noted, payload, run_id, started
from tests.adapters.postgres.proxy import Cut, proxy
from tests.adapters.postgres.test_failures import kill_backends, opened
from tests.adapters.postgres.test_locks import stand
from tests.adapters.postgres.test_refused import blocked
from tests.postgres import Server

PATIENCE: Final = 0.5
#: Two for reading, and those that write.
MOST: Final = 2 + 3
#: A segment of the log has to fit, and a table is full soon behind that.
FULL_AT: Final = 17 * 1024 * 1024


@pytest.fixture
def server() -> Iterator[Server]:
    """Give a server of one's own, which goes with the test."""
    server = Server()
    yield server
    server.discard()


def connections(url: str) -> int:
    """Return how many connections the store of a test has."""
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("""
            SELECT count(*) FROM pg_stat_activity
            WHERE datname = current_database() AND application_name = 'outages'""").fetchone()
    assert row is not None
    return int(row[0])


def gone(url: str) -> None:
    """Assert that no connection of the store is left, once the server has noticed."""
    for _ in range(200):
        if not connections(url):
            return
    raise AssertionError("connections are left")


@pytest.mark.parametrize("turn", range(1, 5))
def test_server_that_falls_silent_while_it_is_connected_to_is_given_up(url: str, turn: int) -> None:
    """Whoever needs a new connection and gets no answer is told so in time or gets another; what comes next is well."""

    async def main() -> None:
        async with proxy(url) as way:
            store = PostgresPersistence(way.url, patience=PATIENCE)
            await store.open()
            # The first commit makes a connection of its own: greeting, settings, then two turns of the transaction.
            way.cut_at_turn(turn, Cut.SILENCE)
            async with asyncio.timeout(10 * PATIENCE):
                with contextlib.suppress(Unavailable):
                    await stand(store, [created(1)])
                await stand(store, [created(2)])
            await store.close()

    asyncio.run(main())


def test_pool_with_a_stuck_query_serves_all_others(url: str) -> None:
    """Of two connections one hangs: fifty calls share the other, whoever is cancelled too, and nothing is left."""

    async def main() -> None:
        store = PostgresPersistence(make_conninfo(url, application_name="outages"), connections=2)
        await store.open()
        await stand(store, [created()])
        async with await psycopg.AsyncConnection.connect(url) as holder:
            await holder.execute("LOCK TABLE holdfast.annotation IN ACCESS EXCLUSIVE MODE")
            stuck = asyncio.create_task(store.list_annotations(run_id(), limit=1))
            await blocked(url)
            calls = [asyncio.create_task(store.find_run(run_id())) for _ in range(50)]
            await asyncio.sleep(0)
            for call in calls[::5]:
                call.cancel()
            async with asyncio.timeout(5):
                told = await asyncio.gather(*calls, return_exceptions=True)
            assert [isinstance(one, asyncio.CancelledError) for one in told] == [n % 5 == 0 for n in range(50)]
            assert not any(isinstance(one, Exception) for one in told)
            assert not stuck.done()
            # Whoever asked went away; the query is still under way and its connection is nobody else's.
            stuck.cancel()
            await asyncio.gather(*(store.find_run(run_id()) for _ in range(5)))
        assert list(await store.list_annotations(run_id(), limit=1)) == []
        assert connections(url) <= MOST
        await store.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    asyncio.run(main())
    gone(url)


def test_pool_whose_every_query_is_stuck_tells_in_time_and_recovers(url: str) -> None:
    """With all connections stuck callers are told so within the patience of the store, the stuck ones too."""

    async def main(store: PostgresPersistence) -> None:
        await stand(store, [created()])
        async with await psycopg.AsyncConnection.connect(url) as holder:
            await holder.execute("LOCK TABLE holdfast.annotation IN ACCESS EXCLUSIVE MODE")
            async with asyncio.timeout(10 * PATIENCE):
                told = await asyncio.gather(
                    *(store.list_annotations(run_id(), limit=1) for _ in range(50)), return_exceptions=True
                )
            assert {type(one) for one in told} == {StoreUnavailable}
        assert list(await store.list_annotations(run_id(), limit=1)) == []

    opened(url, main, connections=2, patience=PATIENCE)


def test_peer_23_pool_serves_again_after_an_outage(server: Server) -> None:
    """After an outage with many callers every call is served again, without a restart, and no connection is lost."""

    async def main() -> None:
        store = PostgresPersistence(make_conninfo(server.url, application_name="outages"), connections=2)
        await store.open()
        await stand(store, [created(1), started(1)])
        calls = [asyncio.create_task(store.find_run(run_id(1))) for _ in range(20)]
        await asyncio.to_thread(server.stop, signal.SIGQUIT)
        told = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(one, Run | StoreUnavailable) for one in told)
        for _ in range(20):
            both = await asyncio.gather(
                store.find_run(run_id(1)), store.commit([noted(1)]), store.next_due(), return_exceptions=True
            )
            assert {type(one) for one in both} <= {StoreUnavailable, CommitUnknown}
        await asyncio.to_thread(server.start)
        await stand(store, [noted(1)])
        found = await asyncio.gather(*(store.find_run(run_id(1)) for _ in range(50)))
        assert {run and run.version for run in found} == {3}
        assert connections(server.url) <= MOST
        await store.close()

    asyncio.run(main())
    gone(server.url)


def test_full_disk_is_told_and_leaves_nothing_half(server: Server) -> None:
    """A run that does not fit on the disk any more is not there at all; with more space the store goes on by itself."""

    async def main(store: PostgresPersistence) -> None:
        await stand(store, [created(1_000)])
        limit(server, FULL_AT)
        assert await asyncio.to_thread(kill_backends, server.url)
        kept: list[int] = []

        async def fill() -> None:
            for number in range(1, 200):
                await stand(store, [large(number)])
                kept.append(number)

        with pytest.raises(StoreUnavailable, match="could not"):
            await fill()
        assert kept
        assert await store.find_run(run_id(kept[-1] + 1)) is None
        # What needs no space is done even now.
        assert await store.find_run(run_id(kept[-1])) is not None
        limit(server, resource.RLIM_INFINITY)
        assert await asyncio.to_thread(kill_backends, server.url)
        await stand(store, [large(number) for number in range(kept[-1] + 1, kept[-1] + 5)])

    opened(server.url, main)


def limit(server: Server, size: int) -> None:
    """Let no file grow beyond *size* for the server and the backends that it makes from now on."""
    with psycopg.connect(server.url) as connection:
        row = connection.execute("SELECT split_part(pg_read_file('postmaster.pid'), chr(10), 1)::integer").fetchone()
    assert row is not None
    owner = Path(f"/proc/{row[0]}").stat()
    # Only who is the same user may do that, and root runs the server as somebody else.
    child = os.fork()
    if not child:
        try:
            if owner.st_uid != os.geteuid():
                os.setresgid(owner.st_gid, owner.st_gid, owner.st_gid)
                os.setresuid(owner.st_uid, owner.st_uid, owner.st_uid)
            resource.prlimit(row[0], resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def large(number: int) -> Change:
    """Return the change-set that creates a run whose input takes a megabyte however well it is packed."""
    text = f'"{random.Random(number).randbytes(500_000).hex()}"'
    new = created(number)
    assert new.create is not None
    header = attrs.evolve(new.create.header, input=payload(text))
    return attrs.evolve(new, create=attrs.evolve(new.create, header=header))
