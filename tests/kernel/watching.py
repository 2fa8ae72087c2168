"""A harness whose store checks after every write that what must hold at every commit does hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, Protocol, cast

import attrs

from holdfast import Flow, Registry, run_sync
from holdfast.change import Change, Committed, Refusal
from holdfast.commands.job_execute import JobExecute, JobExecuted
from holdfast.commands.run_claim_pending import RunClaimPending, RunClaimPendingResult
from holdfast.entities.run import Run
from holdfast.entities.stage import Lease, StageInstance, StageKey, StageStatus
from holdfast.events import Event
from holdfast.ports.persistence import Persistence
from holdfast.ports.work import LeaseRequest
from holdfast_testing.clock import FakeClock
from holdfast_testing.faults import FaultPlan, faulty
from holdfast_testing.harness import Harness
from holdfast_testing.invariants import Ledger, Observation, observe, witnessed
from tests.kernel.behaviour.flows import Calls

MANY: Final = 100_000
LEASE_TTL: Final = timedelta(seconds=30)


class WatchedStore:
    """A store that notes what is asked, lets somebody else be faster, and raises when a write broke a promise."""

    def __init__(self, store: Persistence, ledger: Ledger) -> None:
        self._store = store
        self._ledger = ledger
        #: The methods that were called, in order.
        self.calls: list[str] = []
        #: Every change-set that stands, in order.
        self.committed: list[Change] = []
        #: What happens once, just before the next commit reaches the store.
        self.before_commit: Callable[[], object] | None = None
        #: Whether a run may lack what should follow; only for tests that break a run in order to mend it.
        self.may_lack = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)

        async def noted(*args: Any, **options: Any) -> Any:
            self.calls.append(name)
            answer = await method(*args, **options)
            self._check()
            return answer

        return noted

    async def commit(self, changes: Sequence[Change]) -> Sequence[Committed | Refusal]:
        """Commit, after somebody else who is faster."""
        meddle, self.before_commit = self.before_commit, None
        if meddle is not None:
            meddle()
        self.calls.append("commit")
        outcomes = await self._store.commit(changes)
        self._check()
        self.committed += [
            change for change, outcome in zip(changes, outcomes, strict=True) if isinstance(outcome, Committed)
        ]
        return outcomes

    def _check(self) -> None:
        if self.may_lack:
            self._ledger.violations[:] = [one for one in self._ledger.violations if one.invariant != "I25"]
        assert not self._ledger.violations, "\n".join(map(str, self._ledger.violations))


class WatchedHarness(Harness):
    """A harness on a watched store, with short words for what tests do one step at a time.

    Without a ledger nothing is checked, for what happens in several tasks or threads at once. With a plan the calls
    of the store fail as planned.
    """

    def __init__(
        self,
        *flows: Flow[Any, Any],
        persistence: Persistence,
        clock: FakeClock,
        ledger: Ledger | None,
        plan: FaultPlan | None = None,
        services: Mapping[type[Any], object] | None = None,
        **options: Any,
    ) -> None:
        registry = Registry(flows)
        if ledger is not None:
            persistence = witnessed(persistence, ledger=ledger, clock=clock, definitions=registry)
        self.store = WatchedStore(persistence, ledger or Ledger())
        self.calls = Calls(clock)
        watched = cast(Persistence, self.store)
        super().__init__(
            *flows,
            persistence=watched if plan is None else faulty(watched, plan),
            clock=clock,
            services={Calls: self.calls, FakeClock: clock, **(services or {})},
            **options,
        )

    def admit(self) -> RunClaimPendingResult:
        """Admit every pending run without leasing its jobs."""
        return self.dispatch(RunClaimPending(worker="w1", max_claims=MANY))

    def lease(
        self, *, worker: str = "w1", limit: int = 1, statuses: frozenset[StageStatus] | None = None
    ) -> list[Lease]:
        """Lease jobs that are due."""
        request = LeaseRequest(worker=worker, limit=limit, ttl=LEASE_TTL, known=self.registry.known())
        if statuses is not None:
            request = attrs.evolve(request, statuses=statuses)
        return list(run_sync(self.transport.dequeue(request)))

    def execute(self, lease: Lease) -> JobExecuted:
        """Execute the leased job, and nothing after it."""
        return self.dispatch(JobExecute(job=lease.key, worker=lease.worker, lease=lease))

    def deliver(self, key: StageKey, *, worker: str = "w1") -> JobExecuted:
        """Execute the job that a message names, as a broker would have it."""
        return self.dispatch(JobExecute(job=key, worker=worker))

    def work_off(self) -> list[JobExecuted]:
        """Lease and execute one job after the other until none is due now; time does not move."""
        done: list[JobExecuted] = []
        while leases := self.lease():
            done += [self.execute(lease) for lease in leases]
        return done

    def run_of(self, run_id: str) -> Run:
        """Return the run."""
        run = run_sync(self.persistence.find_run(run_id))
        assert run is not None, "the run exists"
        return run

    def failure_of(self, run_id: str) -> tuple[str, str | None]:
        """Return why the run failed and where, in short."""
        failure = self.run_of(run_id).failure
        assert failure is not None, "the run has failed"
        return failure.code, failure.stage_id

    def stage(self, run_id: str, stage_id: str, *, generation: int = 1) -> StageInstance:
        """Return one stage instance."""
        key = StageKey(run_id=run_id, stage_id=stage_id, generation=generation)
        found = run_sync(self.persistence.find_stage(key))
        assert found is not None, f"there is {key}"
        return found

    def statuses(self, run_id: str) -> dict[str, StageStatus]:
        """Return the status of each stage's newest instance."""
        stages = sorted(run_sync(self.persistence.list_stages(run_id)), key=lambda stage: stage.key.generation)
        return {stage.key.stage_id: stage.status for stage in stages}

    def events(self, run_id: str) -> list[Event]:
        """Return the run's timeline."""
        return list(run_sync(self.persistence.list_events(run_id, limit=MANY)))

    def picture(self, run_id: str) -> Observation | None:
        """Return the run with all of its stage instances and events."""
        return run_sync(observe(self.persistence, run_id))

    def kinds(self, run_id: str) -> list[str]:
        """Return what the run's timeline tells, in short."""
        return [event.type.value for event in self.events(run_id)]


class MakeHarness(Protocol):
    """Makes harnesses on the store that the test runs on; those of one test share its clock and its store."""

    def __call__(self, *flows: Flow[Any, Any], **options: Any) -> WatchedHarness: ...
