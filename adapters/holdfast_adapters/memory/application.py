"""Writes change-sets that passed their checks into the memory store, noting how to take back each write."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from holdfast.change import (
    Arrival,
    Change,
    Committed,
    Fence,
    Finish,
    NewAnnotation,
    NewJob,
    NewTimer,
    Requeue,
    RunPatch,
    Step,
    Suspend,
)
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.entities.timer import Timer
from holdfast.ports.queries import Annotation, LogLine
from holdfast_adapters.memory.rows import InstanceRow, Place, RunRow, TimerRow, owned, place
from holdfast_adapters.memory.store import Store
from holdfast_adapters.memory.undo import Undo


class Application:
    """The change-sets of one call being applied at one instant."""

    __slots__ = ("_store", "_undo", "now")

    def __init__(self, store: Store, *, now: datetime, undo: Undo) -> None:
        self._store = store
        self._undo = undo
        self.now = now

    def apply(self, change: Change) -> Committed:
        """Write everything that *change* says and return the outcome; nothing in it may be refused any more."""
        store = self._store
        run = self._begin(change)
        told = len(run.events)
        if change.settle is not None:
            assert change.fence is not None, "only a fenced job is settled"
            self._settle(run, change.fence, change.settle)
        if change.fired is not None:
            self._drop_timer(run, change.fired)
        for stage_id in change.supersede:
            self._supersede(run, stage_id)
        closes = self._step(run, change.step)
        opened: list[str] = []
        for arrival in change.arrivals:
            if self._opens(run, arrival):
                opened.append(arrival.gate)
                closes = self._step(run, arrival.step) or closes
        if closes:
            self._close(run)
        self._keep(run, change)
        run.version += 1
        if len(run.events) > told:
            for sink in store.sinks.values():
                sink.tell(run, self.now, self._undo)
        return Committed(version=run.version, opened=tuple(opened))

    def _begin(self, change: Change) -> RunRow:
        store = self._store
        if change.create is None:
            run = store.runs[change.run_id]
            self._undo.append((run.restore, run.saved()))
            return run
        run = RunRow(change.create, now=self.now, stamp=store.stamp())
        self._undo.append((store.drop_run, (run,)))
        store.add_run(run)
        self._count(run.status, 1)
        return run

    def _step(self, run: RunRow, step: Step) -> bool:
        """Write what follows and return whether it ends the run."""
        for event in step.events:
            run.events.append((event.type, self.now, event.key, owned(event.data)))
        for job in step.jobs:
            self._add_job(run, job)
        for timer in step.timers:
            self._set_timer(run, timer)
        if step.run is None:
            return False
        self._move(run, step.run)
        return step.run.closes

    def _settle(self, run: RunRow, fence: Fence, settle: Finish | Requeue | Suspend) -> None:
        row = run.jobs[place(fence.key)]
        self._undo.append((row.restore, row.saved()))
        row.lease_until = None
        if not fence.expired:
            row.settled_epoch = fence.epoch
        if isinstance(settle, Finish):
            row.output = settle.output
            row.failure = settle.failure
            if settle.metrics:
                row.metrics = dict(settle.metrics)
            self._retire(run, row, settle.status)
            return
        row.epoch += 1
        due_at = self.now + settle.delay
        if isinstance(settle, Suspend):
            row.status = StageStatus.SUSPENDED
            row.attempt = 0
            row.failure = None
            row.state = settle.state
            row.give_up_at = self.now + settle.give_up_after
        else:
            row.attempt = settle.attempt
            row.failure = settle.failure or row.failure
            if row.status is StageStatus.RUNNING:
                row.status = StageStatus.READY
            elif row.give_up_at is not None and self.now < row.give_up_at < due_at:
                due_at = row.give_up_at
        self._await_due(row, due_at)

    def _await_due(self, row: InstanceRow, due_at: datetime) -> None:
        row.stamp = self._store.stamp()
        row.due_at = due_at
        self._store.delayed.add(due_at, row)

    def _retire(self, run: RunRow, row: InstanceRow, status: StageStatus) -> None:
        """Make a record of a live job whose state is noted for undoing already."""
        row.stamp = 0
        row.status = status
        row.due_at = row.give_up_at = row.lease_until = None
        row.finished_at = self.now
        self._undo.append((run.jobs.__setitem__, (row.place, row)))
        del run.jobs[row.place]
        if status is StageStatus.COMPLETED and row.output is not None:
            stage_id = row.key.stage_id
            self._put(run.outputs, stage_id, row)

    def _put(self, content: dict[Any, Any], name: object, value: object) -> None:
        """Set one member of *content*, which may replace another."""
        undo = (content.__setitem__, (name, content[name])) if name in content else (content.pop, (name, None))
        self._undo.append(undo)
        content[name] = value

    def _drop(self, content: dict[Any, Any], name: object) -> None:
        """Remove one member of *content* if it is there."""
        if name in content:
            self._undo.append((content.__setitem__, (name, content[name])))
            del content[name]

    def _supersede(self, run: RunRow, stage_id: str) -> None:
        self._drop(run.outputs, stage_id)
        for row in run.instances.values():
            if row.key.stage_id == stage_id and row.status.is_terminal:
                self._undo.append((row.restore, row.saved()))
                row.superseded = True

    def _opens(self, run: RunRow, arrival: Arrival) -> bool:
        """Count the arrival and return whether it opens its gate."""
        arrived = 1
        if arrival.arity > 1:
            gate = (arrival.generation, arrival.gate)
            arrived += run.gates.get(gate, (0, 0))[0]
            self._put(run.gates, gate, (arrived, arrival.arity))
        return arrived == arrival.arity

    def _add_job(self, run: RunRow, job: NewJob) -> None:
        store, at = self._store, place(job.key)
        assert at not in run.instances, f"{job.key} exists already"
        row = InstanceRow(job, run, at=at, stamp=store.stamp())
        self._undo.append((_forget, (run, at, row)))
        run.instances[at] = run.jobs[at] = row
        grant = job.grant
        if grant is None:
            row.due_at = due_at = self.now + job.delay
            store.delayed.add(due_at, row)
            return
        row.status = StageStatus.RUNNING
        row.epoch = row.attempt = 1
        row.worker = grant.worker
        row.started_at = self.now
        row.lease_until = until = self.now + grant.ttl
        store.leases.add(until, row)

    def _set_timer(self, run: RunRow, new: NewTimer) -> None:
        self._drop_timer(run, new.id)
        due_at = self.now + new.delay
        timer = Timer(run_id=run.header.id, id=new.id, kind=new.kind, due_at=due_at)
        row = TimerRow(timer, stamp=self._store.stamp())
        self._undo.append((setattr, (row, "stamp", 0)))
        self._put(run.timers, new.id, row)
        self._store.timers.add(due_at, row)

    def _drop_timer(self, run: RunRow, timer_id: str) -> None:
        row = run.timers.get(timer_id)
        if row is not None:
            self._undo.append((setattr, (row, "stamp", row.stamp)))
            row.stamp = 0
            self._drop(run.timers, timer_id)

    def _move(self, run: RunRow, patch: RunPatch) -> None:
        before = run.status
        self._count(before, -1)
        self._count(patch.status, 1)
        if before is RunStatus.PENDING:
            # It leaves the agenda of pending runs.
            run.stamp = 0
        run.status = patch.status
        run.failure = patch.failure
        run.output_of = patch.output_of
        run.finished_at = None
        if patch.generation is not None:
            run.generation = patch.generation
        if patch.status is RunStatus.RUNNING and (run.started_at is None or before.is_terminal):
            run.started_at = self.now
        if before.is_terminal:
            self._put(self._store.live, run.header.id, run)

    def _count(self, status: RunStatus, more: int) -> None:
        statuses = self._store.statuses
        self._undo.append((statuses.__setitem__, (status, statuses[status])))
        statuses[status] += more

    def _close(self, run: RunRow) -> None:
        """Close everything of a run that ended; what its last change-set made goes with the rest."""
        run.finished_at = self.now
        for row in list(run.jobs.values()):
            self._undo.append((row.restore, row.saved()))
            row.failure = None
            self._retire(run, row, StageStatus.CANCELLED)
        for timer_id in list(run.timers):
            self._drop_timer(run, timer_id)
        for gate in list(run.gates):
            self._drop(run.gates, gate)
        self._drop(self._store.live, run.header.id)

    def _keep(self, run: RunRow, change: Change) -> None:
        for record in change.operations:
            self._put(self._store.operations, (record.tenant, record.scope, record.key), record)
        for artifact in change.artifacts:
            self._put(run.artifacts, artifact.name, artifact)
        for checkpoint in change.checkpoints:
            place = (checkpoint.key, checkpoint.name)
            if place not in run.checkpoints:
                self._put(run.checkpoints, place, checkpoint.result)
        for note in change.annotations:
            self._append(run.annotations, self._annotation(run, note))
        for new in change.logs:
            line = LogLine(
                key=new.key, attempt=new.attempt, level=new.level, message=new.message, data=owned(new.data), at=new.at
            )
            self._append(run.logs, line)

    def _append(self, rows: list[Any], row: object) -> None:
        self._undo.append((_cut, (rows, len(rows))))
        rows.append(row)

    def _annotation(self, run: RunRow, note: NewAnnotation) -> Annotation:
        return Annotation(
            run_id=run.header.id,
            name=note.name,
            value=owned(note.value),
            key=note.key,
            attempt=note.attempt,
            actor=note.actor,
            at=self.now,
        )


def _forget(run: RunRow, at: Place, row: InstanceRow) -> None:
    # Its entry in an agenda must be dead.
    row.stamp = 0
    run.jobs.pop(at, None)
    run.instances.pop(at, None)


def _cut(rows: list[Any], length: int) -> None:
    del rows[length:]
