"""What each run must keep to on its way through the graph: inputs, joins, choices, skips and maps."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.codec import digest
from holdfast.entities.definition import Act
from holdfast.entities.graph import END, Edge, EdgeOn, Way
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageInstance, StageKey, StageStatus
from holdfast.events import Event, EventType
from holdfast_testing.invariants.given import input_texts
from holdfast_testing.invariants.history import History
from holdfast_testing.invariants.ledger import Ledger, Violation

#: How a stage instance comes to be that is not skipped.
_BEGINNINGS = (EventType.STAGE_READY, EventType.STAGE_STARTED, EventType.STAGE_WAITING)


def stages_see_their_predecessors(history: History, ledger: Ledger) -> Iterator[Violation]:
    """I8: the input of a stage is the committed outputs that the definition names, of the right generation.

    A body that runs although its lease has ended is given what is visible then, which a later turn of a loop or a rerun
    may have made; `Snapshots.get_outputs` knows of neither. Nothing of such an attempt is ever committed.
    """
    if history.definition is None:
        return
    for effect in ledger.effects:
        if effect.key.run_id != history.run.id or effect.seen is None:
            continue
        counts = (effect.key, effect.fence) in ledger.settled
        expected = {digest(text) for text in input_texts(history, effect.key, counts=counts)}
        if effect.seen not in expected:
            yield Violation(
                invariant="I8",
                promise="a stage sees exactly its committed predecessors",
                subject=str(effect.key),
                found=f"its body was given an input of digest {effect.seen}; its predecessors make {sorted(expected)}",
            )


def joins_fire_once(history: History, _: Ledger) -> Iterator[Violation]:
    """I9: every instance begins once, after all that leads to it is resolved, and by edges that were taken."""
    if history.definition is None:
        return
    for key, stage in history.stages.items():
        if stage.status is StageStatus.SKIPPED:
            continue
        began = history.began(key)
        beginnings = history.about(key, EventType.STAGE_READY) or history.about(key, *_BEGINNINGS)[:1]
        if began is None or len(beginnings) != 1 or began != beginnings[0]:
            yield _broken(key, f"it began {len(beginnings)} times")
            continue
        for source in stage.via:
            if not any(_ended_before(one, began, history) for one in history.leading(source, key)):
                yield _broken(key, f'it began with event {began.number}, and "{source}" does not lead to it')
        yield from _resolved_before(history, stage, began)


def nothing_taken_is_missing(history: History, _: Ledger) -> Iterator[Violation]:
    """I9: in a run that completed, everything is there that the taken edges lead to, and what it gives is an end."""
    if history.definition is None or history.run.status is not RunStatus.COMPLETED:
        return
    visible = [stage for stage in history.stages.values() if not stage.superseded]
    # What a join did not wait for may be cut off anywhere.
    if all(stage.status is not StageStatus.CANCELLED for stage in visible):
        for stage in visible:
            edge = history.taken(stage) if stage.status is StageStatus.COMPLETED else None
            for target in () if edge is None else edge.targets:
                if not _is_there(history, stage, edge=edge, target=target):
                    yield _broken(stage.key, f'its edge to "{target}" was taken, and nothing came of it')
    for stage_id in history.run.output_of:
        final = history.completed(stage_id, generation=history.run.generation)
        edge = None if final is None else history.taken(final)
        if edge is None or END not in edge.targets:
            yield _broken(f"run {history.run.id}", f'its output is that of "{stage_id}", which it did not end with')


def one_edge_is_taken(history: History, _: Ledger) -> Iterator[Violation]:
    """I9: behind a completed instance exactly one edge is taken, the highest that matches, and everybody says so."""
    if history.definition is None:
        return
    for key, stage in history.stages.items():
        outgoing = history.known.graph.outgoing[key.stage_id]
        if stage.status is not StageStatus.COMPLETED:
            if stage.edge is not None:
                yield _broken(key, f"it is {stage.status.value} and took the edge {stage.edge}")
            continue
        told = next((event.data.get("edge") for event in history.about(key, EventType.STAGE_COMPLETED)), None)
        if len(outgoing) < 2:
            if stage.edge is not None or told is not None:
                yield _broken(key, f"it has no choice and took the edge {stage.edge}")
        elif stage.edge != told:
            yield _broken(key, f"its record says the edge {stage.edge}, its event {told}")
        elif stage.edge:
            expected = _expected(history, stage, outgoing)
            if expected is not None and expected.id != stage.edge:
                yield _broken(key, f"the edge {stage.edge} was taken in place of {expected.id}")


def skipped_never_execute(history: History, ledger: Ledger) -> Iterator[Violation]:
    """I9: what was skipped was told so once and did nothing else."""
    acted = {effect.key for effect in ledger.effects}
    for key, stage in history.stages.items():
        if stage.status is not StageStatus.SKIPPED:
            continue
        told = [event.type.value for event in history.about(key)]
        if told != [EventType.STAGE_SKIPPED.value] or key in acted:
            did = " and its body ran" if key in acted else ""
            yield _broken(key, f"it is SKIPPED, and its events are {told}{did}")


def maps_keep_their_window(history: History, _: Ledger) -> Iterator[Violation]:
    """I33: no more items of a map are under way at any time than it allows."""
    if history.definition is None:
        return
    for spec in history.known.stages.values():
        if spec.mapped is None:
            continue
        live: set[tuple[int, int, int]] = set()
        for event in history.events:
            if event.key is None or event.key.stage_id not in spec.mapped.body:
                continue
            at = (event.key.generation, event.key.turn, event.key.item)
            is_over = event.type in {EventType.STAGE_FAILED, EventType.STAGE_SKIPPED} or (
                event.type is EventType.STAGE_COMPLETED and event.key.stage_id == spec.mapped.body[-1]
            )
            (live.discard if is_over else live.add)(at)
            under_way = [one for one in live if one[:2] == at[:2]]
            if len(under_way) > spec.mapped.limit:
                yield Violation(
                    invariant="I33",
                    promise="limits hold",
                    subject=f'map "{spec.id}" of run {history.run.id}',
                    found=f"{len(under_way)} items were under way with event {event.number}, {spec.mapped.limit} may",
                )
                return


def _broken(subject: object, found: str) -> Violation:
    return Violation(invariant="I9", promise="a join fires once", subject=str(subject), found=found)


def _ended_before(stage: StageInstance, began: Event, history: History) -> bool:
    ended = history.ended(stage.key)
    return ended is not None and ended.number < began.number


def _resolved_before(history: History, stage: StageInstance, began: Event) -> Iterator[Violation]:
    """Return what leads to the instance and was not resolved when it began, although its join waits for all."""
    key, spec = stage.key, history.known.stages[stage.key.stage_id]
    if spec.act is Act.COLLECT:
        yield from _items_before(history, stage, began)
        return
    if spec.join.need is not None:
        if len(stage.via) < spec.join.need:
            yield _broken(key, f"it began when {len(stage.via)} led to it, and needs {spec.join.need}")
        return
    graph = history.known.graph
    for source, some in graph.outgoing.items():
        for edge in some:
            way = Way(edge=edge, target=key.stage_id)
            if source not in history.known.stages or key.stage_id not in edge.targets:
                continue
            # What begins a next turn, or leaves a loop, need not wait for any other.
            if graph.is_back(way) or graph.leaves(way) is not None or graph.nests[key.stage_id][-1:] == (key.stage_id,):
                continue
            turn = graph.at(source, of=key.stage_id, turn=key.turn)
            item = key.item if history.known.stages[source].within is not None else 0
            there = [
                one
                for at, one in history.stages.items()
                if (at.stage_id, at.turn, at.item) == (source, turn, item) and at.generation <= key.generation
            ]
            if not any(_ended_before(one, began, history) for one in there):
                yield _broken(key, f'it began with event {began.number}, before "{source}" was resolved')


def _items_before(history: History, stage: StageInstance, began: Event) -> Iterator[Violation]:
    key, spec = stage.key, history.known.stages[stage.key.stage_id]
    split = history.known.stages[spec.sources[0]].within
    assert split is not None, "what is collected comes out of a map"
    begun = StageKey(run_id=key.run_id, stage_id=split, generation=key.generation, turn=key.turn)
    for event in history.about(begun, EventType.STAGE_COMPLETED):
        for item in range(event.data["items"]):
            at = StageKey(
                run_id=key.run_id, stage_id=spec.sources[0], generation=key.generation, turn=key.turn, item=item
            )
            there = history.stages.get(at)
            if there is None or not _ended_before(there, began, history):
                yield _broken(key, f"it began with event {began.number}, before item {item} was done")


def _is_there(history: History, stage: StageInstance, *, edge: Edge | None, target: str) -> bool:
    assert edge is not None, "it was taken"
    if target == END:
        return True
    turn = history.known.graph.turn(Way(edge=edge, target=target), turn=stage.key.turn)
    return any((at.stage_id, at.turn) == (target, turn) and history.beside(stage.key, at) for at in history.stages)


def _expected(history: History, stage: StageInstance, outgoing: tuple[Edge, ...]) -> Edge | None:
    """Return the edge that the conditions choose; None if more than the output decides."""
    conditions = [edge.condition for edge in outgoing if edge.condition is not None]
    text = history.texts.get(stage.key)
    if text is None or any(edge.on is EdgeOn.TIMEOUT for edge in outgoing):
        return None
    if any(condition.takes_run for condition in conditions):
        return None
    output = history.known.stages[stage.key.stage_id].output.decode(text, what="output")
    matching = [edge for edge in outgoing if edge.condition is None or edge.condition.function(output)]
    return max(matching, key=lambda edge: edge.priority, default=None)
