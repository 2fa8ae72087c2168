"""The processes that the kill test starts and kills: a worker, and a client that creates runs.

Usage: ``python kill_process.py worker STORE LEDGER`` or ``python kill_process.py client STORE ACKNOWLEDGED RUNS``.
"""

from __future__ import annotations

import asyncio
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import Final

from holdfast import Context, Registry, Retry, RunCreate, Settings, stage, workflow
from holdfast_hosts.settings import HeartbeatSettings, WorkerSettings
from holdfast_hosts.wiring import open_kernel
from holdfast_hosts.worker import run_worker

STAGES: Final = 5
LEASE: Final = timedelta(seconds=1)
REAP: Final = timedelta(milliseconds=250)
#: How long a stage pretends to work, so that there is work in the middle of which to kill until the last kill.
WORK_SECONDS: Final = 0.6


class Ledger:
    """A file outside the engine in which stages write what they do, one whole line at a time."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(self, *words: object) -> None:
        """Append one line; a single write to a file opened for appending is not torn by a kill."""
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())


@stage(name="step1", retry=Retry(100, base="10ms"))
async def work(number: int, ctx: Context[None]) -> int:
    """Write down that the work is done, and do it."""
    ctx.services[Ledger].write(ctx.run_id, ctx.stage_id, ctx.fence, ctx.attempt, ctx.idempotency_key)
    await asyncio.sleep(WORK_SECONDS)
    return number + 1


steps = workflow("steps", input=int).pipe(work)
for position in range(2, STAGES + 1):
    steps = steps.pipe(work.using(name=f"step{position}"))


async def serve(store: str, ledger: Path) -> None:
    """Be a worker until killed."""
    settings = WorkerSettings(
        reap_interval=REAP,
        poll_max=timedelta(milliseconds=50),
        heartbeat=HeartbeatSettings(tick=timedelta(milliseconds=100)),
    )
    async with open_kernel(
        store,
        registry=Registry([steps]),
        services={Ledger: Ledger(ledger)},
        settings=Settings(lease_ttl=LEASE),
    ) as opened:
        await run_worker(opened, settings=settings)


async def create(store: str, acknowledged: Path, runs: int) -> None:
    """Create runs one after the other and write down each that the engine acknowledged."""
    ledger = Ledger(acknowledged)
    async with open_kernel(store, registry=Registry([steps])) as opened:
        for number in range(runs):
            command = RunCreate(workflow_id="steps", input=number, idempotency_key=f"run-{number}")
            created = await opened.kernel.dispatch(command)
            ledger.write(number, created.run_id)


if __name__ == "__main__":
    role, store_url, path, *rest = sys.argv[1:]
    if role == "worker":
        asyncio.run(serve(store_url, Path(path)))
    else:
        asyncio.run(create(store_url, Path(path), int(rest[0])))
