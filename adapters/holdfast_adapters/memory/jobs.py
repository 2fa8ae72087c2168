"""Stage instances as change-sets make, settle, wake and retire them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from holdfast.change import Fence, Finish, NewJob, Park, Requeue, Suspend
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageKey, StageStatus
from holdfast.entities.wait import WaitStatus
from holdfast.events import EventType
from holdfast.traces import Answer, Supersede
from holdfast_adapters.memory.rows import InstanceRow, Place, RunRow, place, slot
from holdfast_adapters.memory.waiting import Waiting

#: Of the epochs that were lost on one job this many are remembered; reaping counts as an attempt, so few ever are.
_MOST_LOST = 32
_UNDONE = frozenset({StageStatus.FAILED, StageStatus.CANCELLED})


class Jobs(Waiting):
    """What becomes of stage instances."""

    __slots__ = ("_grants",)

    #: Jobs that asked for a grant: whether they get it depends on where the change-set leaves the run.
    _grants: list[tuple[InstanceRow, NewJob]]

    def _add_job(self, run: RunRow, job: NewJob) -> None:
        at = place(job.key)
        assert at not in run.instances, f"{job.key} exists already"
        row = InstanceRow(job, run, at=at)
        self._undo.append((_forget, (run, at, row)))
        run.instances[at] = run.jobs[at] = row
        if job.key.item:
            self._raise_top(run, at)
        if job.waits and not self._open_waits(run, row, job.waits):
            row.status = StageStatus.WAITING
            return
        run.busy += 1
        if job.grant is None:
            self._await_due(row, self.now + job.delay)
        else:
            self._grants.append((row, job))

    def _skip(self, run: RunRow, key: StageKey) -> None:
        """Insert the record of an instance that does not execute."""
        at = place(key)
        assert at not in run.instances, f"{key} exists already"
        header = run.header
        job = NewJob(
            key=key,
            workflow_id=header.workflow_id,
            workflow_version=header.workflow_version,
            queue="",
            priority=header.priority,
            max_attempts=0,
        )
        row = InstanceRow(job, run, at=at)
        row.status = StageStatus.SKIPPED
        row.finished_at = self.now
        self._undo.append((_forget, (run, at, row)))
        run.instances[at] = row
        if key.item:
            self._raise_top(run, at)

    def _raise_top(self, run: RunRow, at: Place) -> None:
        stage_id, generation, turn, item = at
        group = (stage_id, generation, turn)
        if item > run.tops.get(group, 0):
            self._put(run.tops, group, item)

    def _give(self, run: RunRow) -> None:
        """Give the grants that the change-set asked for, unless it leaves the run PAUSED or a queue has limits."""
        for row, job in self._grants:
            grant = job.grant
            assert grant is not None, "the job asked for a grant"
            if run.status is RunStatus.PAUSED or row.queue in self._store.queues:
                # The step told that it began.
                run.events.append((EventType.STAGE_RELEASED, self.now, row.key, {"worker": grant.worker}))
                self._await_due(row, self.now + job.delay)
                continue
            row.status = StageStatus.RUNNING
            row.epoch = row.attempt = 1
            row.worker = grant.worker
            row.started_at = self.now
            row.lease_until = until = self.now + grant.ttl
            row.stamp = self._store.stamp()
            self._store.leases.add(until, row)
        self._grants.clear()

    def _settle(self, run: RunRow, fence: Fence, settle: Finish | Requeue | Suspend | Park) -> None:
        row = run.jobs[place(fence.key)]
        self._undo.append((row.restore, row.saved()))
        row.lease_until = None
        if fence.expired:
            row.lost = (*row.lost, fence.epoch)[-_MOST_LOST:]
        if isinstance(settle, Finish):
            row.output = settle.output
            row.failure = settle.failure
            row.edge = settle.edge
            if settle.metrics:
                row.metrics = dict(settle.metrics)
            self._retire(run, row, settle.status)
            return
        row.epoch += 1
        if isinstance(settle, Park):
            self._park(run, row, settle)
            return
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

    def _park(self, run: RunRow, row: InstanceRow, park: Park) -> None:
        row.attempt = 0
        row.failure = None
        if self._open_waits(run, row, park.waits):
            row.status = StageStatus.READY
            self._await_due(row, self.now)
        else:
            row.status = StageStatus.WAITING
            row.stamp = 0
            run.busy -= 1

    def _await_due(self, row: InstanceRow, due_at: datetime) -> None:
        row.due_at = due_at
        if row.run.status is RunStatus.PAUSED:
            row.stamp = 0
            return
        row.stamp = self._store.stamp()
        self._store.delayed.add(due_at, row)

    def _answer(self, run: RunRow, answer: Answer) -> None:
        at = place(answer.key)
        self._end_wait(run, (at, answer.name), answer)
        row = run.jobs.get(at)
        if row is not None and row.status is StageStatus.WAITING:
            self._save(row)
            row.status = StageStatus.READY
            run.busy += 1
            self._await_due(row, self.now)

    def _hold_back(self, run: RunRow) -> None:
        """Take the jobs of a run that is PAUSED now out of what is due or will be."""
        for row in run.jobs.values():
            if row.due_at is not None:
                self._save(row)
                row.stamp = 0

    def _let_on(self, run: RunRow) -> None:
        """Put the jobs of a run that is PAUSED no more back to what is due or will be."""
        held = [(row.due_at, row.place, row) for row in run.jobs.values() if row.due_at is not None]
        for due_at, _, row in sorted(held):
            self._save(row)
            self._await_due(row, due_at)

    def _retire(self, run: RunRow, row: InstanceRow, status: StageStatus) -> None:
        """Make a record of a live job whose state is noted for undoing already."""
        row.stamp = 0
        if row.status is not StageStatus.WAITING:
            run.busy -= 1
        row.status = status
        row.due_at = row.give_up_at = row.lease_until = None
        row.finished_at = self.now
        self._undo.append((run.jobs.__setitem__, (row.place, row)))
        del run.jobs[row.place]
        for name in row.waits:
            if (row.place, name) in run.open_waits:
                self._close_wait(run, (row.place, name))
        if status is not StageStatus.COMPLETED:
            for scope in row.keys:
                self._free(run, scope, holder=row.key)
        elif row.output is not None:
            self._show(run, row)

    def _show(self, run: RunRow, row: InstanceRow) -> None:
        """Make the output of a COMPLETED record visible, unless that of a later generation or turn is."""
        at = slot(row.key.stage_id, row.key.item)
        shown = run.outputs.get(at)
        if shown is None or shown.place[1:3] <= row.place[1:3]:
            self._put(run.outputs, at, row)

    def _supersede(self, run: RunRow, supersede: Sequence[Supersede]) -> None:
        """Make records invisible, in one walk through the run, and show again what they hid."""
        by_stage: dict[str, list[Supersede]] = {}
        for one in supersede:
            by_stage.setdefault(one.stage_id, []).append(one)
        for at in [at for at, row in run.outputs.items() if row.key.stage_id in by_stage]:
            self._drop(run.outputs, at)
        for row in run.instances.values():
            meant = by_stage.get(row.key.stage_id)
            if meant is None or not row.status.is_terminal:
                continue
            for one in meant:
                if row.key.turn >= one.from_turn:
                    self._replace(run, row, completed=one.completed)
            if not row.superseded and row.status is StageStatus.COMPLETED and row.output is not None:
                self._show(run, row)

    def _replace(self, run: RunRow, row: InstanceRow, *, completed: bool) -> None:
        if completed:
            self._forget_answers(run, row)
        if completed or row.status in _UNDONE:
            self._save(row)
            row.superseded = True

    def _forget_answers(self, run: RunRow, row: InstanceRow) -> None:
        for name in row.waits:
            wait = run.waits[row.place, name]
            if wait.status in (WaitStatus.RESOLVED, WaitStatus.EXPIRED):
                self._close_wait(run, (row.place, name))


def _forget(run: RunRow, at: Place, row: InstanceRow) -> None:
    # Its entry in an agenda must be dead.
    row.stamp = 0
    run.jobs.pop(at, None)
    run.instances.pop(at, None)
