"""Applies change-sets to the memory store and finds what became of earlier ones."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import attrs

from holdfast.change import Change, Committed, Duplicate, Fence, Held, NewRun, Refusal
from holdfast.entities.operation import OperationRecord
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageKey
from holdfast.entities.wait import WaitStatus
from holdfast.errors import LeaseLost, RunNotFound, SingletonTaken, StaleVersion, StatementFailed
from holdfast.traces import Reservation
from holdfast_adapters.memory.application import Application
from holdfast_adapters.memory.rows import RunRow, place
from holdfast_adapters.memory.store import Store


class MemoryJournal:
    """The Journal port in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def commit(self, changes: Sequence[Change]) -> Sequence[Committed | Refusal]:
        """Apply each change-set atomically, in order; should one raise, none of them stands."""
        store = self._store
        with store.transaction as undo:
            application = Application(store, now=store.now(), undo=undo)
            return [
                _refusal(change, store, application.now) or _without_sql(change) or application.apply(change)
                for change in changes
            ]

    async def find_operation(self, *, tenant: str, scope: str, key: str) -> OperationRecord | None:
        """Return the stored outcome of an operation."""
        with self._store.transaction:
            self._store.now()
            return self._store.operations.get((tenant, scope, key))

    async def is_settled(self, key: StageKey, *, epoch: int) -> bool:
        """Return whether the holder of that epoch settled the job."""
        with self._store.transaction:
            self._store.now()
            run = self._store.runs.get(key.run_id)
            row = None if run is None else run.instances.get(place(key))
            if row is None:
                return False
            # The newest epoch of a live job is its present lease, or what its last settlement made of it.
            over = row.epoch if row.status.is_terminal else row.epoch - 1
            return 1 <= epoch <= over and epoch not in row.lost


def _without_sql(change: Change) -> StatementFailed | None:
    if not change.statements:
        return None
    return StatementFailed(change.statements[0].sql, why="The memory store has no SQL; use SQLite or Postgres.")


def _refusal(change: Change, store: Store, now: datetime) -> Refusal | None:
    for record in change.operations:
        earlier = store.operations.get((record.tenant, record.scope, record.key))
        if earlier is not None:
            return Duplicate(record=earlier)
    run = store.runs.get(change.run_id)
    if change.create is not None:
        if run is not None:
            return StaleVersion(f"Run {change.run_id}", expected="none", actual=run.status.value)
        return _taken_before(change.create, store)
    return RunNotFound(change.run_id) if run is None else _refused(change, run, store, now=now)


def _refused(change: Change, run: RunRow, store: Store, *, now: datetime) -> Refusal | None:
    """Return why a change-set of a run that exists is refused."""
    if change.fence is not None:
        lost = _lost(change.fence, run, now)
        if lost is not None:
            return LeaseLost(str(change.fence.key), epoch=change.fence.epoch, actual=lost)
    refusal: Refusal | None = _stale(change, run, now)
    if refusal is None and (change.answers or change.messages):
        refusal = _answered(change, run)
    if refusal is None and change.reservation is not None:
        refusal = _held(change.reservation, change.fence, store)
    if refusal is None and run.singleton is not None:
        refusal = _taken(change, run, store)
    return refusal


def _lost(fence: Fence, run: RunRow, now: datetime) -> str | None:
    row = run.jobs.get(place(fence.key))
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
    if run.status not in require.statuses:
        expected = " or ".join(sorted(status.value for status in require.statuses))
        return StaleVersion(f"Run {change.run_id}", expected=expected, actual=run.status.value)
    if require.version is not None and run.version != require.version:
        actual = f"version {run.version}"
        return StaleVersion(f"Run {change.run_id}", expected=f"version {require.version}", actual=actual)
    if change.fired is not None:
        row = run.timers.get(change.fired)
        if row is None or row.timer.due_at > now:
            actual = "none" if row is None else "not due"
            return StaleVersion(f"Timer {change.fired} of run {change.run_id}", expected="due", actual=actual)
    return None


def _answered(change: Change, run: RunRow) -> StaleVersion | None:
    for answer in change.answers:
        wait = run.waits.get((place(answer.key), answer.name))
        if wait is None or wait.status is not WaitStatus.OPEN:
            actual = "none" if wait is None else wait.status.value
            return StaleVersion(f"Wait {answer.name} of {answer.key}", expected=WaitStatus.OPEN.value, actual=actual)
    for message in change.messages:
        what = f"Message {message.name} of run {change.run_id}"
        if message.name in run.messages:
            return StaleVersion(what, expected="none", actual="a message")
        if run.named.get(message.name):
            return StaleVersion(what, expected="none", actual="a wait")
    return None


def _held(reservation: Reservation, fence: Fence | None, store: Store) -> Held | None:
    result = store.keys.get(reservation.scope)
    if result is None or (fence is not None and result.output is None and _is_same(result.holder, fence)):
        return None
    return Held(result=result)


def _is_same(holder: StageKey, fence: Fence) -> bool:
    """Return whether the holder is the fenced instance, in whichever generation."""
    return holder == attrs.evolve(fence.key, generation=holder.generation)


def _taken_before(new: NewRun, store: Store) -> SingletonTaken | None:
    """Return the refusal of a new run that does not queue up behind those of its key."""
    if new.singleton is None or new.queues_up:
        return None
    live = store.singles.of((new.header.tenant, new.header.workflow_id, new.singleton))
    return SingletonTaken(new.singleton, run_id=live[0].header.id) if live else None


def _taken(change: Change, run: RunRow, store: Store) -> SingletonTaken | None:
    """Return the refusal of a run that would go on, or again, beside another one of its key."""
    move = change.step.run
    if move is None or move.status.is_terminal:
        return None
    if not run.status.is_terminal and not (run.held and move.status is RunStatus.PENDING):
        return None
    others = [other for other in store.singles.others(run) if not other.held]
    return SingletonTaken(run.singleton or "", run_id=others[0].header.id) if others else None
