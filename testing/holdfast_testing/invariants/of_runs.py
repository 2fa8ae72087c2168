"""What each run must keep to: outputs, attempts, generations, cancellation, and what is undone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import attrs

from holdfast.codec import digest, to_json
from holdfast.entities.definition import UNDO
from holdfast.entities.stage import StageInstance, StageKey, StageStatus
from holdfast.events import Event, EventType
from holdfast.verdicts import JobOutcome
from holdfast_testing.clock import START
from holdfast_testing.invariants.history import RUN_BEGINS_AGAIN, RUN_ENDS, History
from holdfast_testing.invariants.ledger import Effect, Ledger, Undone, Violation


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
        if ended is not None and event.type not in RUN_BEGINS_AGAIN:
            cancelled = ended.type is EventType.RUN_CANCELLED
            yield Violation(
                invariant="I6" if cancelled else "I3",
                promise="a cancelled run starts no further stage" if cancelled else "terminal is absorbing",
                subject=f"run {history.run.id}",
                found=f"event {event.number} {event.type.value} {event.key or ''} came after {ended.type.value}",
            )
        ended = event if event.type in RUN_ENDS else None if event.type in RUN_BEGINS_AGAIN else ended


def held_back_begins_nothing(history: History, _: Ledger) -> Iterator[Violation]:
    """I6: while a run is paused no attempt starts, and while it is undone none but the one that undoes.

    A job that was to go to the worker at once, and met a pause, is told to have started and to be released again.
    """
    held: Event | None = None
    for event in history.events:
        if event.type in {EventType.RUN_PAUSED, EventType.RUN_COMPENSATING}:
            held = event
        elif event.type is EventType.RUN_UNPAUSED or event.type in RUN_ENDS or event.type in RUN_BEGINS_AGAIN:
            held = None
        if held is None or event.key is None or event.type is not EventType.STAGE_STARTED:
            continue
        behind = [one.type for one in history.about(event.key) if one.number > event.number]
        if held.type is EventType.RUN_PAUSED and behind[:1] == [EventType.STAGE_RELEASED]:
            continue
        if held.type is EventType.RUN_PAUSED or event.key.stage_id != UNDO:
            yield Violation(
                invariant="I6",
                promise="a run that is held back starts no further stage",
                subject=str(event.key),
                found=f"it started with event {event.number}, after {held.type.value} with event {held.number}",
            )


def attempts_are_bounded(history: History, ledger: Ledger) -> Iterator[Violation]:
    """I7: never more attempts than the policy allows, counted durably before user code runs.

    A job whose failure has consequences gets one attempt more, and more of that, when its last worker dies: to tell
    what follows, never to execute.
    """

    def broken(subject: object, found: str) -> Violation:
        return Violation(invariant="I7", promise="attempts are bounded", subject=str(subject), found=found)

    for key, stage in history.stages.items():
        is_guarded = history.definition is None or key.stage_id in history.definition.guarded
        for started, given_back in _stretches(history, key):
            if started - given_back > stage.max_attempts:
                yield broken(key, f"{started} starts, {given_back} given back, where {stage.max_attempts} are allowed")
        if stage.attempt > stage.max_attempts + is_guarded:
            yield broken(key, f"attempt {stage.attempt}, where {stage.max_attempts} are allowed")
    for effect in _effects(history, ledger):
        there = history.stages.get(effect.key)
        starts = history.about(effect.key, EventType.STAGE_STARTED)
        counted_first = any(event.data["attempt"] == effect.attempt for event in starts)
        # A poll is an attempt that has no event of its own.
        polled = bool(history.about(effect.key, EventType.STAGE_SUSPENDED))
        if there is None or there.epoch < effect.fence or not (counted_first or polled):
            yield broken(
                effect.key, f"user code ran as attempt {effect.attempt} under epoch {effect.fence}, not counted"
            )
        elif effect.attempt > there.max_attempts:
            yield broken(effect.key, f"user code ran as attempt {effect.attempt} of {there.max_attempts}")


def generations_do_not_mix(history: History, _: Ledger) -> Iterator[Violation]:
    """I10: what is done again is superseded, and what stands in a generation comes of no older output of those."""

    def broken(subject: object, found: str) -> Violation:
        return Violation(invariant="I10", promise="generations do not mix", subject=str(subject), found=found)

    redone = history.redone()
    if history.run.generation != 1 + len(redone):
        yield broken(f"run {history.run.id}", f"generation {history.run.generation} after {len(redone)} reruns")
    for key, stage in history.stages.items():
        if not _is_plain(key.stage_id, history):
            continue
        later = [
            generation
            for generation, event in redone.items()
            if generation > key.generation and key.stage_id in event.data["stages"] and _replaces(event, stage)
        ]
        if stage.superseded != bool(later):
            yield broken(key, f"superseded is {stage.superseded}, and generations {later} did it again")
        begun = redone.get(key.generation)
        is_rerun = begun is not None and begun.type is EventType.RUN_RERUN
        if begun is not None and is_rerun and key.stage_id not in begun.data["stages"]:
            yield broken(key, "it exists in a generation that did not do it again")
        for event in _late(history, key, redone.get(key.generation + 1))[:1]:
            yield broken(key, f"event {event.number} {event.type.value} came after its generation ended")
    for stage_id in history.run.output_of:
        final = history.completed(stage_id, generation=history.run.generation)
        if final is None or final.superseded:
            yield broken(f"run {history.run.id}", f'its output names "{stage_id}", which it does not have any more')


def _late(history: History, key: StageKey, next_began: Event | None) -> list[Event]:
    """Return the events about the instance after the next generation began; that it is undone may be told then."""
    return [
        event
        for event in history.about(key)
        if next_began is not None and event.number > next_began.number and event.type is not EventType.STAGE_COMPENSATED
    ]


def effect_keys_are_stable(history: History, ledger: Ledger) -> Iterator[Violation]:
    """I11: the key offered to user code is equal for all attempts of one stage instance, and for no two instances.

    What a retry of the run does again is the same instance in this, and so is what undoes it.
    """
    by_instance: dict[StageKey, set[str]] = {}
    by_key: dict[str, set[StageKey]] = {}
    acts: list[Effect | Undone] = [*ledger.effects, *ledger.undone]
    for acted in acts:
        origin = _origin(acted.key, history)
        by_instance.setdefault(origin, set()).add(acted.idempotency_key)
        by_key.setdefault(acted.idempotency_key, set()).add(origin)
    for key, names in by_instance.items():
        shared = [name for name in names if len(by_key[name]) > 1]
        if key.run_id == history.run.id and (len(names) > 1 or shared):
            found = f"its attempts were offered {sorted(names)}, of which others have {sorted(shared)}"
            yield Violation(invariant="I11", promise="effect keys are stable", subject=str(key), found=found)


def what_was_done_is_undone(history: History, ledger: Ledger) -> Iterator[Violation]:
    """Undo: when it is over each completed stage that can be undone was, the latest first, and the timeline says so."""

    def broken(subject: object, found: str) -> Violation:
        return Violation(invariant="undo", promise="what was done is undone", subject=str(subject), found=found)

    undone = [stage for key, stage in history.stages.items() if key.stage_id == UNDO]
    if history.definition is None or not any(stage.status is StageStatus.COMPLETED for stage in undone):
        return
    wanted = [
        stage
        for key, stage in history.stages.items()
        if stage.status is StageStatus.COMPLETED
        and not stage.superseded
        and history.definition.stages[key.stage_id].compensate is not None
    ]
    acted = {one.key: one.output for one in reversed(ledger.undone)}
    for stage in wanted:
        told = len(history.about(stage.key, EventType.STAGE_COMPENSATED))
        if stage.key not in acted or told != 1:
            yield broken(stage.key, f"it was undone {stage.key in acted}, and told so {told} times")
        elif history.texts.get(stage.key) != to_json(acted[stage.key]):
            yield broken(stage.key, f"it returned {history.texts.get(stage.key)}, undone was {acted[stage.key]}")
    first = list(dict.fromkeys(one.key for one in ledger.undone if one.key.run_id == history.run.id))
    ends = [history.stages[key].finished_at for key in first if key in history.stages]
    if ends != sorted(ends, key=lambda at: at or START, reverse=True):
        yield broken(f"run {history.run.id}", f"it was undone in the order {[key.stage_id for key in first]}")


def _effects(history: History, ledger: Ledger) -> Sequence[Effect]:
    return [effect for effect in ledger.effects if effect.key.run_id == history.run.id]


def _stretches(history: History, key: StageKey) -> Iterator[tuple[int, int]]:
    """Return how many attempts were started and given back, for each time that they were counted from the start."""
    started = given_back = 0
    for event in history.about(key):
        if event.type in {EventType.STAGE_WAITING, EventType.STAGE_SUSPENDED}:
            yield started, given_back
            started = given_back = 0
        elif event.type is EventType.STAGE_STARTED:
            started += event.data["attempt"] <= history.stages[key].max_attempts
        elif event.type in {EventType.STAGE_RELEASED, EventType.STAGE_KEY_AWAITED}:
            given_back += 1
    yield started, given_back


def _is_plain(stage_id: str, history: History) -> bool:
    """Return whether a rerun says of the stage as a whole that it is done again: loops are done so turn by turn."""
    definition = history.definition
    return "~" not in stage_id and (definition is None or not definition.graph.nests.get(stage_id))


def _replaces(event: Event, stage: StageInstance) -> bool:
    """Return whether what the event told of made the record invisible: a retry leaves what completed."""
    undone = stage.status in {StageStatus.FAILED, StageStatus.CANCELLED}
    return undone or event.type is EventType.RUN_RERUN


def _origin(key: StageKey, history: History) -> StageKey:
    """Return the instance under whose name the effects of *key* go: the one that a retry of the run does again."""
    stage = history.stages.get(key)
    if stage is None or not _is_plain(key.stage_id, history):
        return key if stage is None else attrs.evolve(key, generation=stage.origin)
    redone = history.redone()
    begun = redone.get(key.generation)
    if begun is None or begun.type is EventType.RUN_RERUN:
        return key
    reruns = [
        generation
        for generation, event in redone.items()
        if event.type is EventType.RUN_RERUN and generation < key.generation and key.stage_id in event.data["stages"]
    ]
    for generation in range(key.generation - 1, max(reruns, default=1) - 1, -1):
        earlier = attrs.evolve(key, generation=generation)
        if earlier in history.stages:
            return _origin(earlier, history)
    return key
