"""What every commit must keep, told from the run before and after it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

import attrs

from holdfast.change import Change, Committed, Park, Refusal
from holdfast.decide.derive import derive
from holdfast.entities.definition import Definition
from holdfast.entities.run import FORWARD_RUN, RUN_TRANSITIONS, Run, RunStatus
from holdfast.entities.snapshot import RunSnapshot
from holdfast.entities.stage import STAGE_TRANSITIONS, Lease, StageInstance, StageKey, StageStatus
from holdfast.entities.timer import Timer
from holdfast.entities.wait import WAIT_TRANSITIONS, WaitStatus
from holdfast.events import fold
from holdfast.ports.work import LeaseRef
from holdfast_testing.invariants.ledger import Observation, Violation

#: The statuses in which a stage instance may come to be.
_NEW = frozenset({StageStatus.READY, StageStatus.RUNNING, StageStatus.WAITING, StageStatus.SKIPPED})

#: A change-set of the run with what became of it.
Deed = tuple[Change, Committed | Refusal]


@attrs.frozen(kw_only=True)
class Move:
    """What one call of the store did to one run."""

    run_id: str
    #: The store's time of the call.
    at: datetime
    before: Observation | None
    after: Observation | None
    #: What was committed or refused, in order.
    deeds: tuple[Deed, ...] = ()
    #: Leases that were granted.
    leases: tuple[Lease, ...] = ()
    #: Leases that were extended.
    extended: tuple[LeaseRef, ...] = ()
    #: Timers of the run that were due right before and right after the call, for change-sets that act on one.
    due_before: frozenset[Timer] = frozenset()
    due_after: frozenset[Timer] = frozenset()

    @property
    def committed(self) -> tuple[tuple[Change, Committed], ...]:
        """The change-sets that stand."""
        return tuple((change, outcome) for change, outcome in self.deeds if isinstance(outcome, Committed))

    @property
    def row_before(self) -> Run | None:
        """The run's row before the call."""
        return None if self.before is None else self.before.run

    def job_before(self, key: StageKey) -> StageInstance | None:
        """Return the stage instance before the call."""
        return None if self.before is None else self.before.stages.get(key)


def check_move(move: Move, *, definition: Definition | None) -> list[Violation]:
    """Return what *move* broke: I2, I3, I4, I5, I18, I20, I21, I23 and, of I25, that nothing is lacking."""
    found = [violation for check in _CHECKS for violation in check(move)]
    if move.after is not None and definition is not None:
        found.extend(nothing_is_lacking(move.after, definition=definition))
    return found


def stale_writers_change_nothing(move: Move) -> Iterator[Violation]:
    """I2: what is committed under a lease finds that very lease; what is refused leaves the run as it was."""

    def broken(subject: object, found: str) -> Violation:
        return Violation(invariant="I2", promise="a stale worker changes nothing", subject=str(subject), found=found)

    for change, _ in move.committed:
        if change.fence is None:
            continue
        row, fence = move.job_before(change.fence.key), change.fence
        if row is None or row.lease_until is None:
            yield broken(fence.key, f"a change-set under epoch {fence.epoch} stands, but the job was not leased")
        elif row.epoch != fence.epoch:
            yield broken(fence.key, f"a change-set under epoch {fence.epoch} stands over the lease {row.epoch}")
        elif fence.expired and row.lease_until > move.at:
            yield broken(fence.key, f"the lease {row.epoch} was taken back before its end")
    if move.deeds and not move.committed and move.before != move.after:
        yield broken(f"run {move.run_id}", "it changed although every change-set was refused")


def terminal_is_absorbing(move: Move) -> Iterator[Violation]:
    """I3: a run that ended moves by a rerun only, and a stage instance that ended never."""

    def broken(subject: object, found: str) -> Violation:
        return Violation(invariant="I3", promise="terminal is absorbing", subject=str(subject), found=found)

    if move.before is None or move.after is None:
        return
    before, after = move.before.run, move.after.run
    reruns = [change for change, _ in move.committed if _generation(change) is not None]
    # The version rises with every change-set, also with one that keeps an answer and nothing else.
    if before.status.is_terminal and before != attrs.evolve(after, version=before.version) and not reruns:
        yield broken(f"run {before.id}", f"it was {before.status.value} and was changed without a rerun: {after}")
    for key, was in move.before.stages.items():
        if not was.status.is_terminal:
            continue
        now = move.after.stages.get(key)
        if now is None:
            yield broken(key, f"its {was.status.value} record is gone")
        elif attrs.evolve(now, superseded=was.superseded) != was or (was.superseded and not now.superseded):
            yield broken(key, f"its {was.status.value} record became {now}")


