"""Waiting for a run: woken by a worker of this process, else by looking now and then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial
from typing import Final

import attrs

from holdfast.commands.run_create import RunCreate
from holdfast.entities.run import Failure, Run, RunStatus
from holdfast.entities.stage import StageInstance
from holdfast.errors import RunNotFound
from holdfast.payloads import run_output
from holdfast.ports.definitions import Definitions
from holdfast_hosts.presence import Waiter
from holdfast_hosts.settings import WorkerSettings
from holdfast_hosts.wiring import Opened
from holdfast_hosts.worker import Worker


class RunGoesOn(TimeoutError):
    """Raise when the time to wait is over before the run has ended; nothing happened to the run."""

    def __init__(self, run_id: str, *, timeout: timedelta) -> None:
        self.run_id, self.timeout = run_id, timeout
        super().__init__(f"Run {run_id} has not ended within {timeout.total_seconds():g} s; it goes on.")


#: After a view that took so long to read, the next one is read when this many times as long is over.
VIEW_REST: Final = 20
#: Statuses in which nothing of a run executes, though it has not ended.
AT_REST: Final = frozenset({RunStatus.WAITING, RunStatus.PAUSED})


@attrs.frozen(kw_only=True)
class RunView:
    """A run with its visible stage instances, read at one instant."""

    run: Run
    stages: tuple[StageInstance, ...]


@attrs.frozen(kw_only=True)
class RunEnded:
    """A run that has ended."""

    run: Run
    #: The output as canonical JSON text; None unless the run is COMPLETED.
    output: str | None
    #: Every stage instance, superseded ones too, in order of start.
    stages: tuple[StageInstance, ...]

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self.run.id

    @property
    def status(self) -> RunStatus:
        """COMPLETED, FAILED or CANCELLED."""
        return self.run.status

    @property
    def failure(self) -> Failure | None:
        """Why the run failed, if it did."""
        return self.run.failure

    @property
    def duration(self) -> timedelta | None:
        """How long the present generation took from its admission; None if it was never admitted."""
        if self.run.started_at is None or self.run.finished_at is None:
            return None
        return self.run.finished_at - self.run.started_at


async def wait_for_run(
    opened: Opened,
    run_id: str,
    *,
    on_change: Callable[[RunView], object] | None = None,
    on_rest: Callable[[Run], Awaitable[object]] | None = None,
    timeout: timedelta | None = None,  # noqa: ASYNC109 - a limit of the host's, carried out by asyncio.timeout
    settings: WorkerSettings | None = None,
) -> RunEnded:
    """Return the run when it has ended, whoever executes it.

    Args:
        opened: Where the run is.
        run_id: Its id.
        on_change: Called with the run whenever it is seen changed, once for each change that is seen, the first too.
        on_rest: Awaited whenever the run is looked at and waits or is paused; what it raises ends the waiting.
        timeout: How long to wait at most.
        settings: How often to look.

    Raises:
        RunNotFound: If there is no such run.
        RunGoesOn: If it has not ended in time.
    """
    settings = settings or WorkerSettings()
    limit = None if timeout is None else timeout.total_seconds()
    scope = asyncio.timeout(limit)
    try:
        async with scope:
            return await _wait(opened, run_id, on_change=on_change, on_rest=on_rest, settings=settings)
    except TimeoutError:
        if timeout is None or not scope.expired():
            raise
        raise RunGoesOn(run_id, timeout=timeout) from None


async def run_and_wait(
    opened: Opened,
    create: RunCreate,
    *,
    on_change: Callable[[RunView], object] | None = None,
    on_rest: Callable[[Run], Awaitable[object]] | None = None,
    timeout: timedelta | None = None,  # noqa: ASYNC109 - a limit of the host's, carried out by asyncio.timeout
    settings: WorkerSettings | None = None,
) -> RunEnded:
    """Create a run and return it when it has ended.

    A worker that runs in this process is used and left running. Without one, a worker is started, and stopped at the
    end whatever happens: drained when the run has ended, at once when waiting was cancelled or went wrong.

    Args:
        opened: Where the run is created.
        create: The run.
        on_change: Called with the run whenever it is seen changed.
        on_rest: Awaited whenever the run is looked at and waits or is paused; what it raises ends the waiting.
        timeout: How long to wait at most.
        settings: The settings of the worker that is started; by default it serves every queue of the workflows here.

    Raises:
        Rejected: If the run cannot be created.
        RunGoesOn: If it has not ended in time.
    """
    if settings is None:
        settings = WorkerSettings(queues=_queues(opened.kernel.ports.definitions))
    created = await opened.kernel.dispatch(create)
    end = partial(
        wait_for_run,
        opened,
        created.run_id,
        on_change=on_change,
        on_rest=on_rest,
        timeout=timeout,
        settings=settings,
    )
    worker = None if opened.presence.has_worker else Worker(opened, settings=settings)
    if worker is None:
        return await end()
    await worker.start()
    try:
        return await end()
    except BaseException:
        worker.abort()
        raise
    finally:
        await worker.stop()


def _queues(definitions: Definitions) -> frozenset[str]:
    """Return every queue that a workflow known here names."""
    known = (definitions.get(workflow_id, version) for workflow_id, version in definitions.known())
    return frozenset(spec.queue for definition in known for spec in definition.stages.values())


async def _wait(
    opened: Opened,
    run_id: str,
    *,
    on_change: Callable[[RunView], object] | None,
    on_rest: Callable[[Run], Awaitable[object]] | None,
    settings: WorkerSettings,
) -> RunEnded:
    shortest, longest = settings.poll_min, settings.poll_max
    seen, pause = 0, shortest
    clock, next_view = opened.clock, 0.0
    with opened.presence.waiting(run_id) as waiter:
        while True:
            waiter.moved.clear()
            waiter.at_rest.clear()
            run = await opened.persistence.find_run(run_id)
            if run is None:
                raise RunNotFound(run_id)
            is_end = run.status.is_terminal
            if run.version != seen:
                pause = shortest
                if on_change is None:
                    seen = run.version
                elif is_end or clock.monotonic() >= next_view:
                    began = clock.monotonic()
                    seen = await _show(opened, run_id, on_change=on_change)
                    # A view of a run with very many stages takes long to read; the run is to get on meanwhile.
                    next_view = clock.monotonic() + VIEW_REST * (clock.monotonic() - began)
            if is_end and run.version == seen:
                return await _ended(opened, run)
            if on_rest is not None and run.status in AT_REST:
                await on_rest(run)
            await _pause(waiter, pause=pause, shortest=shortest)
            pause = min(pause * 2, longest)


async def _show(opened: Opened, run_id: str, *, on_change: Callable[[RunView], object]) -> int:
    snapshot = await opened.persistence.find_snapshot(run_id)
    if snapshot is None:
        raise RunNotFound(run_id)
    on_change(RunView(run=snapshot.run, stages=snapshot.stages))
    return snapshot.run.version


async def _ended(opened: Opened, run: Run) -> RunEnded:
    output = await run_output(
        run.output_of, run_id=run.id, persistence=opened.persistence, blob_store=opened.blob_store
    )
    return RunEnded(run=run, output=output, stages=tuple(await opened.persistence.list_stages(run.id)))


async def _pause(waiter: Waiter, *, pause: timedelta, shortest: timedelta) -> None:
    """Wait until something happened; a run that moves on by itself is looked at once in a while, not at each job."""
    try:
        async with asyncio.timeout(pause.total_seconds()):
            await waiter.moved.wait()
        async with asyncio.timeout(shortest.total_seconds()):
            await waiter.at_rest.wait()
    except TimeoutError:
        return
