"""Small graphs as text, and what follows in them, told in words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import attrs

from holdfast.change import Change, NewJob, Resolution, Step
from holdfast.decide.route import Place, Routing
from holdfast.entities.definition import Definition, Join
from holdfast.entities.graph import START, turns
from holdfast.entities.run import RunStatus
from holdfast.entities.snapshot import RunSnapshot
from holdfast.entities.stage import StageInstance, StageKey, StageStatus
from holdfast.gates import GateState, arrive, new_gate, next_arrival
from tests.kernel.decide.made import header, instance, run
from tests.kernel.graphs.compiled import compiled
from tests.kernel.graphs.plans import END, Arrow, Node, Plan

#: Between the alternatives that lead away from a stage.
OR = "|"


def drawn(*lines: str, joins: Mapping[str, Join] | None = None, step_limit: int = 100) -> Definition:
    """Return the workflow of lines such as ``a: b c | d``: from a to b and c at once, or else to d.

    The edges of a stage have the ids ``a0``, ``a1`` and so on. ``start:`` and ``end`` stand for the ends of the run; a
    stage ``m*`` is a map over the stage ``m-``, whose end is ``m+``.
    """
    ways = {line.partition(":")[0]: line.partition(":")[2] for line in lines}
    arrows: list[Arrow] = []
    nodes: dict[str, Node] = {}
    for name, text in ways.items():
        for number, targets in enumerate(text.split(OR)):
            is_last = number == text.count(OR)
            arrows.append(
                Arrow(
                    id=f"{name}{number}",
                    source=START if name == "start" else name,
                    targets=tuple(END if one == "end" else one for one in targets.split()),
                    when=None if is_last else frozenset({number}),
                    priority=0 if is_last else 1,
                )
            )
        if name != "start":
            nodes |= _nodes(name)
    definition = compiled(Plan(nodes=nodes, arrows=(*arrows, *_inside(nodes))))
    stages = {
        spec.id: attrs.evolve(spec, join=(joins or {}).get(spec.id, Join()), index=index)
        for index, spec in enumerate(definition.stages.values())
    }
    return attrs.evolve(definition, stages=stages, step_limit=step_limit)


def _nodes(name: str) -> dict[str, Node]:
    if not name.endswith("+"):
        return {name: Node(id=name)}
    split, body = f"{name[:-1]}*", f"{name[:-1]}-"
    return {
        split: Node(id=split, kind="split", body=(body,), collect=name, limit=2),
        body: Node(id=body, within=split, form="item"),
        name: Node(id=name, kind="collect", form="nothing", sources=(body,)),
    }


def _inside(nodes: Iterable[str]) -> list[Arrow]:
    names = [name[:-1] for name in nodes if name.endswith("+")]
    return [
        Arrow(id=f"{name}{source}", source=f"{name}{source}", targets=(f"{name}{target}",))
        for name in names
        for source, target in (("*", "-"), ("-", "+"))
    ]


class Followed(NamedTuple):
    """What followed: stages with their turns, such as ``a`` or ``a@1``, in order."""

    begun: tuple[str, ...]
    skipped: tuple[str, ...]
    run: RunStatus | None
    code: str | None


def followed(step: Step, *, definition: Definition) -> Followed:
    """Return the step in words."""

    def told(key: StageKey) -> str:
        turn = turns(key.turn, depth=len(definition.graph.nests[key.stage_id]))
        item = f"#{key.item}" if key.item else ""
        return f"{key.stage_id}{item}" if not any(turn) else f"{key.stage_id}{item}@{'.'.join(map(str, turn))}"

    failure = None if step.run is None else step.run.failure
    return Followed(
        begun=tuple(told(job.key) for job in step.jobs),
        skipped=tuple(told(key) for key in step.skips),
        run=None if step.run is None else step.run.status,
        code=None if failure is None else failure.code,
    )


def arrived(change: Change) -> Step:
    """Return what follows from the change-set, its arrivals heard of by gates that know nothing yet."""
    steps = [change.step]
    states: dict[str, GateState | None] = {gate.gate: new_gate(gate) for gate in change.step.gates}
    arrivals = list(change.step.arrivals)
    while arrivals:
        arrival = next_arrival(arrivals, change.rules)
        states[arrival.gate], step = arrive(states.get(arrival.gate), change.rules[arrival.gate], arrival)
        if step is not None:
            steps.append(step)
            arrivals += step.arrivals
    return Step(
        jobs=tuple(job for step in steps for job in step.jobs), skips=tuple(key for step in steps for key in step.skips)
    )


class Walk:
    """Lets edges be taken one after the other and tells what follows from all of them together."""

    def __init__(self, definition: Definition) -> None:
        self.definition = definition
        self.routing = Routing(definition, header(), generation=1)

    def take(self, *edges: str, turn: int = 0, depth: int = 1) -> Walk:
        """Take the edges of these ids, from their sources in *turn*."""
        for edge_id in edges:
            edge = self.definition.edge[edge_id]
            self.routing.take(edge, Place(stage_id=edge.source, turn=turn, depth=depth))
        return self

    def fail(self, *stage_ids: str) -> Walk:
        """Let stages fail whose failure a join tolerates."""
        for stage_id in stage_ids:
            self.routing.leave(Place(stage_id=stage_id, depth=1), Resolution.FAILED)
        return self

    @property
    def jobs(self) -> tuple[NewJob, ...]:
        """The jobs that follow."""
        return self.routing.settled().jobs

    @property
    def followed(self) -> Followed:
        """What follows."""
        return followed(self.routing.settled(), definition=self.definition)


def past(
    stage_id: str,
    status: StageStatus = StageStatus.COMPLETED,
    *,
    edge: str | None = None,
    turn: int = 0,
    item: int = 0,
    generation: int = 1,
) -> StageInstance:
    """Return an instance that an ended run holds."""
    one = instance(stage_id, status)
    return attrs.evolve(one, key=attrs.evolve(one.key, turn=turn, item=item, generation=generation), edge=edge)


def ended(*stages: StageInstance, status: RunStatus = RunStatus.FAILED) -> RunSnapshot:
    """Return a run that has ended with these instances."""
    return RunSnapshot(run=run(status), stages=tuple(sorted(stages, key=lambda one: one.key)), arrivals={})