def transitions_are_legal(move: Move) -> Iterator[Violation]:
    """I4: every move of a run and of a stage instance stands in the published tables."""

    def broken(subject: object, source: RunStatus | StageStatus | None, target: RunStatus | StageStatus) -> Violation:
        found = f"it went from {'nothing' if source is None else source.value} to {target.value}"
        return Violation(invariant="I4", promise="only legal transitions happen", subject=str(subject), found=found)

    if move.after is None or len(move.committed) > 1:
        # Several change-sets on one run in one call may take several legal steps at once.
        return
    run, was = move.after.run, move.row_before
    if was is None:
        if run.status is not RunStatus.PENDING:
            yield broken(f"run {run.id}", None, run.status)
    elif run.status is not was.status and run.status not in RUN_TRANSITIONS[was.status]:
        yield broken(f"run {run.id}", was.status, run.status)
    for key, now in move.after.stages.items():
        before = move.job_before(key)
        if before is None:
            # What a change-set makes that closes its run is closed with it.
            is_closed = now.status is StageStatus.CANCELLED and run.status not in FORWARD_RUN
            if now.status not in _NEW and not is_closed:
                yield broken(key, None, now.status)
        elif now.status is not before.status and now.status not in STAGE_TRANSITIONS[before.status]:
            yield broken(key, before.status, now.status)


def no_update_is_lost(move: Move) -> Iterator[Violation]:
    """I5: the run's version rises by exactly 1 for each change-set that stands and each lease that is granted."""

    def broken(found: str) -> Violation:
        subject = f"run {move.run_id}"
        return Violation(invariant="I5", promise="no update is lost", subject=subject, found=found)

    was = 0 if move.row_before is None else move.row_before.version
    now = 0 if move.after is None else move.after.run.version
    expected = was + len(move.committed) + len(move.leases)
    if now != expected:
        did = f"{len(move.committed)} change-sets and {len(move.leases)} leases"
        yield broken(f"its version went from {was} to {now} with {did}")
    for number, (_, outcome) in enumerate(move.committed, was + 1):
        if outcome.version != number:
            yield broken(f"a change-set was told version {outcome.version} in place of {number}")


def events_agree_with_state(move: Move) -> Iterator[Violation]:
    """I18: events are numbered without gaps, and folding them gives the rows."""
    if move.after is not None:
        yield from fold_gives_the_rows(move.after)


def fold_gives_the_rows(seen: Observation) -> Iterator[Violation]:
    """I18 for a run at rest."""

    def broken(subject: object, found: str) -> Violation:
        return Violation(invariant="I18", promise="events and state agree", subject=str(subject), found=found)

    numbers = [event.number for event in seen.events]
    if numbers != list(range(1, len(numbers) + 1)) or seen.run.events != len(numbers):
        yield broken(f"run {seen.run.id}", f"its events are numbered {numbers} and its row counts {seen.run.events}")
    folded = fold(seen.events)
    if folded.status is not seen.run.status:
        yield broken(f"run {seen.run.id}", f"its events say {folded.status}, its row {seen.run.status}")
    rows = {key: stage.status for key, stage in seen.stages.items()}
    for key in {**rows, **folded.stages}:
        if rows.get(key) is not folded.stages.get(key):
            yield broken(key, f"its events say {folded.stages.get(key)}, its row {rows.get(key)}")


def one_holder_at_a_time(move: Move) -> Iterator[Violation]:
    """I20: a lease is granted on a job that nobody holds, under an epoch that rises; only its holder extends it."""

    def broken(subject: object, found: str) -> Violation:
        return Violation(invariant="I20", promise="one holder", subject=str(subject), found=found)

    for lease in move.leases:
        row = move.job_before(lease.key)
        if row is None or row.status.is_terminal:
            yield broken(lease.key, f"epoch {lease.epoch} was granted on a job that is not live")
        elif row.lease_until is not None:
            yield broken(lease.key, f"epoch {lease.epoch} was granted while epoch {row.epoch} was not taken back")
        elif lease.epoch <= row.epoch:
            yield broken(lease.key, f"epoch {lease.epoch} was granted after epoch {row.epoch}")
    for ref in move.extended:
        row = move.job_before(ref.key)
        if row is None or row.lease_until is None or row.epoch != ref.epoch:
            yield broken(ref.key, f"the lease {ref.epoch} was extended, but the job is {row}")


