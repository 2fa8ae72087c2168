"""Hosts on one Postgres database: they wake each other, rest while they are told everything, and miss nothing."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote

import psycopg
import pytest
from psycopg import conninfo

from holdfast import EventType, Flow, RunStatus, stage, workflow
from holdfast.commands.run_cancel import RunCancel
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.commands.run_pause import RunPause
from holdfast.commands.run_resume import RunResume
from holdfast.commands.run_unpause import RunUnpause
from holdfast.entities.stage import Lease
from holdfast_adapters.postgres import listening
from holdfast_adapters.postgres.notices import CHANNEL, FARTHEST, Notices
from holdfast_adapters.postgres.wire import Wire
from holdfast_hosts.settings import MAX_REST, WorkerSettings
from holdfast_hosts.wiring import Opened
from holdfast_testing.sinks import CollectingSink
from tests.hosts.scenes import LINE, ONCE, ONE, add_one, create, ended, opened, quick, until, working
from tests.hosts.test_resting import ASK, NAP, becomes
from tests.postgres import database_url, empty_url

pytestmark = pytest.mark.postgres

#: Longer than any test: what happens sooner has been announced.
NEVER: Final = timedelta(hours=1)
#: A worker of which everything but what it is told is slow.
TOLD: Final = {
    "poll_min": timedelta(milliseconds=10),
    "poll_max": NEVER,
    "reap_interval": NEVER,
    "flush_interval": NEVER,
    "rest_interval": timedelta(seconds=60),
}
LONG: Final = timedelta(seconds=30)


@stage(retry=ONCE, queue="gpu")
async def render(number: int) -> int:
    """Work in a queue of its own."""
    return number + 1


RENDER: Final[Flow[int, int]] = (
    workflow("render", input=int, version="1").pipe(add_one).pipe(render).pipe(add_one.using(name="finish"))
)
FLOWS: Final = (ASK, NAP, RENDER, ONE, LINE)


@pytest.fixture
def url() -> str:
    """Give the store URL of an empty database."""
    parts: dict[str, Any] = dict(conninfo.conninfo_to_dict(empty_url()))
    server = {name: value for name, value in parts.items() if name in {"host", "port"}}
    query = "&".join(f"{name}={quote(str(value), safe='')}" for name, value in server.items())
    return f"postgresql://{parts['user']}@/{parts['dbname']}?{query}"


@asynccontextmanager
async def two(url: str, settings: WorkerSettings, *, lease: timedelta = LONG) -> AsyncGenerator[tuple[Opened, Opened]]:
    """Open two kernels, the second of them with a worker that has nothing to do and hears what is announced."""
    async with (
        opened(url, flows=FLOWS, lease=lease) as one,
        opened(url, flows=FLOWS, lease=lease) as other,
        working(other, settings),
    ):
        await until(lambda: other.listening.is_healthy)
        yield one, other


def test_a_run_that_another_process_creates_begins_at_once(url: str) -> None:
    """A worker executes what others create, without any poll."""

    async def main() -> None:
        async with two(url, quick(**TOLD)) as (one, _):
            for _ in range(5):
                assert await ended(one, await create(one, LINE)) == [RunStatus.COMPLETED]

    asyncio.run(main())


def test_what_others_let_go_on_is_resumed_at_once(url: str) -> None:
    """Answers, ends of pauses, sleeps and starts that lie ahead reach a worker of another process, without polls."""

    async def main() -> None:
        async with two(url, quick(**TOLD)) as (one, _):
            asks = await create(one, ASK)
            await becomes(one, asks, RunStatus.WAITING)
            await one.kernel.dispatch(RunResume(run_id=asks, name="answer", payload=40))
            assert await ended(one, asks) == [RunStatus.COMPLETED]
            asks = await create(one, ASK)
            await becomes(one, asks, RunStatus.WAITING)
            await one.kernel.dispatch(RunPause(run_id=asks))
            await one.kernel.dispatch(RunResume(run_id=asks, name="answer", payload=40))
            await one.kernel.dispatch(RunUnpause(run_id=asks))
            naps = await create(one, NAP)
            later = await create(one, ONE, start_at=one.clock.now() + timedelta(milliseconds=60))
            assert await ended(one, asks, naps, later) == [RunStatus.COMPLETED] * 3

    asyncio.run(main())


def test_events_of_others_are_delivered_at_once(url: str) -> None:
    """What a process without sinks does to a run is delivered by the worker that has one, without any poll."""
    sink = CollectingSink()

    async def main() -> None:
        async with (
            opened(url, flows=FLOWS, lease=LONG) as one,
            opened(url, flows=FLOWS, lease=LONG, event_sinks=(sink,)) as other,
            working(other, quick(**TOLD)),
        ):
            await until(lambda: other.listening.is_healthy)
            asks = await create(one, ASK)
            await becomes(one, asks, RunStatus.WAITING)
            await one.kernel.dispatch(RunCancel(run_id=asks))
            await until(lambda: any(event.type is EventType.RUN_CANCELLED for event in sink.events))

    asyncio.run(main())


def test_jobs_reach_the_worker_of_their_queue(url: str) -> None:
    """A job that one worker makes ready for the queue of another is executed there at once, and goes on here."""

    async def main() -> None:
        async with two(url, quick(**TOLD, queues=["gpu"])) as (one, _), working(one, quick(**TOLD)):
            await until(lambda: one.listening.is_healthy)
            for _ in range(3):
                assert await ended(one, await create(one, RENDER)) == [RunStatus.COMPLETED]

    asyncio.run(main())


def test_steps_of_one_worker_are_announced_to_nobody(url: str) -> None:
    """What a worker goes on with by itself becomes due for nobody else: a run costs the notice of its creation."""

    async def main() -> None:
        payloads: list[str] = []
        async with await psycopg.AsyncConnection.connect(database_url(), autocommit=True) as ears:
            ears.add_notify_handler(lambda notice: payloads.append(notice.payload))
            await ears.execute(f"LISTEN {CHANNEL}")
            async with two(url, quick(**TOLD)) as (one, _):
                assert await ended(one, await create(one, LINE)) == [RunStatus.COMPLETED]
            await ears.execute("SELECT 1")
        assert len(payloads) == 1

    asyncio.run(main())


def test_without_notifications_work_is_looked_for(url: str) -> None:
    """With notify=off nobody tells or listens, and polls find everything."""

    async def main() -> None:
        off = f"{url}&notify=off"
        async with opened(off, flows=FLOWS) as one, opened(off, flows=FLOWS) as other, working(other):
            runs = [await create(one, flow) for flow in (LINE, NAP, ONE)]
            assert await ended(one, *runs) == [RunStatus.COMPLETED] * 3
            assert not other.listening.is_healthy
            assert killed() == 0

    asyncio.run(main())


def test_whoever_rests_has_looked_before_what_is_not_announced_is_due() -> None:
    """What is too far away to be announced is farther away than the longest rest that a worker may take."""
    assert MAX_REST <= FARTHEST


def killed() -> int:
    """End the backends of all listeners and return how many there were."""
    ask = """
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE application_name = 'holdfast listener' AND datname = current_database()"""
    with psycopg.connect(database_url(), autocommit=True) as connection:
        return len(connection.execute(ask).fetchall())


def test_killing_the_listening_connection_loses_nothing(url: str) -> None:
    """Runs that are created while nobody hears it are found by one look when somebody does again."""

    async def main() -> None:
        async with two(url, quick(**TOLD)) as (one, other):
            for _ in range(5):
                assert killed() == 1
                created = [await create(one, ONE) for _ in range(3)]
                assert await ended(one, *created) == [RunStatus.COMPLETED] * 3
                await until(lambda: other.listening.is_healthy)

    asyncio.run(main())


def test_lost_notices_cost_one_rest(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that dies between its commit and its notice leaves work that is found by the next look."""

    async def main() -> None:
        rest = timedelta(milliseconds=300)
        async with two(url, quick(**(TOLD | {"rest_interval": rest, "reap_interval": rest}))) as (one, _):
            monkeypatch.setattr(Notices, "_send", silence)
            created = [await create(one, flow) for flow in (ONE, NAP, RENDER)]
            assert await ended(one, *created[:2]) == [RunStatus.COMPLETED] * 2
            asks = await create(one, ASK)
            await becomes(one, asks, RunStatus.WAITING)
            await one.kernel.dispatch(RunResume(run_id=asks, name="answer", payload=40))
            assert await ended(one, asks) == [RunStatus.COMPLETED]

    asyncio.run(main())


