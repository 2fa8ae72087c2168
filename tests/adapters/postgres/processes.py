"""Processes of one database that are driven command by command, and a run of which everything can be asked at once."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final

import attrs

from holdfast import BatchStage, Context, Pending, Retry, stage, workflow
from holdfast.authoring.registry import Registry
from holdfast.command import Command, Settings
from holdfast.commands.job_execute import JobExecute
from holdfast.commands.job_heartbeat import Beat, JobHeartbeat
from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.commands.outbox_flush import OutboxFlush
from holdfast.commands.run_cancel import RunCancel
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.commands.run_create import RunCreate
from holdfast.commands.run_pause import RunPause
from holdfast.commands.run_prune import RunPrune
from holdfast.commands.run_rerun_from import RunRerunFrom
from holdfast.commands.run_resume import RunResume
from holdfast.commands.run_retry import RunRetry
from holdfast.commands.run_transition import RunTransition
from holdfast.commands.run_unpause import RunUnpause
from holdfast.commands.stage_poll_suspended import StagePollSuspended
from holdfast.commands.timer_fire_due import TimerFireDue
from holdfast.entities.stage import Lease
from holdfast.kernel import Kernel
from holdfast.ports.work import LeaseRef, LeaseRequest
from holdfast_adapters.blobs import MemoryBlobStore
from holdfast_adapters.postgres import PostgresPersistence
from holdfast_adapters.transports import DatabaseTransport
from holdfast_testing.clock import FakeClock
from holdfast_testing.ids import SequentialIds
from holdfast_testing.schedulers import FakeScheduler
from holdfast_testing.sinks import CollectingSink

TTL: Final = timedelta(seconds=30)
#: Enough for a stage that is disturbed.
PATIENT: Final = Retry(5, backoff="fixed", base="1s", jitter=0)
KEY: Final = "the one"
MANY: Final = 1_000


@stage(retry=PATIENT)
async def works(text: str, ctx: Context) -> str:
    """Do something."""
    return text


@stage(retry=PATIENT)
async def stalls(text: str, ctx: Context) -> str:
    """Do something that nobody settles in time."""
    return text


@stage(retry=PATIENT, waits={"answer": str})
async def asks(text: str, ctx: Context) -> str:
    """Wait for an answer until it is too late."""
    return await ctx.wait_for("answer", str, timeout="1s")


@stage(retry=PATIENT)
async def delegates(text: str, ctx: Context) -> str:
    """Have another run do something."""
    return await ctx.call("part", PART, text)


class Labels(BatchStage[str, str, str]):
    """A batch that is done when it is asked for the first time."""

    poll_every, give_up_after = "1s", "1h"
    retry = PATIENT

    async def submit(self, text: str, ctx: Context) -> str:
        """Begin."""
        return text

    async def poll(self, reference: str, ctx: Context) -> str | Pending:
        """Say that it is done."""
        return reference


PART: Any = workflow("part", input=str).pipe(works)
BUSY: Any = workflow("busy", input=str, timeout="1h").parallel(works, stalls, asks, delegates, Labels())
REGISTRY: Final = Registry((PART, BUSY))


class Process:
    """A kernel over a store of its own, on the clock and with the ids that all share."""

    def __init__(self, url: str, *, clock: FakeClock, ids: SequentialIds, worker: str, **options: Any) -> None:
        self.url = url
        store = self.store = PostgresPersistence(url, clock=clock, **options)
        self.clock = clock
        self.ids = ids
        self.worker = worker
        self.kernel = Kernel(
            persistence=store,
            blob_store=MemoryBlobStore(),
            job_transport=DatabaseTransport(store),
            scheduler=FakeScheduler(),
            clock=clock,
            ids=ids,
            registry=REGISTRY,
            event_sink=CollectingSink(),
            settings=Settings(lease_ttl=TTL),
        )

    async def leases(self) -> list[Lease]:
        """Lease all jobs that are due."""
        request = LeaseRequest(worker=self.worker, limit=MANY, ttl=TTL, known=REGISTRY.known())
        return list(await self.store.lease(request))

    async def execute(self, lease: Lease) -> None:
        """Execute the job that was leased."""
        await self.kernel.dispatch(JobExecute(job=lease.key, worker=self.worker, lease=lease))


@asynccontextmanager
async def processes(*urls: str, beside: Process | None = None, **options: Any) -> AsyncGenerator[list[Process]]:
    """Open the database for a process at each of its addresses.

    Args:
        urls: The addresses.
        beside: A process whose clock and ids are theirs too.
        options: Of their stores.
    """
    clock = FakeClock() if beside is None else beside.clock
    ids = SequentialIds(clock) if beside is None else beside.ids
    opened: list[Process] = []
    try:
        for number, url in enumerate(urls, 1):
            process = Process(url, clock=clock, ids=ids, worker=f"worker-{number}", **options)
            await process.store.open()
            opened.append(process)
        yield opened
    finally:
        for process in opened:
            await process.store.close()


@attrs.frozen(kw_only=True)
class Busy:
    """A run that everything can be asked of.

    One of its jobs is executed, the lease of another has ended, a poll and a timer of a wait are due, a child is
    pending, and there are events to deliver.
    """

    run_id: str
    #: Of the job that is executed.
    lease: Lease


async def make_busy(process: Process) -> Busy:
    """Bring a run to where every command has something to do."""
    kernel = process.kernel
    created = await kernel.dispatch(RunCreate(workflow_id="busy", input="x", idempotency_key=KEY))
    await kernel.dispatch(RunClaimPending(worker=process.worker))
    leases = {lease.key.stage_id: lease for lease in await process.leases()}
    for name in ("asks", "delegates", "Labels"):
        await process.execute(leases[name])
    process.clock.advance(TTL)
    await process.store.extend([_ref(leases["works"])], ttl=TTL)
    return Busy(run_id=created.run_id, lease=leases["works"])


def commands(busy: Busy, process: Process, *, operation_id: str | None = None) -> dict[str, Command[Any]]:
    """Return everything that can be asked of the run, by the name of the command."""
    run_id, lease, worker = busy.run_id, busy.lease, process.worker
    named: dict[str, Any] = {"run_id": run_id, "operation_id": operation_id}
    asked: tuple[Command[Any], ...] = (
        RunCreate(workflow_id="busy", input="x", idempotency_key=KEY),
        RunClaimPending(worker=worker),
        JobExecute(job=lease.key, worker=lease.worker, lease=lease),
        JobHeartbeat(beats=(Beat(lease=_ref(lease)),)),
        LeaseReapStale(),
        StagePollSuspended(worker=worker),
        TimerFireDue(),
        OutboxFlush(),
        RunTransition(run_id=run_id),
        RunResume(**named, name="answer", payload="yes", actor="somebody"),
        RunCancel(**named),
        RunPause(**named),
        RunUnpause(**named),
        RunRerunFrom(**named, from_stage_id="works"),
        RunRetry(**named),
        RunPrune(older_than=timedelta(seconds=1)),
    )
    return {command.type: command for command in asked}


def _ref(lease: Lease) -> LeaseRef:
    return LeaseRef(key=lease.key, epoch=lease.epoch)
