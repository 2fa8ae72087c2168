"""Runs workflows to their end in memory, without an event loop, without real time and without a worker process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar, overload

import attrs

from holdfast.authoring.classes import definition_of
from holdfast.authoring.flow import Flow
from holdfast.authoring.registry import Registry
from holdfast.change import ZERO, Grant
from holdfast.command import Command, Settings
from holdfast.commands.job_execute import JobExecute
from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.commands.outbox_flush import OutboxFlush
from holdfast.commands.run_cancel import RunCancel, RunCancelResult
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.commands.run_create import RunCreate
from holdfast.commands.run_pause import RunPause, RunPauseResult
from holdfast.commands.run_rerun_from import RunRerunFrom, RunRerunFromResult
from holdfast.commands.run_resume import RunResume, RunResumeResult
from holdfast.commands.run_retry import RunRetry, RunRetryResult
from holdfast.commands.run_unpause import RunUnpause, RunUnpauseResult
from holdfast.commands.timer_fire_due import TimerFireDue
from holdfast.decide.route import Keep
from holdfast.driving import run_sync
from holdfast.entities.definition import Definition
from holdfast.entities.run import Failure, Run, RunStatus
from holdfast.entities.stage import StageInstance
from holdfast.entities.wait import Wait
from holdfast.errors import RunNotFound
from holdfast.events import Event
from holdfast.kernel import Kernel
from holdfast.payloads import run_output
from holdfast.ports.blob_store import BlobStore
from holdfast.ports.event_sink import EventSink
from holdfast.ports.executor import Executor
from holdfast.ports.ids import Ids
from holdfast.ports.persistence import Persistence
from holdfast.ports.queries import RunFilter
from holdfast.ports.work import LeaseRequest
from holdfast_adapters.blobs.memory import MemoryBlobStore
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.transports import DatabaseTransport
from holdfast_testing.clock import FakeClock
from holdfast_testing.ids import SequentialIds
from holdfast_testing.schedulers import FakeScheduler

In = TypeVar("In")
Out = TypeVar("Out")
R = TypeVar("R")

#: A harness that takes more steps than this for one drain is going round in circles.
MAX_STEPS: Final = 100_000
#: The most events or stage instances of a run that the harness reads at once.
READ_LIMIT: Final = 1_000_000
WORKER: Final = "harness"


@attrs.frozen(kw_only=True)
class Ended(Generic[Out]):
    """A run as a test sees it once nothing is left to do."""

    run: Run
    #: The typed output; None unless the run is COMPLETED.
    output: Out | None
    events: tuple[Event, ...]
    stages: tuple[StageInstance, ...]
    #: What its stages have patched; empty for a workflow that has no state.
    state: Mapping[str, Any]

    @property
    def status(self) -> RunStatus:
        """Where the run stands."""
        return self.run.status

    @property
    def failure(self) -> Failure | None:
        """Why the run failed, if it did."""
        return self.run.failure

    def attempts(self, stage_id: str) -> int:
        """Return how many attempts of the stage were started, over all generations."""
        return sum(event.type.value == "stage.started" and _about(event, stage_id) for event in self.events)

    @property
    def story(self) -> tuple[str, ...]:
        """The timeline in short, such as ``stage.completed split``, for comparing as a whole."""
        return tuple(
            event.type.value if event.key is None else f"{event.type.value} {event.key.stage_id}"
            for event in self.events
        )


def _about(event: Event, stage_id: str) -> bool:
    return event.key is not None and event.key.stage_id == stage_id


class Harness:
    """A kernel on memory adapters and fake time, with a worker that does whatever is due, one thing after another.

    The worker serves every queue that the harness's workflows name, within the limits that were configured.

    Timers jump: when nothing is due, `drain` advances the clock to the next due instant. Async stages run without an
    event loop as long as they await nothing but the context and what completes at once; in a test with a loop use
    `adrain` and `arun`.
    """

    def __init__(  # noqa: PLR0913 - one argument for each thing that a test may replace
        self,
        *workflows: Flow[Any, Any] | type[Any],
        services: Mapping[type[Any], object] | None = None,
        settings: Settings | None = None,
        event_sink: EventSink | Sequence[EventSink] = (),
        persistence: Persistence | None = None,
        blob_store: BlobStore | None = None,
        executor: Executor | None = None,
        clock: FakeClock | None = None,
        ids: Ids | None = None,
    ) -> None:
        self.clock = clock or FakeClock()
        self.registry = Registry(workflows)
        self.persistence = persistence or MemoryPersistence(clock=self.clock)
        self.blob_store = blob_store or MemoryBlobStore()
        self.scheduler = FakeScheduler()
        self.transport = DatabaseTransport(self.persistence)
        self.kernel = Kernel(
            persistence=self.persistence,
            blob_store=self.blob_store,
            job_transport=self.transport,
            scheduler=self.scheduler,
            clock=self.clock,
            ids=ids or SequentialIds(self.clock),
            registry=self.registry,
            event_sink=event_sink,
            services=services,
            settings=settings,
            executor=executor,
            block_on=lambda awaitable: run_sync(_awaiting(awaitable)),
        )
        run_sync(self.persistence.open())

    def dispatch(self, command: Command[R]) -> R:
        """Carry out one command."""
        return run_sync(self.kernel.dispatch(command))

    @overload
    def start(self, workflow: Flow[In, Any], input: In, **options: Any) -> str: ...
    @overload
    def start(self, workflow: type[Any], input: Any, **options: Any) -> str: ...
    def start(self, workflow: Any, input: Any, **options: Any) -> str:
        """Create a run and return its id; *options* are further fields of `RunCreate`."""
        return run_sync(self.astart(workflow, input, **options))

    @overload
    async def astart(self, workflow: Flow[In, Any], input: In, **options: Any) -> str: ...
    @overload
    async def astart(self, workflow: type[Any], input: Any, **options: Any) -> str: ...
    async def astart(self, workflow: Any, input: Any, **options: Any) -> str:
        """Do what `start` does inside an event loop."""
        definition = self.know(workflow)
        command = RunCreate(workflow_id=definition.id, version=definition.version, input=input, **options)
        return (await self.kernel.dispatch(command)).run_id

    def know(self, workflow: Flow[Any, Any] | type[Any]) -> Definition:
        """Register the workflow unless that was done before, and return its definition."""
        definition = definition_of(workflow)
        if (definition.id, definition.version) not in self.registry.known():
            self.registry.add(workflow)
        return definition

    @overload
    def run(self, workflow: Flow[In, Out], input: In, **options: Any) -> Ended[Out]: ...
    @overload
    def run(self, workflow: type[Any], input: Any, **options: Any) -> Ended[Any]: ...
    def run(self, workflow: Any, input: Any, **options: Any) -> Ended[Any]:
        """Create a run, do everything that is or becomes due, and return the run as it ended."""
        run_id = self.start(workflow, input, **options)
        self.drain()
        return self.look(workflow, run_id)

    @overload
    async def arun(self, workflow: Flow[In, Out], input: In, **options: Any) -> Ended[Out]: ...
    @overload
    async def arun(self, workflow: type[Any], input: Any, **options: Any) -> Ended[Any]: ...
    async def arun(self, workflow: Any, input: Any, **options: Any) -> Ended[Any]:
        """Do what `run` does inside an event loop, so that stages may await anything."""
        run_id = await self.astart(workflow, input, **options)
        await self.adrain()
        return await self.alook(workflow, run_id)

    @overload
    def look(self, workflow: Flow[Any, Out], run_id: str) -> Ended[Out]: ...
    @overload
    def look(self, workflow: type[Any], run_id: str) -> Ended[Any]: ...
    def look(self, workflow: Any, run_id: str) -> Ended[Any]:
        """Return the run as it stands now.

        Raises:
            RunNotFound: If there is no such run.
        """
        return run_sync(self.alook(workflow, run_id))

    @overload
    async def alook(self, workflow: Flow[Any, Out], run_id: str) -> Ended[Out]: ...
    @overload
    async def alook(self, workflow: type[Any], run_id: str) -> Ended[Any]: ...
    async def alook(self, workflow: Any, run_id: str) -> Ended[Any]:
        """Do what `look` does inside an event loop."""
        run = await self.persistence.find_run(run_id)
        if run is None:
            raise RunNotFound(run_id)
        text = await run_output(run.output_of, run_id=run_id, persistence=self.persistence, blob_store=self.blob_store)
        output = None if text is None else definition_of(workflow).output.decode(text, what="output of the run")
        return Ended(
            run=run,
            output=output,
            events=tuple(await self.persistence.list_events(run_id, limit=READ_LIMIT)),
            stages=tuple(await self.persistence.list_stages(run_id)),
            state=await self.persistence.get_state(run_id),
        )

    def waits(self, run_id: str) -> tuple[Wait, ...]:
        """Return the waits of the run, whatever became of them, in the order in which they were opened."""
        return tuple(run_sync(self.persistence.list_run_waits(run_id, limit=READ_LIMIT)))

    def children(self, run_id: str) -> tuple[str, ...]:
        """Return the ids of the runs that the run has started, the oldest first."""
        found = run_sync(self.persistence.list_runs(RunFilter(parent_id=run_id), limit=READ_LIMIT))
        return tuple(run.id for run in reversed(found))

    def resume(
        self, run_id: str, name: str, payload: Any = None, *, actor: str | None = None, operation_id: str | None = None
    ) -> RunResumeResult:
        """Hand *payload* to the wait *name* of the run, or have it kept until there is one."""
        return self.dispatch(
            RunResume(run_id=run_id, name=name, payload=payload, actor=actor, operation_id=operation_id)
        )

    def resume_token(
        self, token: str, payload: Any = None, *, actor: str | None = None, operation_id: str | None = None
    ) -> RunResumeResult:
        """Hand *payload* to the wait that *token* is the right to answer."""
        return self.dispatch(RunResume(token=token, payload=payload, actor=actor, operation_id=operation_id))

    def pause(self, run_id: str, *, reason: str | None = None) -> RunPauseResult:
        """Hold the run back."""
        return self.dispatch(RunPause(run_id=run_id, reason=reason))

    def unpause(self, run_id: str) -> RunUnpauseResult:
        """Let the run go on."""
        return self.dispatch(RunUnpause(run_id=run_id))

    def cancel(self, run_id: str, *, reason: str | None = None) -> RunCancelResult:
        """Cancel the run."""
        return self.dispatch(RunCancel(run_id=run_id, reason=reason))

    def retry(self, run_id: str) -> RunRetryResult:
        """Let the failed run go on from where it failed."""
        return self.dispatch(RunRetry(run_id=run_id))

    def rerun(self, run_id: str, from_stage_id: str) -> RunRerunFromResult:
        """Do the run again from one of its stages."""
        return self.dispatch(RunRerunFrom(run_id=run_id, from_stage_id=from_stage_id))

    def drain(self, *, until: timedelta | None = None) -> int:
        """Do everything that is or becomes due, jumping over the time between, and return how many steps it took.

        Sleeps, limits of waits, delayed starts and deadlines are jumped over like any other time: to answer a wait
        that has a limit, drain with *until* before.

        Args:
            until: How far the clock may be advanced in all, zero for not at all; without a limit it goes on until
                nothing will be due.
        """
        return run_sync(self.adrain(until=until))

    async def adrain(self, *, until: timedelta | None = None) -> int:
        """Do what `drain` does inside an event loop."""
        left = until
        for steps in range(MAX_STEPS):
            if await self.step():
                continue
            due = await self.persistence.next_due()
            if due is None or (left is not None and due > left):
                return steps
            # What is due but cannot be done here, such as a workflow that is not registered, must not loop for ever.
            if due <= ZERO:
                return steps
            self.clock.advance(due)
            left = None if left is None else left - due
        raise AssertionError(f"the harness took {MAX_STEPS:,} steps; is a stage retried or polled for ever?")

    async def step(self) -> bool:
        """Do one thing that is due and return whether there was one."""
        kernel, keep = self.kernel, self._keep()
        leases = list(
            await self.transport.dequeue(
                LeaseRequest(
                    worker=WORKER,
                    limit=1,
                    ttl=kernel.ports.settings.lease_ttl,
                    known=self.registry.known(),
                    queues=keep.queues,
                )
            )
        )
        has_claimed = False
        if not leases:
            claim = RunClaimPending(worker=WORKER, max_claims=1, keep_queues=keep.queues)
            claimed = await kernel.dispatch(claim)
            has_claimed = bool(claimed.claimed)
            leases.extend(claimed.leases)
        for lease in leases:
            command: JobExecute | None = JobExecute(job=lease.key, worker=WORKER, lease=lease, keep=keep)
            while command is not None:
                executed = await kernel.dispatch(command)
                command = executed.next
        reaped = await kernel.dispatch(LeaseReapStale())
        fired = await kernel.dispatch(TimerFireDue())
        flushed = await kernel.dispatch(OutboxFlush())
        did = has_claimed or leases
        return bool(did or reaped.released or reaped.failed or fired.fired or flushed.published or flushed.failed)

    def _keep(self) -> Keep:
        """Return that the worker serves every queue that a workflow known here names."""
        definitions = [self.registry.get(workflow_id, version) for workflow_id, version in self.registry.known()]
        queues = {spec.queue for definition in definitions for spec in definition.stages.values()}
        grant = Grant(worker=WORKER, ttl=self.kernel.ports.settings.lease_ttl)
        return Keep(grant=grant, queues=frozenset(queues))


async def _awaiting(awaitable: Any) -> Any:
    return await awaitable