async def silence(_: Notices, channel: str, payload: str) -> None:
    """Send nothing."""


def test_the_lease_of_a_dead_worker_ends_on_time(url: str) -> None:
    """A worker that rests takes back what another leased after its last look, as soon as that lease ends."""
    lease = timedelta(milliseconds=800)

    async def main() -> None:
        settings = quick(**(TOLD | {"reap_interval": timedelta(milliseconds=100)}))
        claim = RunClaimPending(worker="dead", max_claims=1, keep_queues=frozenset({"default"}))
        async with two(url, settings, lease=lease) as (dead, _):
            leases: Sequence[Lease] = ()
            granted = dead.clock.monotonic()
            while not leases:
                # The worker may be faster; in the end one is taken away before its eyes.
                await create(dead, ONE)
                granted = dead.clock.monotonic()
                leases = (await dead.kernel.dispatch(claim)).leases
            # It was its only attempt.
            assert await ended(dead, leases[0].key.run_id) == [RunStatus.FAILED]
            took = dead.clock.monotonic() - granted
            assert lease.total_seconds() <= took < lease.total_seconds() + 1

    asyncio.run(main())


def test_an_idle_worker_asks_next_to_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that hears everything asks less than once in five seconds, with however many queues and sinks it has.

    Everything that takes time is made shorter by the same factor, and it still looks for what may have been lost.
    """
    factor, seconds = 40, 3.0
    asked: list[float] = []
    plain = Wire.run

    async def counted(wire: Wire, *calls: Any) -> Any:
        asked.extend([time.monotonic()] * len(calls))
        return await plain(wire, *calls)

    monkeypatch.setattr(Wire, "run", counted)
    monkeypatch.setattr(listening, "SILENCE_SECONDS", listening.SILENCE_SECONDS / factor)
    usual = WorkerSettings()
    shorter = {
        name: getattr(usual, name) / factor
        for name in ("poll_max", "reap_interval", "rest_interval", "notice_interval", "flush_interval", "flush_pause")
    }

    async def main() -> float:
        settings = WorkerSettings(**shorter, queues=[f"queue-{n}" for n in range(100)])
        async with (
            opened(url, flows=FLOWS, lease=LONG / factor, event_sinks=(CollectingSink(),)) as there,
            working(there, settings),
        ):
            await until(lambda: there.listening.is_healthy)
            await asyncio.sleep(0.3)
            begun, before = time.monotonic(), time.process_time()
            await asyncio.sleep(seconds)
            assert 1 <= sum(at >= begun for at in asked) <= 0.2 * seconds * factor
            return (time.process_time() - before) / (seconds * factor)

    assert asyncio.run(main()) < 0.005
