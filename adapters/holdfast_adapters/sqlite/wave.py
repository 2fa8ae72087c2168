"""Judging change-sets against the store and turning those that stand into writes, many in one go.

All change-sets of a batch are judged in waves. A wave reads what its change-sets are to be checked against with one
query, judges them in order against that and against what earlier ones of the wave leave behind, and writes what
stands. A change-set whose answer hangs on something that is not in memory yet, such as the second settlement of one
lease or anything after the end of its run, waits for the next wave, and with it everything later of its run.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from holdfast.change import (
    NOTHING,
    Arrival,
    Change,
    Committed,
    Duplicate,
    Finish,
    Refusal,
    Requeue,
    RunPatch,
    Step,
    Suspend,
)
from holdfast.entities.operation import OperationRecord
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.errors import LeaseLost, RunNotFound, StaleVersion
from holdfast_adapters.sqlite import rows
from holdfast_adapters.sqlite.prepared import EventText, Prepared, job_key, job_row, payload_columns
from holdfast_adapters.sqlite.statements import Rows
from holdfast_adapters.sqlite.writes import (
    DELETE_TIMER,
    INSERT_ANNOTATION,
    INSERT_LOG,
    KEEP_CHECKPOINT,
    REQUEUE_JOB,
    SET_ARTIFACT,
    SET_TIMER,
    SUPERSEDE,
    SUSPEND_JOB,
    RunState,
    Writes,
)

Outcome = Committed | Refusal
#: A change-set with its position among all.
Entry = tuple[int, Prepared]

_RUNNING: Final = StageStatus.RUNNING.value
_LIVE_PENDING: Final = RunStatus.PENDING.value
_WAITING: Final = RunStatus.WAITING.value

#: Of the epochs that were lost on one job this many are remembered; reaping counts as an attempt, so few ever are.
_MOST_LOST: Final = 32

#: The rows of a wave's runs and of their fenced jobs, in the order of the change-sets: VALUES is the outer loop, and
#: each of the two joins is a look-up by key.
CHECK: Final = Rows(
    """
    SELECT r.n, r.status, r.version, r.generation, r.events, r.undelivered,
        j.status, j.epoch, j.attempt, j.max_attempts, j.worker, j.lease_until, j.started_at, j.lost
    FROM (VALUES {rows}) v
    LEFT JOIN run r ON r.id = v.column1
    LEFT JOIN job j ON j.run = r.n AND j.stage_id = v.column2 AND j.generation = v.column3 AND j.item = v.column4""",
    width=4,
)
_RUN_WIDTH: Final = 6
#: Positions of the job's columns behind those of the run.
_STATUS, EPOCH, _ATTEMPT, _MAX_ATTEMPTS, _WORKER, LEASE_UNTIL, _STARTED_AT, _LOST = range(6, 14)

FIND_OPERATIONS: Final = Rows(
    """
    SELECT o.tenant, o.scope, o.key, o.command, o.fingerprint, o.result, o.run_id
    FROM (VALUES {rows}) v
    CROSS JOIN operation o ON o.tenant = v.column1 AND o.scope = v.column2 AND o.key = v.column3""",
    width=3,
)
FIND_TIMERS: Final = Rows(
    """
    SELECT r.id, t.id, t.due_at
    FROM (VALUES {rows}) v
    CROSS JOIN run r ON r.id = v.column1
    CROSS JOIN timer t ON t.run = r.n AND t.id = v.column2""",
    width=2,
)
FIND_GATES: Final = Rows(
    """
    SELECT g.run, g.gate, g.generation, g.count
    FROM (VALUES {rows}) v
    CROSS JOIN run r ON r.id = v.column1
    CROSS JOIN gate g ON g.run = r.n""",
    width=1,
)
LAST_RUN: Final = "SELECT coalesce(max(n), 0) FROM run"


def apply(connection: sqlite3.Connection, changes: Sequence[Prepared], *, now: int) -> list[Outcome]:
    """Apply each of *changes* that stands, in order, within the open transaction; return one outcome for each."""
    outcomes: dict[int, Outcome] = {}
    pending = list(enumerate(changes))
    while pending:
        wave = Wave(connection, now)
        pending = wave.judge(pending, outcomes)
        wave.writes.write(connection)
    return [outcomes[index] for index in range(len(changes))]


class Wave:
    """One round of judging; see the module docstring."""

    def __init__(self, connection: sqlite3.Connection, now: int) -> None:
        self.writes = Writes(now)
        self._connection = connection
        self._now = now
        self._operations: dict[tuple[str, str, str], OperationRecord] = {}
        self._timers: dict[tuple[str, str], int] = {}
        self._gates: dict[tuple[int, str, int], int] = {}
        #: Whether change-sets of one run meet in this wave, so that one may touch what another is judged by.
        self._shared = False
        #: The newest run of the store; 0 until somebody asks.
        self._last_run = 0

    def judge(self, pending: Sequence[Entry], outcomes: dict[int, Outcome]) -> list[Entry]:
        """Judge the change-sets that can be, put their outcomes into *outcomes*, and return the others."""
        changes = [change for _, change in pending]
        found = CHECK.fetch(self._connection, [change.looked_up() for change in changes])
        self._shared = len({change.run_id for change in changes}) < len(changes)
        further = [change for change in changes if change.looks_further]
        if further:
            self._look_further(further)
        later: list[Entry] = []
        blocked: set[object] = set()
        for entry, row in zip(pending, found, strict=True):
            change = entry[1]
            if self._shared and self._must_wait(change, blocked):
                later.append(entry)
                blocked.add(change.run_id)
                blocked.update(change.operations)
            else:
                outcomes[entry[0]] = self._outcome(change, row)
        return later

    def _look_further(self, changes: Sequence[Prepared]) -> None:
        """Read what only some change-sets need: operations of the same identity, timers and gates."""
        operations = [identity for change in changes for identity in change.operations]
        for row in FIND_OPERATIONS.fetch(self._connection, operations):
            self._operations[row[:3]] = rows.operation(row)
        fired = [(change.run_id, change.change.fired) for change in changes if change.change.fired is not None]
        for run_id, timer, due_at in FIND_TIMERS.fetch(self._connection, fired):
            self._timers[run_id, timer] = due_at
        counted = {change.run_id for change in changes if any(arrival.arity > 1 for arrival, _ in change.arrivals)}
        for run, gate, generation, count in FIND_GATES.fetch(self._connection, [(run_id,) for run_id in counted]):
            self._gates[run, gate, generation] = count

    def _must_wait(self, change: Prepared, blocked: set[object]) -> bool:
        if blocked and (change.run_id in blocked or not blocked.isdisjoint(change.operations)):
            return True
        run = self.writes.runs.get(change.run_id)
        if run is None:
            return False
        return run.closed or change.job in run.touched or change.change.fired in run.touched

    def _outcome(self, change: Prepared, row: tuple[Any, ...]) -> Outcome:
        known = self.writes.runs.get(change.run_id)
        run = known
        if run is None and row[0] is not None:
            run = RunState(change.run_id, row=row[:_RUN_WIDTH])
        refusal = self._refusal(change, run, row)
        if refusal is not None:
            return refusal
        if run is None:
            run = self._new_run(change.change)
        if known is None:
            self.writes.runs[change.run_id] = run
        return self._accept(change, run, row)

    # The checks, in the order of the contract.

    def _refusal(self, change: Prepared, run: RunState | None, row: tuple[Any, ...]) -> Refusal | None:
        for identity in change.operations:
            if identity in self._operations:
                return Duplicate(record=self._operations[identity])
        if change.change.create is not None:
            return None if run is None else StaleVersion(f"Run {run.id}", expected="none", actual=run.status)
        if run is None:
            return RunNotFound(change.run_id)
        if change.change.fence is not None:
            actual = self._lost(change.change, row)
            if actual is not None:
                fence = change.change.fence
                return LeaseLost(str(fence.key), epoch=fence.epoch, actual=actual)
        return self._stale(change, run)

    def _lost(self, change: Change, row: tuple[Any, ...]) -> str | None:
        """Return why the fence does not hold, or None if it does."""
        fence = change.fence
        assert fence is not None, "only a fenced change-set can have lost its lease"
        if row[_STATUS] is None:
            return "the job is gone"
        if row[LEASE_UNTIL] is None:
            return "the job is not leased"
        if row[EPOCH] != fence.epoch:
            return f"the job is leased with epoch {row[EPOCH]}"
        if fence.expired and row[LEASE_UNTIL] > self._now:
            return "the lease is not past its end"
        return None

    def _stale(self, prepared: Prepared, run: RunState) -> StaleVersion | None:
        change, require = prepared.change, prepared.change.require
        if run.status not in prepared.statuses:
            return StaleVersion(f"Run {run.id}", expected=" or ".join(sorted(prepared.statuses)), actual=run.status)
        if require.version is not None and run.version != require.version:
            return StaleVersion(f"Run {run.id}", expected=f"version {require.version}", actual=f"version {run.version}")
        if change.fired is not None:
            due_at = self._timers.get((run.id, change.fired))
            if due_at is None or due_at > self._now:
                actual = "gone" if due_at is None else "not due yet"
                return StaleVersion(f"Timer {change.fired} of run {run.id}", expected="due", actual=actual)
        return None

    # What follows when all of them hold.

    def _new_run(self, change: Change) -> RunState:
        if not self._last_run:
            (self._last_run,) = self._connection.execute(LAST_RUN).fetchone()
        self._last_run += 1
        run = RunState(change.run_id, row=(self._last_run, _LIVE_PENDING, 0, 1, 0, None))
        run.created = change.create
        # Its row is not in the store yet, so whatever else concerns it waits for the next wave.
        run.closed = True
        return run

    def _accept(self, prepared: Prepared, run: RunState, row: tuple[Any, ...]) -> Committed:
        change, writes = prepared.change, self.writes
        run.version += 1
        if change.settle is not None:
            self._settle(prepared, run, row)
        if change.fired is not None:
            writes.add(DELETE_TIMER, (run.n, change.fired))
        steps = [(change.step, prepared.events)]
        opened: list[str] = []
        for arrival, events in prepared.arrivals:
            if arrival.arity == 1 or self._opens(arrival, run):
                opened.append(arrival.gate)
                steps.append((arrival.step, events))
        for step, events in steps:
            if step is not NOTHING:
                self._step(step, events, run)
        if change.supersede:
            run.closed = True
            writes.add(SUPERSEDE, *((run.n, stage_id) for stage_id in change.supersede))
        if prepared.has_more:
            self._notes(prepared, run)
        if self._shared:
            self._touch(prepared, [step for step, _ in steps], run)
        return Committed(version=run.version, opened=tuple(opened))

    def _touch(self, prepared: Prepared, steps: Sequence[Step], run: RunState) -> None:
        """Note the jobs and timers that nothing else of the run can be judged by before the wave is written."""
        change = prepared.change
        if change.settle is not None and prepared.job is not None:
            run.touched.add(prepared.job)
        if change.fired is not None:
            run.touched.add(change.fired)
        for step in steps:
            run.touched.update(job_key(job.key) for job in step.jobs)
            run.touched.update(timer.id for timer in step.timers)

    def _settle(self, prepared: Prepared, run: RunState, row: tuple[Any, ...]) -> None:
        fence, settle, writes, now = prepared.change.fence, prepared.change.settle, self.writes, self._now
        assert fence is not None, "only a fenced job is settled"
        assert prepared.job is not None, "a fence names its job"
        lost = _lost_epochs(row) if fence.expired else row[_LOST]
        at = (run.n, *prepared.job)
        if isinstance(settle, Finish):
            writes.done.append(at)
            writes.stages.append(
                (
                    *at,
                    settle.status.value,
                    row[_ATTEMPT],
                    row[_MAX_ATTEMPTS],
                    row[EPOCH],
                    row[_WORKER],
                    row[_STARTED_AT],
                    now,
                    lost,
                    rows.failure_text(settle.failure) if settle.failure else None,
                    rows.mapping_text(settle.metrics) if settle.metrics else None,
                    *payload_columns(settle.output),
                )
            )
        elif isinstance(settle, Requeue):
            status = StageStatus.READY.value if row[_STATUS] == _RUNNING else row[_STATUS]
            due_at = now + rows.span(settle.delay)
            failure = rows.failure_text(settle.failure)
            writes.add(REQUEUE_JOB, (status, settle.attempt, failure, lost, now, due_at, *at))
        elif isinstance(settle, Suspend):
            due_at, give_up_at = now + rows.span(settle.delay), now + rows.span(settle.give_up_after)
            writes.add(SUSPEND_JOB, (lost, rows.state_text(settle.state), due_at, give_up_at, *at))

    def _step(self, step: Step, events: Sequence[EventText], run: RunState) -> None:
        writes, now = self.writes, self._now
        if events:
            writes.tell(run, events)
        for job in step.jobs:
            writes.jobs.append(job_row(job, run=run.n, now=now))
        for timer in step.timers:
            writes.add(SET_TIMER, (run.n, timer.id, timer.kind.value, now + rows.span(timer.delay)))
        if step.run is not None:
            self._move(run, step.run)

    def _move(self, run: RunState, patch: RunPatch) -> None:
        if patch.generation is not None:
            run.generation = patch.generation
        if patch.status is RunStatus.RUNNING and run.status != _WAITING:
            run.started = self._now
        run.status = patch.status.value
        run.move = patch
        run.closed = run.closed or patch.closes

    def _opens(self, arrival: Arrival, run: RunState) -> bool:
        """Count one arrival and return whether it is the one that opens the gate.

        A gate of one source is not counted: the fence of its source lets it arrive only once, and a step of a linear
        run would otherwise cost a row.
        """
        gate = (run.n, arrival.gate, arrival.generation)
        count = self._gates.get(gate, 0) + 1
        self._gates[gate] = count
        self.writes.gates[gate] = (arrival.arity, count)
        return count == arrival.arity

    def _notes(self, prepared: Prepared, run: RunState) -> None:
        change, writes, n = prepared.change, self.writes, run.n
        writes.add(INSERT_ANNOTATION, *((n, self._now, *note) for note in prepared.notes))
        writes.add(INSERT_LOG, *((n, *log) for log in prepared.logs))
        writes.add(
            SET_ARTIFACT,
            *((n, each.name, each.blob, each.digest, each.size, each.media_type) for each in change.artifacts),
        )
        for kept in change.checkpoints:
            result = kept.result
            writes.add(
                KEEP_CHECKPOINT,
                (n, *job_key(kept.key), kept.name, result.text, result.digest, result.size, result.blob),
            )
        for identity, record in zip(prepared.operations, change.operations, strict=True):
            self._operations[identity] = record
            said = (record.command, record.fingerprint, record.result, record.run_id)
            writes.operations.append((*identity, *said, self._now))


def _lost_epochs(row: tuple[Any, ...]) -> str:
    """Return the epochs lost on a job, the present one included."""
    before: list[int] = json.loads(row[_LOST]) if row[_LOST] else []
    return rows.encode([*before, row[EPOCH]][-_MOST_LOST:])
