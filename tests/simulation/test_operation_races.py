"""One operation sent to two hosts at once, or sent again much later: everybody gets the one answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from holdfast import RunCancel, RunRerunFrom, RunStatus, stage, workflow
from holdfast.commands.run_cancel import RunCancelResult
from holdfast.entities.run import Run
from holdfast.entities.snapshot import RunSnapshot
from holdfast_adapters.memory import MemoryPersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.harness import Harness


@stage
async def shout(text: str) -> str:
    return text.upper()


LOUD = workflow("loud", input=str).pipe(shout)


class Interrupted(MemoryPersistence):
    """Lets somebody else act once, right before a decision reads the run."""

    def __init__(self) -> None:
        super().__init__(clock=FakeClock())
        self.meanwhile: Callable[[], Awaitable[object]] | None = None

    async def find_run(self, run_id: str) -> Run | None:
        await self._interrupt()
        return await super().find_run(run_id)

    async def find_snapshot(self, run_id: str) -> RunSnapshot | None:
        await self._interrupt()
        return await super().find_snapshot(run_id)

    async def _interrupt(self) -> None:
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()


@pytest.fixture
def store() -> Interrupted:
    return Interrupted()


@pytest.fixture
def harness(store: Interrupted) -> Harness:
    return Harness(LOUD, persistence=store)


def test_cancel_that_races_itself_is_answered_alike(harness: Harness, store: Interrupted) -> None:
    """The slower of two copies of one cancel tells that it cancelled the run, as the faster one did."""
    run_id = harness.start(LOUD, "hello")
    command = RunCancel(run_id=run_id, operation_id="op-1")
    store.meanwhile = lambda: harness.kernel.dispatch(command)
    expected = RunCancelResult(cancelled=True, status=RunStatus.CANCELLED)
    assert harness.dispatch(command) == expected
    assert harness.dispatch(command) == expected


def test_rerun_that_races_itself_is_answered_alike(harness: Harness, store: Interrupted) -> None:
    """The slower of two copies of one rerun is told its generation, not that the run is RUNNING."""
    run_id = harness.run(LOUD, "hello").run.id
    command = RunRerunFrom(run_id=run_id, from_stage_id="shout", operation_id="op-1")
    store.meanwhile = lambda: harness.kernel.dispatch(command)
    first = harness.dispatch(command)
    assert first.generation == 2
    assert harness.dispatch(command) == first
    assert harness.look(LOUD, run_id).run.generation == 2


def test_cancel_that_came_too_late_stays_answered_so(harness: Harness) -> None:
    """A copy of a cancel that was answered before a rerun does not cancel the rerun when it arrives at last."""
    run_id = harness.run(LOUD, "hello").run.id
    command = RunCancel(run_id=run_id, operation_id="op-1")
    too_late = RunCancelResult(cancelled=False, status=RunStatus.COMPLETED)
    assert harness.dispatch(command) == too_late
    harness.dispatch(RunRerunFrom(run_id=run_id, from_stage_id="shout"))
    assert harness.dispatch(command) == too_late
    harness.drain()
    assert harness.look(LOUD, run_id).status is RunStatus.COMPLETED


def test_cancel_without_an_operation_keeps_no_answer(harness: Harness) -> None:
    """A cancel that names no operation and comes too late leaves the run exactly as it was."""
    before = harness.run(LOUD, "hello").run
    harness.dispatch(RunCancel(run_id=before.id))
    assert harness.look(LOUD, before.id).run == before
