"""Applies change-sets to the memory store, noting how to take back each write."""

from __future__ import annotations

from datetime import datetime

from holdfast.change import ZERO, Change, Committed, NewItems, NewTimer, RunPatch, Step, withheld
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.entities.timer import CHILD_PREFIX, PARENT, START, TimerKind
from holdfast.gates import arrive, merged, new_gate, next_arrival
from holdfast.ports.queries import Annotation, LogLine
from holdfast.traces import NewAnnotation
from holdfast_adapters.memory.jobs import Jobs
from holdfast_adapters.memory.owning import owned
from holdfast_adapters.memory.rows import Place, RunRow, place
from holdfast_adapters.memory.store import Store
from holdfast_adapters.memory.undo import Undo


class Application(Jobs):
    """The change-sets of one call being applied at one instant."""

    __slots__ = ("_closes", "_kept")

    def __init__(self, store: Store, *, now: datetime, undo: Undo) -> None:
        self._store = store
        self._undo = undo
        self.now = now
        self._early = []
        self._grants = []
        self._closes = False
        #: The step that moved the run to COMPENSATING, whose own jobs and timers stay.
        self._kept: Step | None = None

    def apply(self, change: Change) -> Committed:
        """Write everything that *change* says and return the outcome; nothing in it may be refused any more."""
        run = self._begin(change)
        told = len(run.events)
        if change.settle is not None:
            assert change.fence is not None, "only a fenced job is settled"
            self._settle(run, change.fence, change.settle)
        if change.fired is not None:
            self._drop_timer(run, change.fired)
        if change.supersede:
            self._supersede(run, change.supersede)
        if change.answers or change.messages or change.tokens:
            self._hear(run, change)
        if change.patch is not None:
            run.state = merged(run.state, owned(change.patch))
        self._step(run, change.step)
        steps = self._arrive(run, change) if change.step.arrivals else ()
        self._finish(run, change)
        run.version += 1
        if len(run.events) > told:
            for sink in self._store.sinks.values():
                sink.tell(run, self.now, self._undo)
        paused = run.status is RunStatus.PAUSED
        held = withheld((change.step, *steps), paused=paused, limited=self._store.queues)
        return Committed(version=run.version, steps=steps, withheld=held, paused=paused)

    def _begin(self, change: Change) -> RunRow:
        store = self._store
        self._closes, self._kept = False, None
        if change.create is None:
            run = store.runs[change.run_id]
            self._undo.append((run.restore, run.saved()))
            return run
        new = change.create
        held = new.held
        if new.singleton is not None:
            held |= bool(store.singles.of((new.header.tenant, new.header.workflow_id, new.singleton)))
        run = RunRow(new, held=held, now=self.now, stamp=store.stamp())
        self._undo.append((store.drop_run, (run,)))
        store.add_run(run)
        self._count(run.status, 1)
        return run

    def _step(self, run: RunRow, step: Step) -> None:
        """Write what follows, its arrivals aside."""
        for event in step.events:
            run.events.append((event.type, self.now, event.key, owned(event.data)))
        if step.skips or step.gates or step.items is not None:
            self._lay_out(run, step)
        for job in step.jobs:
            self._add_job(run, job)
        if self._early:
            run.events.extend(self._early)
            self._early.clear()
        for timer_id in step.cancels:
            self._drop_timer(run, timer_id)
        for timer in step.timers:
            self._set_timer(run, timer)
        if step.run is not None:
            self._move(run, step.run)
            if step.run.closes:
                self._closes = True
                self._kept = None if step.run.ends else step

    def _lay_out(self, run: RunRow, step: Step) -> None:
        for key in step.skips:
            self._skip(run, key)
        for gate in step.gates:
            self._put(run.gates, (gate.generation, gate.turn, gate.gate), new_gate(gate))
        if step.items is not None:
            self._keep_items(run, step.items)

    def _hear(self, run: RunRow, change: Change) -> None:
        for answer in change.answers:
            self._answer(run, answer)
        for message in change.messages:
            self._keep_message(run, message)
        for token in change.tokens:
            self._keep_token(run, token)

    def _arrive(self, run: RunRow, change: Change) -> tuple[Step, ...]:
        """Hand the arrivals to their gates, write what follows, and return it in that order."""
        steps: list[Step] = []
        arrivals = list(change.step.arrivals)
        # A run that has closed has no gates any more, and what it tells last is that it did.
        while arrivals and not self._closes:
            arrival = next_arrival(arrivals, change.rules)
            rule = change.rules[arrival.gate]
            at = (rule.generation, rule.turn, rule.gate)
            gate, step = arrive(run.gates.get(at), rule, arrival)
            self._put(run.gates, at, gate)
            if step is not None:
                self._step(run, step)
                steps.append(step)
                arrivals.extend(step.arrivals)
        return tuple(steps)

    def _keep_items(self, run: RunRow, items: NewItems) -> None:
        stage_id, generation, turn, first = place(items.key)
        places = [(stage_id, generation, turn, item) for item in range(first, first + len(items.payloads))]
        self._undo.append((_remove, (run.items, places)))
        run.items.update(zip(places, items.payloads, strict=True))

    def _move(self, run: RunRow, patch: RunPatch) -> None:
        before, after = run.status, patch.status
        if before is RunStatus.PENDING:
            run.held = False
            if after is RunStatus.PENDING:
                self._let_go(run)
                return
            # It leaves the agenda of pending runs.
            run.stamp = 0
        self._count(before, -1)
        self._count(after, 1)
        run.status = after
        if before.is_terminal:
            run.failure = run.finished_at = None
            run.output_of = ()
            self._put(self._store.live, run.header.id, run)
            self._undo.append((self._store.singles.drop, (run,)))
            self._store.singles.add(run)
            if run.header.parent_id is not None:
                self._put(self._store.children[run.header.parent_id], run.header.id, run)
        if (before is RunStatus.PENDING or before.is_terminal) and not after.is_terminal:
            run.started_at = self.now
        run.failure = patch.failure or run.failure
        run.output_of = patch.output_of or run.output_of
        if patch.generation is not None:
            run.generation = patch.generation
        if after is RunStatus.PAUSED:
            self._hold_back(run)
        elif before is RunStatus.PAUSED:
            self._let_on(run)

    def _let_go(self, run: RunRow) -> None:
        """Let a run be admitted that was held."""
        if not run.stamp:
            run.stamp = self._store.stamp()
            self._store.await_admission(run)

    def _finish(self, run: RunRow, change: Change) -> None:
        """Write what depends on where the change-set leaves the run."""
        if change.reservation is not None:
            assert change.fence is not None, "a key is held by a fenced job"
            self._reserve(run, run.instances[place(change.fence.key)], change.reservation)
        if self._grants:
            self._give(run)
        if self._closes:
            self._close(run)
        if run.status is RunStatus.RUNNING:
            if not run.busy and run.jobs:
                self._turn(run, RunStatus.WAITING)
        elif run.status is RunStatus.WAITING and (run.busy or not run.jobs):
            self._turn(run, RunStatus.RUNNING)
        self._keep(run, change)

    def _turn(self, run: RunRow, status: RunStatus) -> None:
        self._count(run.status, -1)
        self._count(status, 1)
        run.status = status

    def _close(self, run: RunRow) -> None:
        """Close everything but what the move to COMPENSATING brought with it."""
        kept = self._kept
        jobs: set[Place] = set() if kept is None else {place(job.key) for job in kept.jobs}
        timers: set[str] = set() if kept is None else {timer.id for timer in kept.timers}
        for row in [row for row in run.jobs.values() if row.place not in jobs]:
            self._save(row)
            row.failure = None
            # Whoever held its lease did not settle it.
            row.lost = (*row.lost, row.epoch)
            self._retire(run, row, StageStatus.CANCELLED)
        for at in [at for at in run.open_waits if at[0] not in jobs]:
            self._close_wait(run, at)
        for scope, holder in list(run.keys.items()):
            self._free(run, scope, holder=holder)
        for timer_id in [timer_id for timer_id in run.timers if timer_id not in timers]:
            self._drop_timer(run, timer_id)
        for gate in list(run.gates):
            self._drop(run.gates, gate)
        if run.status.is_terminal:
            run.finished_at = self.now
            self._tell_relatives(run)

    def _tell_relatives(self, run: RunRow) -> None:
        """Take an ended run from the live ones and set the timers that tell its parent and its children."""
        store, header = self._store, run.header
        self._drop(store.live, header.id)
        if run.singleton is not None:
            self._pass_turn(run)
        if header.parent_id is not None:
            self._drop(store.children[header.parent_id], header.id)
            parent = store.live.get(header.parent_id)
            if parent is not None:
                told = NewTimer(id=f"{CHILD_PREFIX}{header.id}", kind=TimerKind.CHILD_ENDED, delay=ZERO)
                self._set_timer(parent, told)
        if run.status is not RunStatus.COMPLETED:
            for child in store.children.get(header.id, {}).values():
                self._set_timer(child, NewTimer(id=PARENT, kind=TimerKind.PARENT_ENDED, delay=ZERO))

    def _pass_turn(self, run: RunRow) -> None:
        """Tell the next run of the same singleton key that it may go on, unless one of them does already."""
        singles = self._store.singles
        self._undo.append((singles.add, (run,)))
        singles.drop(run)
        others = singles.others(run)
        untold = [other for other in others if START not in other.timers]
        if untold and all(other.held for other in others):
            self._set_timer(untold[0], NewTimer(id=START, kind=TimerKind.RUN_START, delay=ZERO))

    def _keep(self, run: RunRow, change: Change) -> None:
        for record in change.operations:
            self._put(self._store.operations, (record.tenant, record.scope, record.key), record)
        for artifact in change.artifacts:
            self._put(run.artifacts, artifact.name, artifact)
        for checkpoint in change.checkpoints:
            at = (checkpoint.key, checkpoint.name)
            if at not in run.checkpoints:
                self._put(run.checkpoints, at, checkpoint.result)
        for note in change.annotations:
            self._append(run.annotations, self._annotation(run, note))
        for new in change.logs:
            line = LogLine(
                key=new.key, attempt=new.attempt, level=new.level, message=new.message, data=owned(new.data), at=new.at
            )
            self._append(run.logs, line)

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


def _remove(items: dict[Place, object], places: list[Place]) -> None:
    for at in places:
        items.pop(at, None)
