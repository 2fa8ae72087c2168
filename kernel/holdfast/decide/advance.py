"""The decision after a stage completed: its record, and what follows from it."""

from __future__ import annotations

from typing import Any

import attrs

from holdfast.change import Change, Finish, NewItems
from holdfast.decide.ending import failing
from holdfast.decide.outcome import NOTHING_LEFT, Left, outcome
from holdfast.decide.route import Keep, Place, Routing
from holdfast.entities.definition import Definition
from holdfast.entities.graph import Edge
from holdfast.entities.payload import Payload
from holdfast.entities.run import Failure
from holdfast.entities.stage import Lease, StageStatus
from holdfast.events import EventType, NewEvent


def advance(  # noqa: PLR0913 - everything that the decision hangs on
    lease: Lease,
    *,
    definition: Definition,
    output: Payload,
    edge: Edge,
    left: Left = NOTHING_LEFT,
    keep: Keep | None = None,
    cached: bool = False,
) -> Change:
    """Return the change-set that completes the leased stage and follows *edge*.

    Args:
        lease: The attempt that completed.
        definition: The workflow of the run.
        output: What the stage returned.
        edge: The edge that was chosen.
        left: What the attempt leaves behind.
        keep: The worker that takes what follows at once, if it may.
        cached: Whether the output is an earlier one and the stage was not executed for it.
    """
    key = lease.key
    routing = Routing(definition, lease.run, generation=key.generation, keep=keep)
    spec = definition.stages[key.stage_id]
    routing.take(edge, place_of(lease), origin=lease.origin if spec.within is not None else None)
    is_choice = len(definition.graph.outgoing[key.stage_id]) > 1
    data: dict[str, Any] = {"attempt": lease.attempt}
    if is_choice:
        data |= {"edge": edge.id, "because": edge.condition.label if edge.condition else edge.on.said}
    if cached:
        data["cached"] = True
    told = NewEvent(type=EventType.STAGE_COMPLETED, key=key, data=data)
    change = outcome(
        lease,
        settle=Finish(
            status=StageStatus.COMPLETED,
            output=output,
            metrics=left.metrics,
            edge=edge.id if is_choice else None,
        ),
        left=left,
        step=routing.parts.step(before=(*left.events, told)),
    )
    return attrs.evolve(change, rules=routing.rules) if routing.rules else change


def split(
    lease: Lease,
    *,
    definition: Definition,
    output: Payload,
    items: tuple[Payload, ...],
    keep: Keep | None = None,
) -> Change:
    """Return the change-set that begins the map: its items are stored, the first of them become live."""
    key = lease.key
    spec = definition.stages[key.stage_id]
    routing = Routing(definition, lease.run, generation=key.generation, keep=keep)
    routing.split(spec, place_of(lease), items=len(items), origin=lease.origin)
    told = NewEvent(type=EventType.STAGE_COMPLETED, key=key, data={"attempt": lease.attempt, "items": len(items)})
    stored = NewItems(key=key, payloads=items) if items else None
    change = outcome(
        lease,
        settle=Finish(status=StageStatus.COMPLETED, output=output),
        step=routing.parts.step(before=(told,), items=stored),
    )
    return attrs.evolve(change, rules=routing.rules)


def stranded(
    lease: Lease, *, output: Payload, failure: Failure, left: Left = NOTHING_LEFT, cached: bool = False
) -> Change:
    """Return the change-set that keeps the output of a stage without an edge to take, and fails the run."""
    data: dict[str, Any] = {"attempt": lease.attempt, "edge": "", "because": failure.message}
    if cached:
        data["cached"] = True
    told = NewEvent(type=EventType.STAGE_COMPLETED, key=lease.key, data=data)
    return outcome(
        lease,
        settle=Finish(status=StageStatus.COMPLETED, output=output, metrics=left.metrics, edge=""),
        left=left,
        # What was done is not undone: a fix of the conditions lets the run go on from here.
        step=failing(
            failure,
            header=attrs.evolve(lease.run, compensates=False),
            generation=lease.key.generation,
            before=(*left.events, told),
        ),
    )


def place_of(lease: Lease) -> Place:
    """Return where the attempt stands in the graph."""
    key = lease.key
    return Place(stage_id=key.stage_id, turn=key.turn, item=key.item, depth=lease.depth)
