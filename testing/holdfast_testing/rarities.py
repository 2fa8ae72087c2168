"""What a simulation must have met to have seen anything: rare things that happen, counted by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from holdfast.change import Change, Committed, Duplicate, Held, Refusal
from holdfast.driving import run_sync
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.errors import LeaseLost
from holdfast.events import Event, EventType
from holdfast.ports.clock import Clock
from holdfast.ports.persistence import Persistence
from holdfast_adapters.memory import MemoryPersistence
from holdfast_testing.invariants import Observation


class CountingStore(MemoryPersistence):
    """The store of all processes, which counts the rare things that happen to it."""

    def __init__(self, clock: Clock, happened: Counter[str]) -> None:
        super().__init__(clock=clock)
        self._happened = happened
        run_sync(self.open())

    def connect(self) -> Persistence:
        """Return the one store there is."""
        return self

    def discard(self) -> None:
        """Leave it to be forgotten."""

    async def commit(self, changes: Sequence[Change]) -> Sequence[Committed | Refusal]:
        """Commit and count what is rare."""
        outcomes = await super().commit(changes)
        for change, outcome in zip(changes, outcomes, strict=True):
            await self._count(change, outcome)
        return outcomes

    async def _count(self, change: Change, outcome: Committed | Refusal) -> None:
        happened, fence = self._happened, change.fence
        if isinstance(outcome, Committed):
            self._count_steps(change, outcome)
        elif isinstance(outcome, Duplicate):
            happened[f"{outcome.record.command} raced itself"] += 1
        elif isinstance(outcome, Held):
            happened["key in use" if outcome.result.output is None else "key used before"] += 1
        elif change.answers:
            happened["answer or limit came too late"] += 1
        elif isinstance(outcome, LeaseLost) and fence is not None:
            run = await self.find_run(change.run_id)
            happened["reaper lost its race" if fence.expired else "stale commit fenced"] += 1
            if run is not None and run.status is RunStatus.CANCELLED:
                happened["cancel between execution and commit"] += 1
            if run is not None and run.status is RunStatus.COMPENSATING:
                happened["undoing began between execution and commit"] += 1
            if run is not None and run.generation > fence.key.generation:
                happened["zombie of an older generation fenced"] += 1

    def _count_steps(self, change: Change, outcome: Committed) -> None:
        happened, fence = self._happened, change.fence
        for step in outcome.steps:
            behind = step.jobs[0].key.stage_id if step.jobs else "nothing" if step.run is None else "the end"
            happened[f"join before {behind} resolved by {fence.key.stage_id if fence else 'nobody'}"] += 1
        if outcome.withheld:
            happened["grant met a pause"] += 1
        facts = [event for event in change.step.events if event.data.get("stage")]
        if any(event.data.get("code") == "LEASE_EXPIRED" for event in facts):
            happened["attempts used up by deaths alone"] += 1


def rarities(seen: Iterable[Observation]) -> Counter[str]:
    """Return how often rare things happened that the timelines of runs tell of."""
    happened: Counter[str] = Counter()
    for observed in seen:
        for event in observed.events:
            name = _rare(event)
            if name is not None:
                happened[name] += 1
        if observed.run.status is RunStatus.COMPLETED:
            statuses = {stage.status for stage in observed.stages.values() if not stage.superseded}
            happened["completed beside a failed stage"] += StageStatus.FAILED in statuses
            happened["completed beside a skipped stage"] += StageStatus.SKIPPED in statuses
            happened["completed before all that a join had asked"] += StageStatus.CANCELLED in statuses
    return happened


def _rare(event: Event) -> str | None:
    data = event.data
    if event.type is EventType.STAGE_RESUMED:
        if data.get("early"):
            return "message came before its wait"
        return "parent heard of its child" if "child" in data else "wait answered"
    if event.type is EventType.RUN_CANCELLED and data.get("reason", "").startswith("Its parent"):
        return "child cancelled with its parent"
    if event.type is EventType.RUN_COMPENSATING:
        return f"undone because {data['because']}"
    if event.type is EventType.STAGE_COMPLETED and data.get("cached"):
        return "result taken over"
    return {
        EventType.STAGE_WAIT_EXPIRED: "limit of a wait reached",
        EventType.STAGE_KEY_AWAITED: "key awaited",
        EventType.RUN_RETRIED: "run retried",
        EventType.RUN_DUE: "delayed run let go",
        EventType.RUN_UNPAUSED: "run went on after a pause",
    }.get(event.type)
