"""Workers as processes: signals, sudden death, and two of them on one file."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from pathlib import Path
from typing import Final

import pytest

from holdfast import Registry, RunStatus, Settings
from holdfast.entities.stage import StageStatus
from holdfast_hosts.wiring import Opened, open_kernel
from holdfast_hosts.worker import fewer_collections
from holdfast_hosts.worker.process import YOUNG_OBJECTS
from tests.hosts.scenes import PATIENCE, create, ended, events, until, until_blocking, working
from tests.hosts.worker_script import COUNT, FLOWS, HANG, LEASE, SETTINGS, WORK, Folder

ROOT: Final = Path(__file__).resolve().parents[2]


class Scenery:
    """A database file, a folder for signs, and worker processes on them."""

    def __init__(self, path: Path) -> None:
        self.url = f"sqlite:///{path / 'x.db'}"
        self.folder = Folder(path / "signs")
        self.folder.path.mkdir()

    def open(self) -> AbstractAsyncContextManager[Opened]:
        """Open the store in this process."""
        settings = Settings(lease_ttl=LEASE)
        registry = Registry(FLOWS)
        return open_kernel(self.url, registry=registry, services={Folder: self.folder}, settings=settings)

    @contextmanager
    def process(self) -> Generator[subprocess.Popen[bytes], None, None]:
        """Run a worker process until the context ends, at the latest."""
        command = [sys.executable, "-m", "tests.hosts.worker_script", self.url, str(self.folder.path)]
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
        try:
            until_blocking((self.folder.path / f"ready-{process.pid}").exists)
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def scenery(tmp_path: Path) -> Scenery:
    return Scenery(tmp_path)


async def create_one(scenery: Scenery) -> str:
    """Create a run that waits for the test."""
    async with scenery.open() as there:
        return await create(there, WORK)


async def stages_of(scenery: Scenery, run_id: str) -> dict[str, tuple[StageStatus, int]]:
    """Return status and attempt of each stage instance."""
    async with scenery.open() as there:
        return {one.key.stage_id: (one.status, one.attempt) for one in await there.persistence.list_stages(run_id)}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_first_signal_drains(scenery: Scenery, number: signal.Signals) -> None:
    """A worker process that is signalled finishes what it executes, hands back what follows, and ends well."""
    run_id = asyncio.run(create_one(scenery))
    with scenery.process() as process:
        until_blocking(lambda: scenery.folder.has("began"))
        process.send_signal(number)
        time.sleep(0.2)
        assert process.poll() is None
        scenery.folder.sign("go")
        assert process.wait(PATIENCE) == 0
    assert asyncio.run(stages_of(scenery, run_id)) == {
        "work": (StageStatus.COMPLETED, 1),
        "count": (StageStatus.READY, 0),
    }


def test_second_signal_aborts(scenery: Scenery) -> None:
    """A second signal ends the process at once; what it executed is handed back."""
    run_id = asyncio.run(create_one(scenery))
    with scenery.process() as process:
        until_blocking(lambda: scenery.folder.has("began"))
        process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 3
    assert asyncio.run(stages_of(scenery, run_id)) == {"work": (StageStatus.READY, 0)}


def test_stage_that_hangs_in_a_thread_does_not_keep_the_process(scenery: Scenery) -> None:
    """A process ends although a stage hangs in a thread that nobody can interrupt."""

    async def create_hanging() -> str:
        async with scenery.open() as there:
            return await create(there, HANG)

    run_id = asyncio.run(create_hanging())
    with scenery.process() as process:
        until_blocking(lambda: scenery.folder.has("began"))
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 3
    assert asyncio.run(stages_of(scenery, run_id)) == {"hang": (StageStatus.READY, 0)}


def test_killed_workers_job_is_recovered_by_another(scenery: Scenery) -> None:
    """The job of a worker that was killed is executed by another within its lease and the reap interval."""

    async def main() -> None:
        async with scenery.open() as there:
            run_id = await create(there, WORK)
            with scenery.process() as process:
                await until(lambda: scenery.folder.has("began"))
                async with working(there, SETTINGS):
                    process.kill()
                    process.wait()
                    killed = time.monotonic()
                    scenery.folder.sign("go")
                    assert await ended(there, run_id) == [RunStatus.COMPLETED]
                    took = time.monotonic() - killed
            told = [event.type.value for event in await events(there, run_id)]
            assert told.count("stage.lease_expired") == 1
            assert told.count("stage.completed") == 2
            # Half a second for a busy machine.
            assert took < (LEASE + SETTINGS.reap_interval).total_seconds() + 0.5

    asyncio.run(main())


def test_two_processes_share_one_file(scenery: Scenery) -> None:
    """Two worker processes and one in this process execute every stage of every run once, and all have a share."""

    async def main() -> None:
        async with scenery.open() as there:
            with scenery.process(), scenery.process():
                async with working(there, SETTINGS):
                    run_ids: list[str] = []
                    async with asyncio.timeout(PATIENCE):
                        while len(run_ids) < 60 or len(list(scenery.folder.path.glob("counted-*"))) < 3:
                            run_ids += [await create(there, COUNT) for _ in range(20)]
                            await asyncio.sleep(0.01)
                    assert await ended(there, *run_ids) == [RunStatus.COMPLETED] * len(run_ids)
            for run_id in run_ids:
                told = await events(there, run_id)
                assert [event.number for event in told] == list(range(1, len(told) + 1))
                assert [event.type.value for event in told].count("stage.completed") == 5
                outputs = await there.persistence.get_outputs(run_id, ["fifth"])
                assert outputs["fifth"].text == "6"
            assert await there.persistence.list_orphans(limit=1) == []

    asyncio.run(main())


def test_worker_notices_what_another_process_creates(scenery: Scenery) -> None:
    """A run that this process creates is found by a worker process within its longest pause."""
    with scenery.process():
        scenery.folder.sign("go")

        async def main() -> None:
            async with scenery.open() as there:
                assert await ended(there, await create(there, WORK)) == [RunStatus.COMPLETED]

        asyncio.run(main())
    assert scenery.folder.has("counted")
    assert not (scenery.folder.path / f"counted-{os.getpid()}").exists()


def test_garbage_is_collected_more_seldom_for_a_while() -> None:
    """What is there is left alone and thresholds rise within the context; a collector that is off stays off."""
    before = gc.get_threshold()
    try:
        gc.set_threshold(700, 9, 8)
        with fewer_collections():
            assert gc.get_threshold() == (YOUNG_OBJECTS, 9, 8)
            assert gc.get_freeze_count() > 0
        assert (gc.get_threshold(), gc.get_freeze_count()) == ((700, 9, 8), 0)
        for own in (0, YOUNG_OBJECTS + 1):
            gc.set_threshold(own, 9, 8)
            with fewer_collections():
                assert gc.get_threshold() == (own, 9, 8)
    finally:
        gc.set_threshold(*before)
