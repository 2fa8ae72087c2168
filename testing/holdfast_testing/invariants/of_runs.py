"""What each run must keep to: outputs, attempts, joins, generations, cancellation."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from holdfast.attempts import JobOutcome
from holdfast.codec import digest
from holdfast.entities.definition import Definition
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageKey, StageStatus
from holdfast.events import Event, EventType
from holdfast_testing.invariants.history import RUN_ENDS, History
from holdfast_testing.invariants.ledger import Effect, Ledger, Violation


def one_output_that_never_changes(history: History, ledger: Ledger) -> Iterator[Violation]:
    """I1: a stage instance completes at most once, and its output is for ever what it was at first sight."""

    def broken(subject: object, found: str) -> Violation:
        return Violation(invariant="I1", promise="one output, never changed", subject=str(subject), found=found)

    for key, stage in history.stages.items():
        times = len(history.about(key, EventType.STAGE_COMPLETED))
        if times != (stage.status is StageStatus.COMPLETED):
            yield broken(key, f"it is {stage.status.value} and completed {times} times")
        if stage.output is None:
            continue
        first = ledger.outputs.setdefault(key, stage.output.digest)
        if stage.output.digest != first:
            yield broken(key, f"the digest of its output went from {first} to {stage.output.digest}")
        text = history.texts[key]
        if text is None:
            yield broken(key, f"the blob {stage.output.blob} of its output is missing")
        elif digest(text) != stage.output.digest or len(text) != stage.output.size:
            yield broken(key, f"the text of its output is not the one that was committed: {text[:80]}")


def workers_know_what_counts(history: History, ledger: Ledger) -> Iterator[Violation]:
    """I2: a worker is told that its attempt counts only if the store settled the job under its lease."""
    for told in ledger.told:
        lease, executed = told.lease, told.executed
        if lease.key.run_id != history.run.id or executed.repeated or executed.outcome is JobOutcome.LOST:
            continue
        if (lease.key, lease.epoch) not in ledger.settled:
            found = f"its worker was told {executed.outcome.value} under epoch {lease.epoch}, which never settled it"
            yield Violation(
                invariant="I2", promise="a stale worker changes nothing", subject=str(lease.key), found=found
            )


def nothing_happens_after_the_end(history: History, _: Ledger) -> Iterator[Violation]:
    """I3 and I6: between the end of a run and a rerun there is no event; a cancelled run starts no further stage."""
    ended: Event | None = None
    for event in history.events:
        if ended is not None and event.type is not EventType.RUN_RERUN:
            cancelled = ended.type is EventType.RUN_CANCELLED
            yield Violation(
                invariant="I6" if cancelled else "I3",
                promise="a cancelled run starts no further stage" if cancelled else "terminal is absorbing",
                subject=f"run {history.run.id}",
                found=f"event {event.number} {event.type.value} {event.key or ''} came after {ended.type.value}",
            )
        ended = event if event.type in RUN_ENDS else None if event.type is EventType.RUN_RERUN else ended


def attempts_are_bounded(history: History, ledger: Ledger) -> Iterator[Violation]:
    """I7: never more attempts than the policy allows, counted durably before user code runs."""

    def broken(subject: object, found: str) -> Violation:
        return Violation(invariant="I7", promise="attempts are bounded", subject=str(subject), found=found)

    for key, stage in history.stages.items():
        started = len(history.about(key, EventType.STAGE_STARTED))
        given_back = len(history.about(key, EventType.STAGE_RELEASED))
        if started - given_back > stage.max_attempts or stage.attempt > stage.max_attempts:
            limit, counted = stage.max_attempts, f"{started} starts, {given_back} of them given back"
            yield broken(key, f"{counted}, attempt {stage.attempt}, where {limit} attempts are allowed")
    for effect in _effects(history, ledger):
        stage_there = history.stages.get(effect.key)
        starts = history.about(effect.key, EventType.STAGE_STARTED)
        counted_first = any(event.data["attempt"] == effect.attempt for event in starts)
        # A poll is an attempt that has no event of its own.
        polled = bool(history.about(effect.key, EventType.STAGE_SUSPENDED))
        if stage_there is None or stage_there.epoch < effect.fence or not (counted_first or polled):
            yield broken(
                effect.key, f"user code ran as attempt {effect.attempt} under epoch {effect.fence}, not counted"
            )


def stages_see_their_predecessors(history: History, ledger: Ledger) -> Iterator[Violation]:
    """I8: the input of a stage is the committed outputs that the definition names, of the right generation.

    A body that runs although a rerun has ended its lease is given what is visible then, which the rerun may have made;
    `Snapshots.get_outputs` knows of no generation. Nothing of such an attempt is ever committed.
    """
    if history.definition is None:
        return
    for effect in _effects(history, ledger):
        if effect.seen is None:
            continue
        counts = (effect.key, effect.fence) in ledger.settled
        until = effect.key.generation if counts else history.run.generation
        expected = history.input_digests(effect.key, until=until)
        if effect.seen not in expected:
            yield Violation(
                invariant="I8",
                promise="a stage sees exactly its committed predecessors",
                subject=str(effect.key),
                found=f"its body was given an input of digest {effect.seen}; its predecessors make {sorted(expected)}",
            )


def joins_fire_once(history: History, _: Ledger) -> Iterator[Violation]:
    """I9: what stands behind a gate begins once, after every source of the gate is done."""

    def broken(subject: object, found: str) -> Violation:
        return Violation(invariant="I9", promise="a join fires once", subject=str(subject), found=found)

    definition = history.definition
    if definition is None:
        return
    for key in history.stages:
        beginnings = history.about(key, EventType.STAGE_READY) or history.about(key, EventType.STAGE_STARTED)[:1]
        if len(beginnings) != 1:
            yield broken(key, f"it became ready {len(beginnings)} times")
            continue
        for source in _before(definition, key.stage_id):
            there = history.completed(source, generation=key.generation)
            done = [] if there is None else history.about(there.key, EventType.STAGE_COMPLETED)
            if not done or done[0].number > beginnings[0].number:
                yield broken(key, f'it began with event {beginnings[0].number}, before "{source}" was done')
    if history.run.status is RunStatus.COMPLETED:
        missing = [
            stage_id
            for stage_id in definition.stages
            if history.completed(stage_id, generation=history.run.generation) is None
        ]
        if missing:
            yield broken(f"run {history.run.id}", f"it is COMPLETED without {', '.join(missing)}")


def generations_do_not_mix(history: History, _: Ledger) -> Iterator[Violation]:
    """I10: what a rerun does again is superseded, and what stands in a generation comes of no older output of those."""

    def broken(subject: object, found: str) -> Violation:
        return Violation(invariant="I10", promise="generations do not mix", subject=str(subject), found=found)

    redone = history.redone()
    if history.run.generation != 1 + len(redone):
        yield broken(f"run {history.run.id}", f"generation {history.run.generation} after {len(redone)} reruns")
    for key, stage in history.stages.items():
        later = [
            generation for generation, again in redone.items() if generation > key.generation and key.stage_id in again
        ]
        if stage.superseded != bool(later):
            yield broken(key, f"superseded is {stage.superseded}, and generations {later} did it again")
        if key.generation > 1 and key.stage_id not in redone.get(key.generation, ()):
            yield broken(key, "it exists in a generation that did not do it again")
        first_rerun = _rerun_after(history, key)
        late = [event for event in history.about(key) if first_rerun is not None and event.number > first_rerun.number]
        if late:
            yield broken(key, f"event {late[0].number} {late[0].type.value} came after its generation ended")
    for stage_id in history.run.output_of:
        final = history.completed(stage_id, generation=history.run.generation)
        if final is None or final.superseded:
            yield broken(f"run {history.run.id}", f'its output names "{stage_id}", which it does not have any more')


def effect_keys_are_stable(history: History, ledger: Ledger) -> Iterator[Violation]:
    """I11: the key offered to user code is equal for all attempts of one stage instance, and for no two instances."""
    by_instance: dict[StageKey, set[str]] = {}
    by_key: dict[str, set[StageKey]] = {}
    for effect in ledger.effects:
        by_instance.setdefault(effect.key, set()).add(effect.idempotency_key)
        by_key.setdefault(effect.idempotency_key, set()).add(effect.key)
    for key, names in by_instance.items():
        shared = [name for name in names if len(by_key[name]) > 1]
        if key.run_id == history.run.id and (len(names) > 1 or shared):
            found = f"its attempts were offered {sorted(names)}, of which others have {sorted(shared)}"
            yield Violation(invariant="I11", promise="effect keys are stable", subject=str(key), found=found)


def _effects(history: History, ledger: Ledger) -> Sequence[Effect]:
    return [effect for effect in ledger.effects if effect.key.run_id == history.run.id]


def _before(definition: Definition, stage_id: str) -> tuple[str, ...]:
    """Return the stages of the group before the stage's own; they all have to be done before it begins."""
    group = definition.stages[stage_id].group
    return definition.groups[group - 2] if group > 1 else ()


def _rerun_after(history: History, key: StageKey) -> Event | None:
    reruns = (event for event in history.of_type(EventType.RUN_RERUN) if event.data["generation"] > key.generation)
    return next(reruns, None)
