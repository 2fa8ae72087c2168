"""A worker process for tests: executes the flow of the test on a SQLite file until it is signalled or killed."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import timedelta
from pathlib import Path

from holdfast import Context, Flow, Registry, Retry, Settings, stage, workflow
from holdfast_hosts.settings import HeartbeatSettings, WorkerSettings
from holdfast_hosts.wiring import open_kernel
from holdfast_hosts.worker import exit_process, run_worker


class Folder:
    """Where stages and the test leave signs for each other."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def sign(self, name: str) -> None:
        """Leave a sign that this process was here."""
        (self.path / f"{name}-{os.getpid()}").touch()

    def has(self, name: str) -> bool:
        """Return whether anybody left the sign."""
        return any(self.path.glob(f"{name}-*"))


@stage(retry=Retry(3))
async def work(number: int, ctx: Context) -> int:
    """Wait for the sign to go on, without blocking the loop."""
    folder = ctx.services[Folder]
    folder.sign("began")
    while not folder.has("go"):
        await asyncio.sleep(0.005)
    return number + 1


@stage(retry=Retry(3))
def hang(number: int, ctx: Context) -> int:
    """Hang in a thread, whatever it is told."""
    ctx.services[Folder].sign("began")
    time.sleep(600)
    return number


@stage(retry=Retry(3))
async def count(number: int, ctx: Context) -> int:
    """Note which process was here, and add one."""
    ctx.services[Folder].sign("counted")
    return number + 1


WORK: Flow[int, int] = workflow("work", input=int, version="1").pipe(work).pipe(count)
HANG: Flow[int, int] = workflow("hang", input=int, version="1").pipe(hang)
COUNT: Flow[int, int] = (
    workflow("count", input=int, version="1")
    .pipe(count)
    .pipe(count.using(name="second"))
    .pipe(count.using(name="third"))
    .pipe(count.using(name="fourth"))
    .pipe(count.using(name="fifth"))
)
FLOWS = (WORK, HANG, COUNT)
LEASE = timedelta(seconds=1)
SETTINGS = WorkerSettings(
    concurrency=2,
    heartbeat=HeartbeatSettings(tick=timedelta(milliseconds=50)),
    reap_interval=timedelta(milliseconds=200),
    poll_max=timedelta(milliseconds=50),
)


async def main(url: str, folder: Folder) -> int:
    """Work until a signal comes; 3 stands for an aborted worker."""
    settings = Settings(lease_ttl=LEASE)
    registry = Registry(FLOWS)
    async with open_kernel(url, registry=registry, services={Folder: folder}, settings=settings) as opened:
        folder.sign("ready")
        stats = await run_worker(opened, settings=SETTINGS)
    folder.sign("ended")
    return 3 if stats.aborted else 0


if __name__ == "__main__":
    exit_process(asyncio.run(main(sys.argv[1], Folder(Path(sys.argv[2])))))
