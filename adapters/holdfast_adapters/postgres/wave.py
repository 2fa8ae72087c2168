"""Judging change-sets against the store and turning those that stand into writes, many in one go.

All change-sets of a batch are judged in waves. A wave locks its runs, reads what its change-sets are to be checked
against with one query of each kind, judges them in order against that and against what earlier ones of the wave leave
behind, and writes what stands. A change-set whose answer hangs on something that is not in memory yet, such as the
second settlement of one lease or anything after the end of its run, waits for the next wave, and with it everything
later that it may concern: of its run, its operations, its key. Of a run and its parent a wave judges one at most,
because the end of either sets a timer in the other; so it is with the runs of one singleton key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from holdfast.change import Change, Committed, Duplicate, Held, Refusal, Step
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageKey
from holdfast.entities.wait import WaitStatus
from holdfast.errors import LeaseLost, RunNotFound, SingletonTaken, StaleVersion
from holdfast_adapters.postgres import encoding, rare
from holdfast_adapters.postgres.accepting import Acceptance
from holdfast_adapters.postgres.concerns import Concerns, Kin
from holdfast_adapters.postgres.found import EPOCH, LEASE_UNTIL, Found, JobRow
from holdfast_adapters.postgres.prepared import Prepared, job_key
from holdfast_adapters.postgres.runstate import PARENT, SINGLETON, RunState
from holdfast_adapters.postgres.singles import ask_singles, take_singles
from holdfast_adapters.postgres.statements import Call, Statement
from holdfast_adapters.postgres.wire import Carrier
from holdfast_adapters.postgres.writes import Writes

Outcome = Committed | Refusal
#: A change-set with its position among all.
Entry = tuple[int, Prepared]

_PENDING: Final = RunStatus.PENDING.value
_OPEN: Final = WaitStatus.OPEN.value

#: Said and not left to the settings of the database: at a higher level whoever waited for a lock would be refused.
BEGIN: Final = Statement("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE")
COMMIT: Final = Statement("COMMIT")
ROLLBACK: Final = Statement("ROLLBACK")


class Verdict(NamedTuple):
    """What became of change-sets that were judged."""

    outcomes: list[Outcome]
    #: The last of what is to be written.
    calls: list[Call]
    #: The runs that are written, as they stand then.
    runs: dict[str, RunState]
    #: The instant; None if there was nothing to judge.
    now: int | None


async def judge(
    wire: Carrier,
    changes: Sequence[Prepared],
    *,
    now: int | None,
    opening: Statement,
    hear: Callable[[int], object] | None = None,
) -> Verdict:
    """Return the outcome of each of *changes*, and the last of what is to be written; what comes before that is.

    Args:
        wire: Where to.
        changes: What to judge.
        now: The instant; None for that of the database.
        opening: What comes first.
        hear: Called with the instant of the database as soon as it was read.
    """
    runs: dict[str, RunState] = {}
    outcomes: dict[int, Outcome] = {}
    pending = list(enumerate(changes))
    calls: list[Call] = [(opening, ())]
    limited: frozenset[str] | None = None
    while pending:
        found = Found(limited)
        asked = found.ask([change for _, change in pending], clock=now is None)
        results = await wire.run(*calls, *asked)
        found.take(results[len(calls) :])
        if hear is not None and found.now is not None:
            hear(found.now)
        singles = ask_singles((change for _, change in pending), found.runs)
        if singles:
            found.singles = take_singles(await wire.run(*singles))
        # Nobody changes limits before the transaction ends.
        limited = found.limited
        now = found.now if now is None else now
        assert now is not None, "the clock was asked"
        wave = Wave(found, now)
        pending = wave.judge(pending, outcomes)
        calls = wave.writes.calls()
        runs.update(wave.writes.runs)
    return Verdict([outcomes[index] for index in range(len(changes))], calls, runs, now)


class Wave:
    """One round of judging; see the module docstring."""

    def __init__(self, found: Found, now: int) -> None:
        self.writes = Writes(now)
        self._now = now
        self._found = found
        #: What the change-sets that stand concern, and what those that wait do.
        self._judged = Concerns()
        self._waiting = Concerns()
        #: Whether change-sets meet in this wave, so that one may touch what another is judged by.
        self._shared = False
        #: Whether everything that comes now waits.
        self._stopped = False

    def judge(self, pending: Sequence[Entry], outcomes: dict[int, Outcome]) -> list[Entry]:
        """Judge the change-sets that can be, put their outcomes into *outcomes*, and return the others."""
        changes = [change for _, change in pending]
        runs = {change.run_id for change in changes}
        kin = [self._kin(change) for change in changes]
        self._shared = (
            len(runs) < len(changes)
            or any(change.scope is not None for change in changes)
            or any(each.parent in runs for each in kin)
            or bool(self._found.singles)
        )
        later: list[Entry] = []
        for entry, of_change in zip(pending, kin, strict=True):
            change = entry[1]
            if self._shared and self._must_wait(change, of_change):
                later.append(entry)
                self._waiting.add(change, of_change)
                # Whoever holds the key may free it, and no run tells before it does.
                self._stopped = self._stopped or change.scope is not None
            else:
                outcomes[entry[0]] = self._outcome(change, of_change)
        return later

    def _kin(self, change: Prepared) -> Kin:
        row, single = self._found.runs.get(change.run_id), self._found.singles.get(change.run_id)
        parent = change.parent if row is None else change.parent or row[PARENT]
        return Kin(parent, None if single is None else single.key)

    def _must_wait(self, change: Prepared, kin: Kin) -> bool:
        waiting, judged = self._waiting, self._judged
        if self._stopped:
            return True
        if waiting.runs and (
            change.run_id in waiting.runs
            or not waiting.operations.isdisjoint(change.operations)
            or waiting.is_related(change, kin)
        ):
            return True
        if judged.is_related(change, kin) or self._may_be_freed(change):
            return True
        run = self.writes.runs.get(change.run_id)
        return run is not None and (run.closed or change.stands_alone or _meet(change, run.touched))

    def _may_be_freed(self, change: Prepared) -> bool:
        """Return whether the key that *change* wants is held by a run that an earlier one of the wave concerns."""
        held = None if change.scope is None else self._found.keys.get(change.scope)
        if held is None:
            return False
        return held.holder.run_id in self._judged.runs or held.holder.run_id in self._waiting.runs

    def _outcome(self, change: Prepared, kin: Kin) -> Outcome:
        known = self.writes.runs.get(change.run_id)
        run = known
        if run is None and change.run_id in self._found.runs:
            run = RunState(change.run_id, row=self._found.runs[change.run_id])
        job = None if change.job is None else self._found.jobs.get((change.run_id, change.job))
        refusal = self._refusal(change, run, job)
        if refusal is not None:
            return refusal
        if run is None:
            run = self._new_run(change.change)
        if known is None:
            self.writes.runs[change.run_id] = run
        committed, steps = Acceptance(change, run, writes=self.writes, found=self._found).accept(job)
        if self._shared:
            self._judged.add(change, kin)
            _touch(change, steps, run)
        return committed

    # The checks, in the order of the contract.

    def _refusal(self, change: Prepared, run: RunState | None, job: JobRow | None) -> Refusal | None:
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
            actual = self._lost(change.change, job)
            if actual is not None:
                return LeaseLost(str(fence.key), epoch=fence.epoch, actual=actual)
        refusal = self._stale(change, run)
        if refusal is None and change.looks_further:
            refusal = self._unanswered(change) or self._told(change) or self._held(change)
        return refusal or self._taken(change, run)

    def _taken(self, change: Prepared, run: RunState | None) -> SingletonTaken | None:
        single = self._found.singles.get(change.run_id)
        return None if single is None else single.refusal(change, run)

    def _lost(self, change: Change, job: JobRow | None) -> str | None:
        """Return why the fence does not hold, or None if it does."""
        fence = change.fence
        assert fence is not None, "only a fenced change-set can have lost its lease"
        if job is None:
            return "the job is gone"
        if job[LEASE_UNTIL] is None:
            return "the job is not leased"
        if job[EPOCH] != fence.epoch:
            return f"the job is leased with epoch {job[EPOCH]}"
        if fence.expired and job[LEASE_UNTIL] > self._now:
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

    def _new_run(self, change: Change) -> RunState:
        new = change.create
        assert new is not None, "only a change-set that creates a run finds none"
        number = self._found.numbers.pop()
        head, single = new.header, self._found.singles.get(change.run_id)
        holds = 0 if single is None else SINGLETON
        owner = (head.parent_id, head.tenant, head.concurrency_key)
        run = RunState(change.run_id, row=(number, _PENDING, 0, 1, 0, None, 0, 0, holds, *owner))
        run.created = new
        run.held = new.held or (single is not None and single.oldest is not None)
        # Its row is not in the store yet, so whatever else concerns it waits for the next wave.
        run.closed = True
        if new.state:
            self._found.states[run.id] = dict(new.state)
            self.writes.put(rare.SET_STATE, run.n, (run.n, encoding.encode(dict(new.state))))
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
