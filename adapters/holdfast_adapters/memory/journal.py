"""Applies change-sets to the memory store: every check first, then every write, and all of it undone if one fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from holdfast.change import (
    Change,
    Committed,
    Duplicate,
    Fence,
    Finish,
    NewJob,
    Refusal,
    Requeue,
    RunPatch,
    Step,
    Suspend,
)
from holdfast.entities.operation import OperationRecord
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageKey, StageStatus
from holdfast.entities.timer import Timer
from holdfast.errors import LeaseLost, RunNotFound, StaleVersion
from holdfast.events import NewEvent
from holdfast.ports.queries import Annotation
from holdfast_adapters.memory.rows import InstanceRow, RunRow, owned
from holdfast_adapters.memory.store import Store

#: How to take back one write: a function and its arguments.
Undo = list[tuple[Callable[..., Any], tuple[Any, ...]]]


class MemoryJournal:
    """The Journal port in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def commit(self, changes: Sequence[Change]) -> Sequence[Committed | Refusal]:
        """Apply each change-set atomically, in order."""
        store = self._store
        with store.lock:
            now = store.now()
            return [self._commit(change, now) for change in changes]

    async def find_operation(self, *, tenant: str, scope: str, key: str) -> OperationRecord | None:
        """Return the stored outcome of an operation."""
        with self._store.lock:
            self._store.now()
            return self._store.operations.get((tenant, scope, key))

    async def is_settled(self, key: StageKey, *, epoch: int) -> bool:
        """Return whether the holder of that epoch settled the job."""
        with self._store.lock:
            self._store.now()
            run = self._store.runs.get(key.run_id)
            row = None if run is None else run.jobs.get(key) or run.records.get(key)
            return row is not None and row.settled_epoch == epoch

    def _commit(self, change: Change, now: datetime) -> Committed | Refusal:
        refusal = _refusal(change, self._store, now)
        if refusal is not None:
            return refusal
        undo: Undo = []
        try:
            return Application(change, self._store, now=now, undo=undo).apply()
        except BaseException:
            for function, arguments in reversed(undo):
                function(*arguments)
            raise


def _refusal(change: Change, store: Store, now: datetime) -> Refusal | None:
    for record in change.operations:
        earlier = store.operations.get((record.tenant, record.scope, record.key))
        if earlier is not None:
            return Duplicate(record=earlier)
    run = store.runs.get(change.run_id)
    if change.create is not None:
        return None if run is None else StaleVersion(f"Run {change.run_id}", expected="none", actual=run.status.value)
    if run is None:
        return RunNotFound(change.run_id)
    if change.fence is not None:
        lost = _lost(change.fence, run, now)
        if lost is not None:
            return LeaseLost(str(change.fence.key), epoch=change.fence.epoch, actual=lost)
    return _stale(change, run, now)


def _lost(fence: Fence, run: RunRow, now: datetime) -> str | None:
    row = run.jobs.get(fence.key)
    if row is None:
        return "the job is gone"
    if row.lease_until is None:
        return f"the job is {row.status.value} and not leased"
    if row.epoch != fence.epoch:
        return f"the job is leased with epoch {row.epoch}"
    if fence.expired and row.lease_until > now:
        return "the lease was extended"
    return None


def _stale(change: Change, run: RunRow, now: datetime) -> StaleVersion | None:
    require = change.require
    name = f"Run {change.run_id}"
    if run.status not in require.statuses:
        expected = " or ".join(sorted(status.value for status in require.statuses))
        return StaleVersion(name, expected=expected, actual=run.status.value)
    if require.version is not None and run.version != require.version:
        return StaleVersion(name, expected=f"version {require.version}", actual=f"version {run.version}")
    if change.fired is not None:
        timer = run.timers.get(change.fired)
        if timer is None or timer.due_at > now:
            actual = "none" if timer is None else "not due"
            return StaleVersion(f"Timer {change.fired} of run {change.run_id}", expected="due", actual=actual)
    return None


