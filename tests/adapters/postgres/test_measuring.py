"""The benchmark on a server: what it measures there, what it fills tables with, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import attrs
import psycopg
import pytest

from holdfast.entities.run import RunStatus
from holdfast.errors import StoreUnavailable
from holdfast.ports.queries import RunFilter
from holdfast_adapters.postgres.measuring import PREFIX, PostgresServer
from holdfast_hosts.settings import WorkerSettings
from holdfast_hosts.wiring import Opened, open_kernel
from holdfast_hosts.worker import Worker
from holdfast_testing.bench import SERVER_SCENARIOS, Place, Plan, Report, measure, table
from holdfast_testing.bench.flows import patient
from holdfast_testing.bench.load import Opening, carry
from holdfast_testing.bench.report import AIMS
from holdfast_testing.bench.serving import wait_for_ever
from tests.postgres import server_url
from tests.testing.test_bench import TINY

SMALL: Final = attrs.evolve(
    TINY,
    singles=3,
    past=(6,),
    waiting=6,
    seeds=2,
    apart_starts=2,
    apart_pause_seconds=0.001,
    apart_idle_seconds=0.05,
    steady_seconds=0.8,
    snapshot_seconds=0.4,
)
#: Scenarios with few processes, which take longer to start than anything else here.
FEW: Final = frozenset({"throughput", "traffic", "drain", "latency", "start"})


def make_worker(opened: Opened, /, *, concurrency: int) -> Worker:
    return Worker(opened, settings=WorkerSettings(concurrency=concurrency))


OPENING: Final = Opening(open_store=open_kernel, make_worker=make_worker, concurrency=4)


@pytest.fixture
def server() -> PostgresServer:
    """Return the server of the tests."""
    return PostgresServer(server_url())


def databases() -> set[str]:
    """Return the names of all databases of the server that a benchmark made."""
    with psycopg.connect(server_url()) as connection:
        names = connection.execute("SELECT datname FROM pg_database").fetchall()
    return {name for (name,) in names if name.startswith(PREFIX)}


def measured(server: PostgresServer, only: frozenset[str]) -> Report:
    """Measure some scenarios at the smallest sizes."""
    place = Place(kind="postgresql", server=server)
    plan = Plan(places=(place,), only=only, sizes=SMALL, repeat=1, concurrency=2)
    return asyncio.run(measure(plan, open_store=open_kernel, make_worker=make_worker))


@pytest.mark.parametrize(
    "only", [pytest.param(FEW, id="few"), pytest.param(frozenset(SERVER_SCENARIOS) - FEW, marks=pytest.mark.slow)]
)
def test_every_scenario_is_measured(server: PostgresServer, only: frozenset[str]) -> None:
    """Every scenario gives the figures that aims bound, all of it survives JSON, and no database is left."""
    before = databases()
    report = measured(server, only)
    shape: Any = json.loads(json.dumps(report.as_json()))
    assert [each["scenario"] for each in shape["results"]] == [name for name in SERVER_SCENARIOS if name in only]
    aims = {(aim.scenario, aim.figure) for aim in AIMS if aim.store == "postgresql" and aim.scenario in only}
    there = {(each["scenario"], name) for each in shape["results"] for name in each["aims"]}
    # What is measured with many runs has other names at the smallest sizes.
    assert {aim for aim in aims if not aim[1].startswith("empty_to_past")} == there
    assert {"server_version", "fsync"} <= set(shape["server"])
    assert databases() == before


def test_figures_without_a_disk_are_called_so(server: PostgresServer) -> None:
    """A server that forgets its commits in a power cut is named in the report, one that keeps them is not."""
    report = measured(server, frozenset({"traffic"}))
    for fsync, is_durable in (("on", True), ("off", False)):
        facts = {**server.facts(), "fsync": fsync, "synchronous_commit": "on", "full_page_writes": "on"}
        said = attrs.evolve(report, server=facts)
        assert said.is_durable is is_durable
        assert any(line.startswith("NOT DURABLE") for line in table(said)) is not is_durable
        assert f"fsync {fsync}" in table(said)[0]


def test_what_goes_over_the_wire_is_counted(server: PostgresServer) -> None:
    """A read of an open store is one round trip with one statement more."""

    async def main() -> None:
        with server.fresh(uuid4().hex) as store:
            async with OPENING.site(store) as site:
                persistence = site.opened.persistence
                trips, statements = server.traffic(persistence)
                await persistence.find_run("none")
                assert server.traffic(persistence) == (trips + 1, statements + 1)

    asyncio.run(main())


def test_copies_are_whole_runs(server: PostgresServer) -> None:
    """A multiplied store has as many runs as asked for, each with the records, events and output of its original."""

    async def main() -> None:
        with server.fresh(uuid4().hex) as store:
            async with OPENING.site(store, stages=2) as site:
                await carry(site, runs=3, stages=2)
                server.multiply(store, runs=10)
                server.settle(store)
                persistence = site.opened.persistence
                runs = await persistence.list_runs(RunFilter(), limit=99)
                assert len({run.id for run in runs}) == len(runs) == 10
                for run in runs:
                    assert run.status is RunStatus.COMPLETED
                    events = await persistence.list_events(run.id, limit=99)
                    assert [event.number for event in events] == list(range(1, run.events + 1))
                    assert set(await persistence.get_outputs(run.id, ["s1", "last"])) == {"s1", "last"}
                now = datetime.now(UTC)
                assert server.ended(store, since=now - timedelta(hours=1), until=now + timedelta(hours=1)) == 10

    asyncio.run(main())


def test_copies_wait_as_their_originals_do(server: PostgresServer) -> None:
    """Copies of runs that wait have timers and open waits of their own, and the next run is created as always."""

    async def main() -> Sequence[int]:
        with server.fresh(uuid4().hex) as store:
            async with OPENING.site(store, beside=patient) as site:
                await wait_for_ever(site, runs=2)
                server.multiply(store, runs=7)
                counts = await site.opened.persistence.count()
                assert counts.runs == {RunStatus.WAITING: 7}
                await carry(site, runs=2, stages=1)
            with psycopg.connect(store) as connection:
                rows = connection.execute(
                    "SELECT (SELECT count(DISTINCT run) FROM holdfast.timer),"
                    " (SELECT count(DISTINCT run) FROM holdfast.wait WHERE status = 'OPEN')"
                ).fetchall()
            return rows[0]

    assert tuple(asyncio.run(main())) == (7, 7)


def test_old_snapshot_is_seen_and_ends(server: PostgresServer) -> None:
    """While it is open the server knows a session that is idle in a transaction with a snapshot, and none after it."""
    idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_xmin IS NOT NULL"
    idle += " AND state = 'idle in transaction'"

    async def main() -> list[int]:
        seen: list[int] = []
        with server.fresh(uuid4().hex) as store:
            async with OPENING.site(store):
                with psycopg.connect(store, autocommit=True) as connection:
                    with server.old_snapshot(store):
                        seen += connection.execute(idle).fetchone() or ()
                    seen += connection.execute(idle).fetchone() or ()
        return seen

    assert asyncio.run(main()) == [1, 0]


def test_bare_rows_are_written(server: PostgresServer) -> None:
    """What measures the bare server inserts as many rows as it is told, and the log grows with them."""
    with server.fresh(uuid4().hex) as store, server.bare(store) as insert, psycopg.connect(store) as connection:
        before = server.log_bytes()
        insert(1)
        insert(5)
        assert connection.execute("SELECT count(*) FROM public.bare").fetchone() == (6,)
        assert server.log_bytes() > before


def test_server_that_is_away_is_told() -> None:
    """A server that does not answer is told of as a store that is not available."""
    with pytest.raises(StoreUnavailable, match="cannot be measured"):
        PostgresServer("postgresql://nobody@localhost:1/none").facts()
