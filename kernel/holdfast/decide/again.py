"""The decisions to do a finished run again, from one of its stages or from where it failed, in a new generation.

What is kept is followed once more, edge by edge: whatever it leads to and is not kept begins again, and the gates of
the new generation hear of everything that was resolved before. What is done again is superseded, never deleted.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping

import attrs

from holdfast.change import Change, Require, Resolution, RunPatch
from holdfast.decide.admit import deadline
from holdfast.decide.ending import undoing
from holdfast.decide.route import Place, Routing
from holdfast.entities.definition import UNDO, Act, Definition
from holdfast.entities.graph import Edge
from holdfast.entities.run import TERMINAL_RUN, Failure, RunStatus
from holdfast.entities.snapshot import RunSnapshot
from holdfast.entities.stage import StageInstance, StageStatus
from holdfast.errors import IllegalTransition, UnknownStage
from holdfast.events import EventType, NewEvent
from holdfast.traces import Supersede

#: A stage in a turn.
At = tuple[str, int]


@attrs.frozen(kw_only=True)
class Again:
    """The change-set of a rerun or retry and what it means for a person."""

    change: Change
    generation: int
    #: Stages that are done again, in definition order.
    stage_ids: tuple[str, ...]


def rerun(snapshot: RunSnapshot, *, definition: Definition, stage_id: str) -> Again:
    """Return the decision to do *stage_id* in its last turn again, and everything that does not lead to it.

    Raises:
        UnknownStage: If the workflow has no such stage.
        IllegalTransition: If the run has not ended, or a stage before *stage_id* never completed or was undone.
    """
    run = snapshot.run
    if stage_id not in definition.stages or "~" in stage_id:
        raise UnknownStage(stage_id, workflow_id=definition.id, known=_shown(definition.stages))
    if run.status not in TERMINAL_RUN:
        raise IllegalTransition(
            f"Run {run.id}", source=run.status.value, target="rerun", hint="Cancel it first, or wait until it ends."
        )
    # A map is done again as a whole.
    begin = definition.stages[stage_id].within or stage_id
    newest = newest_of(snapshot.stages)
    # A turn that it was skipped in is not one that it was done in.
    begun = (one for one in newest if one.key.stage_id == begin and one.status is not StageStatus.SKIPPED)
    turn = max((one.key.turn for one in begun), default=0)
    graph, collected = definition.graph, _collecting(newest, definition=definition)
    kept = {
        (one.key.stage_id, one.key.turn): one
        for one in newest
        if _stands(one, definition)
        and collected(one) is not False
        and graph.precedes(one.key.stage_id, one.key.turn, of=begin, of_turn=turn)
    }
    _require_not_undone(kept.values(), newest=newest, snapshot=snapshot, definition=definition, asked=stage_id)
    again = tuple(
        spec.id
        for spec in definition.stages.values()
        if spec.id != UNDO and not _is_all_kept(spec.within or spec.id, newest, kept)
    )
    generation = run.generation + 1
    gone = (*again, UNDO) if UNDO in definition.stages else again
    supersede = tuple(Supersede(stage_id=one, from_turn=_first_again(one, kept)) for one in gone)
    told = {"fromStage": stage_id, "generation": generation, "stages": _shown(again)}
    routing = follow(kept.values(), snapshot=snapshot, definition=definition, generation=generation)
    opened = routing.settled()
    if opened.run is not None or not any((job.key.stage_id, job.key.turn) == (begin, turn) for job in opened.jobs):
        raise _not_led_to(begin, turn, snapshot=snapshot, definition=definition, kept=kept, asked=stage_id)
    return _opened(
        snapshot,
        definition,
        routing=routing,
        supersede=supersede,
        told=NewEvent(type=EventType.RUN_RERUN, data=told),
        again=again,
    )


def retry_run(snapshot: RunSnapshot, *, definition: Definition, first: Failure | None = None) -> Again:
    """Return the decision to let a FAILED run go on from where it failed; what completed is kept.

    Checkpoints and answered waits of what is done again stand, and its effects go under the same idempotency keys.

    Args:
        snapshot: The run.
        definition: Its workflow.
        first: Of a run that could not be undone, why it had to be; None if it was cancelled.

    Raises:
        IllegalTransition: If the run has not failed, or what its stages did has been undone.
    """
    run = snapshot.run
    if run.status is not RunStatus.FAILED:
        hint = "Only a FAILED run is retried; rerun a COMPLETED or CANCELLED one from one of its stages."
        raise IllegalTransition(f"Run {run.id}", source=run.status.value, target="retry", hint=hint)
    newest = newest_of(snapshot.stages)
    generation = run.generation + 1
    undo = next((one for one in newest if one.key.stage_id == UNDO), None)
    if undo is not None:
        return _undo_again(snapshot, undo, generation=generation, first=first)
    kept = _kept_by_retry(newest, definition=definition)
    redone = [one for one in newest if (one.key.stage_id, one.key.turn) not in kept]
    origins = {(one.key.stage_id, one.key.turn, one.key.item): one.origin for one in redone}
    again = tuple(one for one in definition.stages if any(stage.key.stage_id == one for stage in redone))
    told = {"generation": generation, "stages": _shown(again)}
    return _opened(
        snapshot,
        definition,
        routing=follow(kept.values(), snapshot=snapshot, definition=definition, generation=generation, origins=origins),
        supersede=tuple(Supersede(stage_id=one, completed=False) for one in again),
        told=NewEvent(type=EventType.RUN_RETRIED, data=told),
        again=again,
    )


def follow(
    kept: Iterable[StageInstance],
    *,
    snapshot: RunSnapshot,
    definition: Definition,
    generation: int,
    origins: Mapping[tuple[str, int, int], int] | None = None,
) -> Routing:
    """Return what follows from the *kept* instances and from the start, for all that is not kept."""
    instances = sorted(kept, key=lambda one: one.key)
    there = {(one.key.stage_id, one.key.turn) for one in instances}
    routing = Routing(definition, snapshot.run.header, generation=generation, kept=there, origins=origins)
    routing.begin()
    for one in instances:
        spec = definition.stages.get(one.key.stage_id)
        if spec is None or spec.within is not None:
            continue
        routing.shut(one.key.stage_id, turn=one.key.turn)
        place = Place(stage_id=one.key.stage_id, turn=one.key.turn, depth=one.depth)
        if one.status is StageStatus.COMPLETED and spec.act is not Act.SPLIT:
            edge = _edge_behind(one, definition)
            if edge is not None:
                routing.take(edge, place)
        elif one.status is StageStatus.SKIPPED:
            routing.leave(place, Resolution.SKIPPED)
        elif one.status is StageStatus.FAILED and definition.absorbs(one.key.stage_id):
            routing.leave(place, Resolution.FAILED)
    return routing


def newest_of(stages: Iterable[StageInstance]) -> list[StageInstance]:
    """Return the newest generation of each stage, turn and item, in order of key."""
    newest: dict[tuple[str, int, int], StageInstance] = {}
    for one in sorted(stages, key=lambda stage: stage.key.generation):
        newest[one.key.stage_id, one.key.turn, one.key.item] = one
    return sorted(newest.values(), key=lambda one: one.key)


_DONE = frozenset({StageStatus.COMPLETED, StageStatus.SKIPPED})


def _edge_behind(one: StageInstance, definition: Definition) -> Edge | None:
    if one.edge is None:
        outgoing = definition.graph.outgoing[one.key.stage_id]
        return outgoing[0] if outgoing else None
    return definition.edge.get(one.edge)


def _kept_by_retry(newest: list[StageInstance], *, definition: Definition) -> dict[At, StageInstance]:
    graph = definition.graph
    done = {(one.key.stage_id, one.key.turn) for one in newest if one.status in _DONE and one.edge != ""}
    collected = _collecting(newest, definition=definition)
    joined = {(one.key.stage_id, one.key.turn) for one in newest if one.status is StageStatus.COMPLETED}
    tolerated = _tolerated(newest, joined=joined, definition=definition)
    redone = (
        one
        for one in newest
        if (one.status not in _DONE or one.edge == "")
        and not collected(one)
        and (one.key.stage_id, one.key.turn) not in tolerated
    )
    roots = [one.key for one in redone if one.key.stage_id in definition.stages]

    def stays(one: StageInstance) -> bool:
        stage_id, turn = one.key.stage_id, one.key.turn
        whole = collected(one)
        if whole is not None:
            # A map is kept as a whole or done again; its completed items are then taken as they are.
            return whole
        if (stage_id, turn) not in done or stage_id not in definition.stages:
            return False
        if one.status is StageStatus.COMPLETED:
            return True
        # What was skipped because of a failure may be taken now.
        return not any(graph.precedes(root.stage_id, root.turn, of=stage_id, of_turn=turn) for root in roots)

    return {**{(one.key.stage_id, one.key.turn): one for one in newest if stays(one)}, **tolerated}


def _collecting(newest: Iterable[StageInstance], *, definition: Definition) -> Callable[[StageInstance], bool | None]:
    """Return what tells whether the map that an instance belongs to came to its end.

    It says None of instances outside of maps, and of maps that were skipped as a whole.
    """
    there = {(one.key.stage_id, one.key.turn): one for one in newest}

    def collected(one: StageInstance) -> bool | None:
        spec = definition.stages.get(one.key.stage_id)
        mapped = None if spec is None else definition.stages[spec.within or spec.id].mapped
        end = None if mapped is None else there.get((mapped.collect, one.key.turn))
        if mapped is None or (end is not None and end.status is StageStatus.SKIPPED):
            return None
        return end is not None and end.status is StageStatus.COMPLETED and end.edge != ""

    return collected


def _tolerated(
    newest: Iterable[StageInstance], *, joined: Container[At], definition: Definition
) -> dict[At, StageInstance]:
    """Return the FAILED instances outside of maps that the *joined* joins went on without."""
    graph = definition.graph
    found: dict[At, StageInstance] = {}
    for one in newest:
        stage_id, turn = one.key.stage_id, one.key.turn
        spec = definition.stages.get(stage_id)
        if one.status is not StageStatus.FAILED or spec is None or spec.within is not None:
            continue
        joins = definition.absorbers(stage_id)
        if joins and all((join, graph.at(join, of=stage_id, turn=turn)) in joined for join in joins):
            found[stage_id, turn] = one
    return found


def _undo_again(snapshot: RunSnapshot, undo: StageInstance, *, generation: int, first: Failure | None) -> Again:
    run = snapshot.run
    if undo.status is StageStatus.COMPLETED:
        hint = "What its stages did has been undone. Rerun it from its first stage."
        raise IllegalTransition(f"Run {run.id}", source=run.status.value, target="retry", hint=hint)
    told = {"generation": generation, "stages": [UNDO]}
    step = undoing(
        first,
        header=run.header,
        generation=generation,
        origin=undo.origin,
        before=(NewEvent(type=EventType.RUN_RETRIED, data=told),),
        told={"because": "retried"},
    )
    assert step.run is not None, "undoing moves the run"
    change = Change(
        run_id=run.id,
        require=Require(statuses=TERMINAL_RUN, version=run.version),
        step=attrs.evolve(step, run=attrs.evolve(step.run, generation=generation)),
        supersede=(Supersede(stage_id=UNDO, completed=False),),
    )
    return Again(change=change, generation=generation, stage_ids=(UNDO,))


def _opened(
    snapshot: RunSnapshot,
    definition: Definition,
    *,
    routing: Routing,
    supersede: tuple[Supersede, ...],
    told: NewEvent,
    again: tuple[str, ...],
) -> Again:
    run = snapshot.run
    generation = run.generation + 1
    step = routing.parts.step(before=(told,))
    patch = RunPatch(status=RunStatus.RUNNING, generation=generation)
    change = Change(
        run_id=run.id,
        require=Require(statuses=TERMINAL_RUN, version=run.version),
        step=attrs.evolve(step, run=step.run or patch, timers=(*deadline(definition), *step.timers)),
        rules=routing.rules,
        supersede=supersede,
    )
    return Again(change=change, generation=generation, stage_ids=again)


def _require_not_undone(
    kept: Iterable[StageInstance],
    *,
    newest: Iterable[StageInstance],
    snapshot: RunSnapshot,
    definition: Definition,
    asked: str,
) -> None:
    if not any(one.key.stage_id == UNDO for one in newest):
        return
    undone = [one.key.stage_id for one in kept if definition.stages[one.key.stage_id].compensate is not None]
    if undone:
        hint = f"What stages before it did has been undone: {', '.join(dict.fromkeys(undone))}. Rerun from one of them."
        run = snapshot.run
        raise IllegalTransition(f"Run {run.id}", source=run.status.value, target=f'rerun from "{asked}"', hint=hint)


def _stands(one: StageInstance, definition: Definition) -> bool:
    """Return whether the instance has come to an end that what follows can build on."""
    if one.status is StageStatus.FAILED:
        return definition.absorbs(one.key.stage_id)
    return one.status in _DONE and one.edge != ""


def _not_led_to(
    begin: str,
    turn: int,
    *,
    snapshot: RunSnapshot,
    definition: Definition,
    kept: Mapping[At, StageInstance],
    asked: str,
) -> IllegalTransition:
    graph = definition.graph
    before = [one for one in definition.stages if begin in graph.reach[one] and definition.stages[one].within is None]
    missing = _shown(one for one in before if (one, graph.at(one, of=begin, turn=turn)) not in kept)
    skipped = any(
        one.key.stage_id == begin and one.status is StageStatus.SKIPPED and one.key.turn == turn
        for one in newest_of(snapshot.stages)
    )
    if skipped:
        hint = "It was skipped. Rerun from the stage whose edges decide about it."
    elif missing:
        hint = f"Stages before it never completed: {', '.join(missing)}. Rerun from one of them."
    else:
        hint = "What is kept would fail the run again at once. Rerun from a stage further ahead."
    return IllegalTransition(
        f"Run {snapshot.run.id}",
        source=snapshot.run.status.value,
        target=f'rerun from "{asked}"',
        hint=hint,
    )


def _is_all_kept(stage_id: str, newest: list[StageInstance], kept: Mapping[At, StageInstance]) -> bool:
    turns = [one.key.turn for one in newest if one.key.stage_id == stage_id]
    return bool(turns) and all((stage_id, turn) in kept for turn in turns)


def _first_again(stage_id: str, kept: Mapping[At, StageInstance]) -> int:
    return 1 + max((turn for at, turn in kept if at == stage_id), default=-1)


def _shown(stage_ids: Iterable[str]) -> list[str]:
    """Return the stages that a person wrote."""
    return [stage_id for stage_id in stage_ids if "~" not in stage_id]