class Application:
    """One change-set being applied; notes how to take back each write before making it."""

    __slots__ = ("_change", "_now", "_run", "_store", "_undo")

    def __init__(self, change: Change, store: Store, *, now: datetime, undo: Undo) -> None:
        self._change = change
        self._store = store
        self._now = now
        self._undo = undo

    def apply(self) -> Committed:
        """Write everything and return the outcome."""
        change, store, undo = self._change, self._store, self._undo
        if change.create is not None:
            run = RunRow(change.create, now=self._now)
            undo.append((store.drop_run, (run,)))
            store.add_run(run)
        else:
            run = store.runs[change.run_id]
            undo.append((run.move_back, (run.move(),)))
            undo.append((_cut, (run.events, len(run.events))))
        self._run = run
        if change.settle is not None:
            self._settle(change.settle)
        if change.fired is not None:
            undo.append((run.timers.__setitem__, (change.fired, run.timers[change.fired])))
            del run.timers[change.fired]
        for stage_id in change.supersede:
            self._supersede(stage_id)
        opened = self._arrive() if change.arrivals else ()
        steps = [change.step, *(arrival.step for arrival in change.arrivals if arrival.gate in opened)]
        # Events of all steps are numbered before a closing run takes its jobs along, so order is that of the steps.
        for step in steps:
            self._events(step.events)
        for step in steps:
            self._step(step)
        if change.operations or change.logs or change.annotations or change.artifacts:
            self._notes()
        run.version += 1
        if steps[0].events or len(steps) > 1:
            for sink in store.sinks.values():
                sink.tell(change.run_id)
        return Committed(version=run.version, opened=opened)

    def _events(self, events: tuple[NewEvent, ...]) -> None:
        append, now = self._run.events.append, self._now
        for event in events:
            append((event.type, now, event.key, owned(event.data)))

    def _settle(self, settle: Finish | Requeue | Suspend) -> None:
        fence = self._change.fence
        assert fence is not None, "only a fenced job is settled"
        store, run = self._store, self._run
        row = run.jobs[fence.key]
        self._undo.append((row.restore, (row.saved(),)))
        self._unlease(row)
        if not fence.expired:
            row.settled_epoch = fence.epoch
        if isinstance(settle, Finish):
            row.output = settle.output
            row.failure = settle.failure
            row.metrics = dict(settle.metrics)
            self._retire(row, settle.status)
            return
        row.epoch += 1
        if isinstance(settle, Requeue):
            row.attempt = settle.attempt
            row.failure = settle.failure
            row.due_at = self._now + settle.delay
            if row.status is StageStatus.RUNNING:
                row.status = StageStatus.READY
            elif row.give_up_at is not None and self._now < row.give_up_at < row.due_at:
                row.due_at = row.give_up_at
        else:
            row.status = StageStatus.SUSPENDED
            row.attempt = 0
            row.failure = None
            row.state = settle.state
            row.give_up_at = self._now + settle.give_up_after
            row.due_at = self._now + settle.delay
        store.await_due(row)

    def _unlease(self, row: InstanceRow) -> None:
        leased = self._store.leased
        if row.key in leased:
            self._undo.append((leased.__setitem__, (row.key, row)))
            del leased[row.key]
        row.lease_until = None
        row.stamp = self._store.stamp()

    def _retire(self, row: InstanceRow, status: StageStatus) -> None:
        run, key = self._run, row.key
        row.status = status
        row.due_at = row.give_up_at = None
        row.finished_at = self._now
        self._undo.append((run.jobs.__setitem__, (key, row)))
        del run.jobs[key]
        self._undo.append((run.records.pop, (key,)))
        run.records[key] = row
        if status is StageStatus.COMPLETED:
            self._show(key.stage_id, row)

    def _show(self, stage_id: str, row: InstanceRow | None) -> None:
        visible = self._run.visible
        if stage_id in visible:
            self._undo.append((visible.__setitem__, (stage_id, visible[stage_id])))
        else:
            self._undo.append((visible.pop, (stage_id, None)))
        if row is None:
            visible.pop(stage_id, None)
        else:
            visible[stage_id] = row

    def _supersede(self, stage_id: str) -> None:
        self._show(stage_id, None)
        for row in self._run.records.values():
            if row.key.stage_id == stage_id and not row.superseded:
                self._undo.append((setattr, (row, "superseded", False)))
                row.superseded = True

    def _arrive(self) -> tuple[str, ...]:
        gates = self._run.gates
        opened: list[str] = []
        for arrival in self._change.arrivals:
            gate = (arrival.generation, arrival.gate)
            count = gates.get(gate, 0)
            self._undo.append((gates.__setitem__, (gate, count)) if count else (gates.pop, (gate, None)))
            if count + 1 >= arrival.arity:
                gates.pop(gate, None)
                opened.append(arrival.gate)
            else:
                gates[gate] = count + 1
        return tuple(opened)

    def _step(self, step: Step) -> None:
        for job in step.jobs:
            self._add(job)
        for new in step.timers:
            timer = Timer(run_id=self._change.run_id, id=new.id, kind=new.kind, due_at=self._now + new.delay)
            timers = self._run.timers
            before = timers.get(new.id)
            self._undo.append(
                (timers.pop, (new.id, None)) if before is None else (timers.__setitem__, (new.id, before))
            )
            timers[new.id] = timer
            self._store.await_timer(run_id=timer.run_id, timer_id=timer.id, due_at=timer.due_at)
        if step.run is not None:
            self._move(step.run)

    def _add(self, job: NewJob) -> None:
        store, run = self._store, self._run
        assert job.key not in run.jobs, f"{job.key} is live already"
        assert job.key not in run.records, f"{job.key} was done already"
        row = InstanceRow(job, run, stamp=store.stamp())
        self._undo.append((run.jobs.pop, (job.key,)))
        run.jobs[job.key] = row
        if job.grant is None:
            row.due_at = self._now + job.delay
            # A heap entry of a row that is taken back must be dead.
            self._undo.append((setattr, (row, "stamp", 0)))
            store.await_due(row)
            return
        row.status = StageStatus.RUNNING
        row.epoch = row.attempt = 1
        row.worker = job.grant.worker
        row.lease_until = self._now + job.grant.ttl
        row.started_at = self._now
        self._undo.append((store.leased.pop, (job.key,)))
        store.leased[job.key] = row

    def _move(self, patch: RunPatch) -> None:
        run, store, now = self._run, self._store, self._now
        was_live = not run.status.is_terminal
        run.status = patch.status
        run.failure = patch.failure
        run.output_of = patch.output_of
        if patch.closes:
            run.finished_at = now
            self._close()
            return
        run.finished_at = None
        if patch.generation is not None:
            run.generation = patch.generation
        if patch.status is RunStatus.RUNNING and (run.started_at is None or not was_live):
            run.started_at = now
        if not was_live:
            self._undo.append((store.live.pop, (run.header.id, None)))
            store.live[run.header.id] = run

    def _close(self) -> None:
        run, undo = self._run, self._undo
        for row in list(run.jobs.values()):
            undo.append((row.restore, (row.saved(),)))
            self._unlease(row)
            self._retire(row, StageStatus.CANCELLED)
        for content in (run.timers, run.gates):
            if content:
                undo.append((content.update, (dict(content),)))
                content.clear()
        undo.append((self._store.live.__setitem__, (run.header.id, run)))
        self._store.live.pop(run.header.id, None)

    def _notes(self) -> None:
        change, run, undo = self._change, self._run, self._undo
        for record in change.operations:
            identity = (record.tenant, record.scope, record.key)
            undo.append((self._store.operations.pop, (identity,)))
            self._store.operations[identity] = record
        if change.logs:
            undo.append((_cut, (run.logs, len(run.logs))))
            run.logs.extend(change.logs)
        undo.append((_cut, (run.annotations, len(run.annotations))))
        run.annotations.extend(
            Annotation(
                run_id=change.run_id,
                name=note.name,
                value=owned(note.value),
                key=note.key,
                attempt=note.attempt,
                actor=note.actor,
                at=self._now,
            )
            for note in change.annotations
        )
        for artifact in change.artifacts:
            before = run.artifacts.get(artifact.name)
            undo.append(
                (run.artifacts.pop, (artifact.name, None))
                if before is None
                else (run.artifacts.__setitem__, (artifact.name, before))
            )
            run.artifacts[artifact.name] = artifact


def _cut(rows: list[Any], length: int) -> None:
    del rows[length:]
