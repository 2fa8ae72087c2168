"""Turning a change-set that stands into writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from holdfast.change import (
    NOTHING,
    Change,
    Committed,
    Finish,
    NewGate,
    NewJob,
    NewWait,
    Park,
    Requeue,
    Rule,
    Step,
    Suspend,
    withheld,
)
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.entities.timer import CHILD_PREFIX, PARENT
from holdfast.entities.wait import WaitStatus
from holdfast.events import EventType
from holdfast.gates import GateState, arrive, merged, new_gate, next_arrival
from holdfast.traces import Reservation
from holdfast_adapters.postgres import encoding, rare
from holdfast_adapters.postgres.found import EPOCH, GIVE_UP_AT, LOST, STATUS, Found, JobRow
from holdfast_adapters.postgres.notes import note
from holdfast_adapters.postgres.prepared import (
    EventText,
    JobKey,
    Prepared,
    event_text,
    job_key,
    job_row,
    payload_columns,
)
from holdfast_adapters.postgres.runstate import KEYS, PAUSED, SINGLETON, WAITS, RunState
from holdfast_adapters.postgres.statements import Statement
from holdfast_adapters.postgres.writes import Writes

_READY: Final = StageStatus.READY.value
_RUNNING: Final = StageStatus.RUNNING.value
_WAITING: Final = StageStatus.WAITING.value
_SKIPPED: Final = StageStatus.SKIPPED.value
_OPEN: Final = WaitStatus.OPEN.value
_RESOLVED: Final = WaitStatus.RESOLVED.value
_RESUMED: Final = EventType.STAGE_RESUMED.value
_RELEASED: Final = EventType.STAGE_RELEASED.value
#: Of an instance that does not execute: attempts, epoch, worker, start.
_NEVER: Final = (0, 0, 0, None, None)
#: Of one too: lost, via, depth, origin, failure, metrics, edge and output.
_BLANK: Final = (None, None, 1, 1, None, None, None, None, None, None, None)
_NO_MESSAGE: Final = (None, None, None, None, None)

#: The queues that withhold grants, of most change-sets.
NOTHING_HELD: Final[frozenset[str]] = frozenset()


class Acceptance:
    """One change-set on its way into the writes of its wave."""

    __slots__ = (
        "_became",
        "_change",
        "_closes",
        "_due",
        "_early",
        "_found",
        "_jobs",
        "_kept",
        "_now",
        "_prepared",
        "_run",
        "_waits",
        "_writes",
    )

    def __init__(self, prepared: Prepared, run: RunState, *, writes: Writes, found: Found) -> None:
        self._prepared = prepared
        self._change: Change = prepared.change
        self._run = run
        self._writes = writes
        self._found = found
        self._now = writes.now
        #: New jobs with whether they wait, and the step they belong to.
        self._jobs: list[tuple[NewJob, bool, Step]] = []
        #: Statements that make a job due, with what stands before and behind the instants.
        self._due: list[tuple[Statement, tuple[Any, ...], int | None, tuple[Any, ...]]] = []
        self._waits: list[tuple[JobKey, tuple[Any, ...]]] = []
        #: Events of waits that took a message, to be told behind those of the step.
        self._early: list[EventText] = []
        #: The status that the fenced job has now, if it was settled.
        self._became: str | None = None
        self._closes = False
        #: The step that closed the run without ending it: its jobs and timers stay.
        self._kept: Step | None = None

    def accept(self, row: JobRow | None) -> tuple[Committed, Sequence[Step]]:
        """Write the change-set and return its outcome and every step it took.

        Args:
            row: The fenced job as it stood.
        """
        change, run, writes = self._change, self._run, self._writes
        before = run.status
        run.version += 1
        if change.settle is not None:
            assert row is not None, "only a fenced job is settled"
            self._settle(row)
        if change.fired is not None:
            writes.timers[run.n, change.fired] = None
        if change.supersede:
            self._supersede()
        if self._prepared.looks_further:
            if change.answers:
                self._answer()
            self._keep_said()
        self._step(change.step, self._prepared.events)
        steps = self._arrive() if change.step.arrivals else ()
        if change.reservation is not None:
            self._reserve(change.reservation)
        self._finish(before)
        if self._prepared.has_more:
            note(self._prepared, run, writes=writes, found=self._found)
        paused, limited = run.status == PAUSED, self._found.limited
        taken = [change.step, *steps]
        held = withheld(taken, paused=paused, limited=limited) if paused or limited else NOTHING_HELD
        return Committed(version=run.version, steps=tuple(steps), withheld=held, paused=paused), taken

    # The fenced job.

    def _settle(self, row: JobRow) -> None:
        fence, settle, job = self._change.fence, self._change.settle, self._prepared.job
        assert fence is not None, "only a fenced job is settled"
        assert job is not None, "a fence names its job"
        run, now = self._run, self._now
        lost = encoding.lost_text(row[LOST], row[EPOCH]) if fence.expired else row[LOST]
        at = (run.n, *job)
        if isinstance(settle, Finish):
            self._end(settle, at, epoch=fence.epoch, lost=lost)
        elif isinstance(settle, Requeue):
            status, due_at, give_up_at = _READY, now + encoding.span(settle.delay), row[GIVE_UP_AT]
            if row[STATUS] != _RUNNING:
                # A poll comes at the give-up instant at the latest, unless that has passed.
                status = row[STATUS]
                due_at = give_up_at if give_up_at is not None and now < give_up_at < due_at else due_at
            failure = encoding.failure_text(settle.failure)
            self._due.append((rare.REQUEUE_JOB, (status, settle.attempt, failure, lost), due_at, at))
        elif isinstance(settle, Suspend):
            due_at, give_up_at = now + encoding.span(settle.delay), now + encoding.span(settle.give_up_after)
            self._due.append((rare.SUSPEND_JOB, (lost, encoding.state_text(settle.state), give_up_at), due_at, at))
        elif isinstance(settle, Park):
            goes_on = self._open(job, settle.waits)
            status, due = (_READY, now) if goes_on else (_WAITING, None)
            if not goes_on:
                run.active -= 1
                run.waiting += 1
            self._due.append((rare.PARK_JOB, (status, lost), due, at))
            self._became = status

    def _end(self, finish: Finish, at: tuple[Any, ...], *, epoch: int, lost: str | None) -> None:
        writes, run = self._writes, self._run
        run.active -= 1
        self._became = finish.status.value
        writes.done.append(
            (
                *at,
                finish.status.value,
                self._now,
                lost,
                encoding.failure_text(finish.failure) if finish.failure else None,
                encoding.mapping_text(finish.metrics) if finish.metrics else None,
                finish.edge,
                *payload_columns(finish.output),
                epoch,
            )
        )
        if run.holds & WAITS:
            writes.add(rare.CLOSE_WAITS, at)
        if run.holds & KEYS and finish.status is not StageStatus.COMPLETED:
            writes.add(rare.FREE_KEY, at)

    def _supersede(self) -> None:
        run, writes = self._run, self._writes
        run.closed = True
        for each in self._change.supersede:
            writes.add(rare.SUPERSEDE, (run.n, each.stage_id, each.from_turn, each.completed))
            if each.completed and run.holds & WAITS:
                writes.add(rare.FORGET_WAITS, (run.n, each.stage_id, each.from_turn))

    # What was said from outside.

    def _answer(self) -> None:
        run, woken = self._run, set[JobKey]()
        for answer, wait in zip(self._change.answers, self._prepared.answers, strict=True):
            job, name = wait
            _, status = self._found.waits[run.id, wait]
            said = (answer.status.value, *payload_columns(answer.payload), answer.actor)
            self._writes.add(rare.ANSWER_WAIT, (*said, run.n, *job, name))
            if job == self._prepared.job and self._became is not None:
                status = self._became
            if status == _WAITING and job not in woken:
                woken.add(job)
                run.waiting -= 1
                run.active += 1
                self._due.append((rare.WAKE_JOB, (), self._now, (run.n, *job)))

    def _keep_said(self) -> None:
        change, run, writes, now = self._change, self._run, self._writes, self._now
        for message in change.messages:
            kept = payload_columns(message.payload)
            at = (run.n, message.name)
            writes.put(rare.KEEP_MESSAGE, at, (*at, *kept, message.actor, now))
            self._found.messages[run.id, message.name] = (*kept, message.actor)
        for token in change.tokens:
            row = (token.hash, run.n, token.name, now + encoding.span(token.lifetime))
            writes.put(rare.KEEP_TOKEN, token.hash, row)
        if change.patch is not None:
            state = merged(self._found.states.get(run.id, {}), change.patch)
            self._found.states[run.id] = state
            writes.put(rare.SET_STATE, run.n, (run.n, encoding.encode(state)))

    def _open(self, job: JobKey, waits: Iterable[NewWait]) -> bool:
        """Open the waits that the instance does not have, or wants anew, and return whether one of all is not OPEN."""
        run, found, now = self._run, self._found, self._now
        run.holds |= WAITS
        goes_on = False
        for wait in waits:
            at = (run.id, (job, wait.name))
            status, _ = found.waits.get(at, (None, None))
            if status is None or (wait.anew and status != _OPEN):
                message = found.messages.pop((run.id, wait.name), None)
                status = _OPEN if message is None else _RESOLVED
                found.waits[at] = (status, None)
                due_at = None if wait.timeout is None else now + encoding.span(wait.timeout)
                said = (wait.name, wait.kind.value, status, wait.reason, now, due_at, *(message or _NO_MESSAGE))
                self._waits.append((job, (run.n, *job, *said)))
                if message is not None:
                    self._writes.add(rare.DROP_MESSAGE, (run.n, wait.name))
            if status != _OPEN:
                data = encoding.encode({"name": wait.name, "early": True})
                self._early.append((_RESUMED, *job, data))
                goes_on = True
        return goes_on

    # What follows.

    def _step(self, step: Step, events: Sequence[EventText]) -> None:
        run, writes, now = self._run, self._writes, self._now
        if step is NOTHING and not self._early:
            return
        if events:
            writes.tell(run, events)
        if step.skips or step.gates or step.items is not None:
            self._prepare_ground(step)
        for job in step.jobs:
            waits = bool(job.waits) and not self._open(job_key(job.key), job.waits)
            self._jobs.append((job, waits, step))
        if self._early:
            writes.tell(run, self._early)
            self._early = []
        for timer_id in step.cancels:
            writes.timers[run.n, timer_id] = None
        for timer in step.timers:
            writes.timers[run.n, timer.id] = (timer.kind.value, now + encoding.span(timer.delay))
        if step.run is not None:
            run.move(step.run, now=now)
            if step.run.closes:
                self._closes = True
                self._kept = None if step.run.ends else step

    def _prepare_ground(self, step: Step) -> None:
        run, writes = self._run, self._writes
        for key in step.skips:
            writes.skipped.append((run.n, *job_key(key), _SKIPPED, *_NEVER, self._now, *_BLANK))
        for gate in step.gates:
            self._keep_gate(gate, new_gate(gate))
        if step.items is not None:
            writes.items.append((run.n, step.items))

    def _arrive(self) -> Sequence[Step]:
        """Hand the arrivals to their gates, write what follows, and return it in that order."""
        change, run = self._change, self._run
        steps: list[Step] = []
        arrivals = list(change.step.arrivals)
        # A run that has closed has no gates any more, and what it tells last is that it did.
        while arrivals and not self._closes:
            arrival = next_arrival(arrivals, change.rules)
            rule = change.rules[arrival.gate]
            gate, step = arrive(self._found.gate(run.id, rule), rule, arrival)
            self._keep_gate(rule, gate)
            if step is not None:
                self._step(step, [event_text(event) for event in step.events])
                steps.append(step)
                arrivals.extend(step.arrivals)
        return steps

    def _keep_gate(self, at: NewGate | Rule, state: GateState) -> None:
        key = (at.gate, at.generation, at.turn)
        self._found.keep_gate(self._run.id, key, state)
        self._writes.gates[(self._run.n, *key)] = state

    def _reserve(self, reservation: Reservation) -> None:
        run, job, scope = self._run, self._prepared.job, self._prepared.scope
        assert job is not None, "a key is held by a fenced job"
        assert scope is not None, "a reservation has a scope"
        if reservation.output is None and isinstance(self._change.settle, Finish):
            # It ended with the same change-set, so that nobody would free the key any more.
            return
        run.holds |= KEYS
        kept = payload_columns(reservation.output)
        statement = rare.KEEP_KEY if scope in self._found.keys else rare.TAKE_KEY
        self._writes.add(statement, (*scope, reservation.fingerprint, run.n, *job, *kept))

    # What depends on where the change-set leaves the run.

    def _finish(self, before: str) -> None:
        run, writes = self._run, self._writes
        paused = run.status == PAUSED
        if self._due:
            for statement, first, due, last in self._due:
                ripe = due is not None and due <= self._now
                writes.add(statement, (*first, *((None, due) if paused else (due, None)), ripe, *last))
        had_jobs = run.active > 0 or run.waiting > 0 or bool(self._jobs)
        if self._closes:
            run.active = run.waiting = 0
        for job, waits, step in self._jobs:
            withheld = job.grant is not None and not waits and (paused or job.queue in self._found.limited)
            row = job_row(job, run, now=self._now, waits=waits, withheld=withheld)
            if job.grant is not None and withheld:
                # The step told that it began.
                writes.tell(run, [(_RELEASED, *job_key(job.key), encoding.encode({"worker": job.grant.worker}))])
            stays = step is self._kept
            (writes.kept_jobs if stays else writes.jobs).append(row)
            if stays or not self._closes:
                run.waiting += waits
                run.active += not waits
        if self._waits:
            self._write_waits()
        if paused != (before == PAUSED):
            writes.add(rare.HOLD_JOBS if paused else rare.LET_JOBS, (run.n,))
        if self._closes:
            self._close(had_jobs=had_jobs)
        run.follow_jobs()

    def _write_waits(self) -> None:
        kept = set() if self._kept is None else {job_key(job.key) for job in self._kept.jobs}
        for job, row in self._waits:
            if job in kept:
                self._writes.kept_waits.append(row)
            else:
                self._writes.add(rare.OPEN_WAIT, row)

    def _close(self, *, had_jobs: bool) -> None:
        run, writes, kept = self._run, self._writes, self._kept
        run.closed = True
        n = (run.n,)
        if had_jobs:
            writes.add(rare.CANCEL_JOBS, (self._now, run.n))
        writes.add(rare.DROP_TIMERS, n)
        writes.add(rare.DROP_GATES, n)
        if run.holds & WAITS:
            writes.add(rare.CLOSE_RUN_WAITS, n)
        if run.holds & KEYS:
            writes.add(rare.FREE_RUN_KEYS, n)
        for timer in () if kept is None else kept.timers:
            due = writes.timers.get((run.n, timer.id))
            if due is not None:
                writes.kept_timers.append((run.n, timer.id, *due))
        if not run.is_over:
            return
        if run.parent is not None:
            writes.add(rare.TELL_PARENT, (CHILD_PREFIX + run.id, self._now, run.parent))
        if run.holds & SINGLETON:
            writes.passes.append((self._now, run.n))
        if run.status != RunStatus.COMPLETED.value:
            writes.add(rare.TELL_CHILDREN, (PARENT, self._now, run.id))