def nothing_is_lacking(seen: Observation, *, definition: Definition) -> Iterator[Violation]:
    """I25, and I9: nothing follows from what is done that a commit has left out."""
    visible = tuple(stage for stage in seen.stages.values() if not stage.superseded)
    lacking = derive(RunSnapshot(run=seen.run, stages=visible, arrivals={}), definition=definition)
    if lacking is not None:
        yield Violation(
            invariant="I25",
            promise="every live run has something that advances it",
            subject=f"run {seen.run.id}",
            found=f"the step {lacking.step} should have followed and did not",
        )


def timers_act_once(move: Move) -> Iterator[Violation]:
    """I21: a timer acts when its instant has come, and is consumed by that."""

    def broken(timer_id: str, found: str) -> Violation:
        subject = f"timer {timer_id} of run {move.run_id}"
        return Violation(invariant="I21", promise="timers act once, never early", subject=subject, found=found)

    for change, _ in move.committed:
        if change.fired is None:
            continue
        was = [timer for timer in move.due_before if timer.id == change.fired]
        if not was or was[0].due_at > move.at:
            yield broken(change.fired, "it acted and was not due")
        elif was[0] in move.due_after and change.fired not in {timer.id for timer in change.step.timers}:
            yield broken(change.fired, "it acted and is still due")


def waits_are_what_is_waited_for(move: Move) -> Iterator[Violation]:
    """I23 and I25: a WAITING job has an OPEN wait, waits move as their table says, and none is OPEN in a closed run."""

    def broken(invariant: str, subject: object, found: str) -> Violation:
        promise = "a wait ends once" if invariant == "I23" else "every live run has something that advances it"
        return Violation(invariant=invariant, promise=promise, subject=str(subject), found=found)

    if move.after is None:
        return
    waits = move.after.waits
    there = {key for (key, _), wait in waits.items() if wait.status is WaitStatus.OPEN}
    for key, stage in move.after.stages.items():
        if stage.status is StageStatus.WAITING and key not in there:
            yield broken("I25", key, "it is WAITING and has no OPEN wait")
        if stage.status in {StageStatus.FAILED, StageStatus.CANCELLED} and key in there:
            yield broken("I23", key, f"it is {stage.status.value} and has an OPEN wait")
    if move.after.run.status.is_terminal and there:
        yield broken("I23", f"run {move.run_id}", "it has ended and has OPEN waits")
    forgets = any(change.supersede for change, _ in move.committed)
    for (key, name), was in () if move.before is None else move.before.waits.items():
        now = waits.get((key, name))
        anew = _opens_anew(move, key, name=name) and now is not None and now.status is WaitStatus.OPEN
        forgotten = forgets and now is not None and now.status is WaitStatus.CLOSED
        if was == now or anew or forgotten:
            continue
        if now is None or now.status not in WAIT_TRANSITIONS[was.status]:
            yield broken("I23", f'wait "{name}" of {key}', f"it was {was} and is {now}")


def _opens_anew(move: Move, key: StageKey, *, name: str) -> bool:
    parked = [
        change.settle.waits
        for change, _ in move.committed
        if isinstance(change.settle, Park) and change.fence is not None and change.fence.key == key
    ]
    return any(wait.anew and wait.name == name for waits in parked for wait in waits)


def _generation(change: Change) -> int | None:
    return None if change.step.run is None else change.step.run.generation


def nobody_is_orphaned(run_ids: Sequence[str]) -> list[Violation]:
    """I25: the store's own list of runs that nothing will advance is empty."""
    return [
        Violation(
            invariant="I25",
            promise="every live run has something that advances it",
            subject=f"run {run_id}",
            found="it is live and has no job, no timer and no open wait",
        )
        for run_id in run_ids
    ]


_CHECKS = (
    stale_writers_change_nothing,
    terminal_is_absorbing,
    transitions_are_legal,
    no_update_is_lost,
    events_agree_with_state,
    one_holder_at_a_time,
    timers_act_once,
    waits_are_what_is_waited_for,
)
