"""Judging change-sets against the store and turning those that stand into writes, many in one go.

All change-sets of a batch are judged in waves. A wave reads what its change-sets are to be checked against with one
query of each kind, judges them in order against that and against what earlier ones of the wave leave behind, and writes
what stands. A change-set whose answer hangs on something that is not in memory yet, such as the second settlement of
one lease or anything after the end of its run, waits for the next wave, and with it everything later that it may
concern: of its run, its operations, its keys. Of a run and its parent a wave judges one at most, because the end of
either sets a timer in the other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from holdfast.change import Change, Committed, Duplicate, Held, Refusal, Step
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageKey
from holdfast.entities.wait import WaitStatus
from holdfast.errors import LeaseLost, RunNotFound, StaleVersion
from holdfast_adapters.sqlite import encoding, rare
from holdfast_adapters.sqlite.accepting import Acceptance
from holdfast_adapters.sqlite.found import CHECK, EPOCH, LEASE_UNTIL, STATUS, Found
from holdfast_adapters.sqlite.prepared import Prepared, Scope, job_key
from holdfast_adapters.sqlite.runstate import PARENT, RUN_WIDTH, SINGLETON, TENANT, RunState
from holdfast_adapters.sqlite.singles import Singles
from holdfast_adapters.sqlite.writes import Writes

Outcome = Committed | Refusal
#: Tenant and singleton key of a run.
SharedKey = tuple[str, str]
#: A change-set with its position among all.
Entry = tuple[int, Prepared]

_PENDING: Final = RunStatus.PENDING.value
_OPEN: Final = WaitStatus.OPEN.value

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


class Concerns:
    """What some change-sets may concern that others are judged by, across runs."""

    def __init__(self) -> None:
        self.runs: set[str] = set()
        #: Parents of the runs.
        self.parents: set[str] = set()
        self.operations: set[tuple[str, str, str]] = set()
        self.scopes: set[Scope] = set()
        #: Singleton keys, workflows aside.
        self.singles: set[SharedKey] = set()

    def add(self, change: Prepared, parent: str | None, single: SharedKey | None) -> None:
        """Add what *change* may concern; *parent* is that of its run, *single* the key it shares with others."""
        self.runs.add(change.run_id)
        if single is not None:
            self.singles.add(single)
        self.operations.update(change.operations)
        if parent is not None:
            self.parents.add(parent)
        if change.scope is not None:
            self.scopes.add(change.scope)

    def is_related(self, change: Prepared, parent: str | None, single: SharedKey | None) -> bool:
        """Return whether the run of *change* is the parent or a child of one of these, or a key is one of theirs."""
        return (
            change.run_id in self.parents
            or parent in self.runs
            or change.scope in self.scopes
            or single in self.singles
        )


class Wave:
    """One round of judging; see the module docstring."""

    def __init__(self, connection: sqlite3.Connection, now: int) -> None:
        self.writes = Writes(now)
        self._connection = connection
        self._now = now
        self._found = Found(connection)
        #: None when no run of the wave has a singleton key.
        self._singles: Singles | None = None
        #: What the change-sets that stand concern, and what those that wait do.
        self._judged = Concerns()
        self._waiting = Concerns()
        #: Whether change-sets meet in this wave, so that one may touch what another is judged by.
        self._shared = False
        #: Whether everything that comes now waits.
        self._stopped = False
        #: The newest run of the store; 0 until somebody asks.
        self._last_run = 0

    def judge(self, pending: Sequence[Entry], outcomes: dict[int, Outcome]) -> list[Entry]:
        """Judge the change-sets that can be, put their outcomes into *outcomes*, and return the others."""
        changes = [change for _, change in pending]
        found = CHECK.fetch(self._connection, [change.looked_up() for change in changes])
        runs = {change.run_id for change in changes}
        further = [change for change in changes if change.looks_further]
        if further:
            self._found.read(further)
        self._shared = len(runs) < len(changes) or any(change.scope is not None for change in further)
        has_singles = False
        for change, row in zip(changes, found, strict=True):
            if (change.parent or row[PARENT]) in runs:
                self._shared = True
            if row[SINGLETON] is not None or change.single is not None:
                has_singles = True
        if has_singles:
            self._read_singles(changes, found)
        later: list[Entry] = []
        for entry, row in zip(pending, found, strict=True):
            change = entry[1]
            parent = change.parent or row[PARENT]
            if self._shared and self._must_wait(change, parent, self._shared_key(change, row)):
                later.append(entry)
                self._waiting.add(change, parent, self._shared_key(change, row))
                # Whoever holds the key may free it, and no run tells before it does.
                self._stopped = self._stopped or change.scope is not None
            else:
                outcomes[entry[0]] = self._outcome(change, row)
        return later

    def _read_singles(self, changes: Sequence[Prepared], found: Sequence[tuple[Any, ...]]) -> None:
        self._shared = self._shared or len(changes) > 1
        moved = [
            change.run_id
            for change, row in zip(changes, found, strict=True)
            if row[SINGLETON] is not None and change.change.step.run is not None
        ]
        self._singles = Singles(self._connection, self._now)
        self._singles.read([change.single for change in changes if change.single is not None], moved)

    def _shared_key(self, change: Prepared, row: tuple[Any, ...]) -> SharedKey | None:
        if change.single is not None:
            return (change.single[0], change.single[2])
        if row[SINGLETON] is not None:
            return (row[TENANT], row[SINGLETON])
        run = self.writes.runs.get(change.run_id)
        # It may have been created in this wave.
        return None if run is None or run.singleton is None else (run.tenant, run.singleton)

    def _must_wait(self, change: Prepared, parent: str | None, single: SharedKey | None) -> bool:
        waiting, judged = self._waiting, self._judged
        if self._stopped:
            return True
        if waiting.runs and (
            change.run_id in waiting.runs
            or not waiting.operations.isdisjoint(change.operations)
            or waiting.is_related(change, parent, single)
        ):
            return True
        if judged.is_related(change, parent, single) or self._may_be_freed(change):
            return True
        run = self.writes.runs.get(change.run_id)
        return run is not None and (run.closed or change.stands_alone or _meet(change, run.touched))

    def _may_be_freed(self, change: Prepared) -> bool:
        """Return whether the key that *change* wants is held by a run that an earlier one of the wave concerns."""
        held = None if change.scope is None else self._found.keys.get(change.scope)
        if held is None:
            return False
        return held.holder.run_id in self._judged.runs or held.holder.run_id in self._waiting.runs

    def _outcome(self, change: Prepared, row: tuple[Any, ...]) -> Outcome:
        known = self.writes.runs.get(change.run_id)
        run = known
        if run is None and row[0] is not None:
            run = RunState(change.run_id, row=row[:RUN_WIDTH])
        refusal = self._refusal(change, run, row)
        if refusal is not None:
            return refusal
        if run is None:
            run = self._new_run(change)
        if known is None:
            self.writes.runs[change.run_id] = run
        committed, steps = Acceptance(change, run, writes=self.writes, found=self._found).accept(row)
        if self._shared:
            # What the key of a new run is judged by is kept up with; after a move it is read again.
            touched = (run.tenant, run.singleton) if run.singleton is not None and run.moved else None
            self._judged.add(change, run.parent, touched)
            _touch(change, steps, run)
        return committed

    # The checks, in the order of the contract.

    def _refusal(self, change: Prepared, run: RunState | None, row: tuple[Any, ...]) -> Refusal | None:
        for identity in change.operations:
            if identity in self._found.operations:
                return Duplicate(record=self._found.operations[identity])
        if change.change.create is not None:
            if run is not None:
                return StaleVersion(f"Run {run.id}", expected="none", actual=run.status)
            return self._taken(change, None)
        if run is None:
            return RunNotFound(change.run_id)
        fence = change.change.fence
        if fence is not None:
            actual = self._lost(change.change, row)
            if actual is not None:
                return LeaseLost(str(fence.key), epoch=fence.epoch, actual=actual)
        refusal = self._stale(change, run)
        if refusal is None and change.looks_further:
            refusal = self._unanswered(change) or self._told(change) or self._held(change)
        return refusal or self._taken(change, run)

    def _lost(self, change: Change, row: tuple[Any, ...]) -> str | None:
        """Return why the fence does not hold, or None if it does."""
        fence = change.fence
        assert fence is not None, "only a fenced change-set can have lost its lease"
        if row[STATUS] is None:
            return "the job is gone"
        if row[LEASE_UNTIL] is None:
            return "the job is not leased"
        if row[EPOCH] != fence.epoch:
            return f"the job is leased with epoch {row[EPOCH]}"
        if fence.expired and row[LEASE_UNTIL] > self._now:
            return "the lease is not past its end"
        return None

    def _stale(self, prepared: Prepared, run: RunState) -> Refusal | None:
        change, require = prepared.change, prepared.change.require
        if run.status not in prepared.statuses:
            return StaleVersion(f"Run {run.id}", expected=" or ".join(sorted(prepared.statuses)), actual=run.status)
        if require.version is not None and run.version != require.version:
            return StaleVersion(f"Run {run.id}", expected=f"version {require.version}", actual=f"version {run.version}")
        if change.fired is not None:
            due_at = self._found.timers.get((run.id, change.fired))
            if due_at is None or due_at > self._now:
                actual = "gone" if due_at is None else "not due yet"
                return StaleVersion(f"Timer {change.fired} of run {run.id}", expected="due", actual=actual)
        return None

    def _unanswered(self, change: Prepared) -> Refusal | None:
        for answer, wait in zip(change.change.answers, change.answers, strict=True):
            status, _ = self._found.waits.get((change.run_id, wait), ("none", None))
            if status != _OPEN:
                return StaleVersion(f"Wait {answer.name} of {answer.key}", expected=_OPEN, actual=status)
        return None

    def _told(self, change: Prepared) -> Refusal | None:
        for message in change.change.messages:
            at = (change.run_id, message.name)
            what = f"Message {message.name} of run {change.run_id}"
            if at in self._found.messages:
                return StaleVersion(what, expected="none", actual="a message")
            if at in self._found.names:
                return StaleVersion(what, expected="none", actual="a wait")
        return None

    def _held(self, change: Prepared) -> Refusal | None:
        held = None if change.scope is None else self._found.keys.get(change.scope)
        if held is None:
            return None
        fence = change.change.fence
        if held.output is None and fence is not None and _is_same(held.holder, fence.key):
            return None
        return Held(result=held)

    def _taken(self, change: Prepared, run: RunState | None) -> Refusal | None:
        if self._singles is None:
            return None
        if run is not None:
            return self._singles.beside(change.change, run)
        return None if change.single is None else self._singles.before(change.change, change.single)

    def _new_run(self, change: Prepared) -> RunState:
        new = change.change.create
        assert new is not None, "only a change-set that creates a run finds none"
        if not self._last_run:
            (self._last_run,) = self._connection.execute(LAST_RUN).fetchone()
        self._last_run += 1
        head = new.header
        owner = (head.parent_id, head.tenant, head.concurrency_key, new.singleton)
        run = RunState(change.run_id, row=(self._last_run, _PENDING, 0, 1, 0, None, 0, 0, 0, *owner))
        run.created = new
        run.held = new.held
        if self._singles is not None and change.single is not None:
            run.held = new.held or self._singles.has_live(change.single)
            self._singles.add(change.single, run.id, held=run.held)
        # Its row is not in the store yet, so whatever else concerns it waits for the next wave.
        run.closed = True
        if new.state:
            self._found.states[run.id] = dict(new.state)
            self.writes.add(rare.SET_STATE, (run.n, encoding.encode(dict(new.state))))
        return run


def _is_same(holder: StageKey, key: StageKey) -> bool:
    """Return whether both are one instance, in whichever generations."""
    return (holder.run_id, holder.stage_id, holder.turn, holder.item) == (key.run_id, key.stage_id, key.turn, key.item)


def _meet(change: Prepared, touched: set[object]) -> bool:
    """Return whether *change* is judged by something that was touched."""
    return (
        change.job in touched
        or change.change.fired in touched
        or any(job in touched for job, _ in change.answers)
        or any(("wait", name) in touched for name in change.opens)
    )


def _touch(prepared: Prepared, steps: Sequence[Step], run: RunState) -> None:
    """Note what nothing else of the run can be judged by before the wave is written."""
    change, touched = prepared.change, run.touched
    if prepared.job is not None and (change.settle is not None or change.reservation is not None):
        touched.add(prepared.job)
    if change.fired is not None:
        touched.add(change.fired)
    touched.update(job for job, _ in prepared.answers)
    touched.update(("wait", message.name) for message in change.messages)
    for step in steps:
        touched.update(job_key(job.key) for job in step.jobs)
        touched.update(timer.id for timer in step.timers)
        touched.update(step.cancels)
