"""What follows from the edges: which stages become live, which are skipped, and what the gates between have to know.

A way to a stage that no other way leads to is followed at once. Any other way ends at a gate: an `Arrival`, with a
`Rule` that says what the gate makes of it. The steps of rules are made here too, so that whichever arrival comes last
brings everything with it that follows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import attrs

from holdfast.change import (
    Arrival,
    Grant,
    NewGate,
    NewItems,
    NewJob,
    NewTimer,
    NewWait,
    Refill,
    Resolution,
    Rule,
    RunPatch,
    Step,
)
from holdfast.decide.ending import failing
from holdfast.decide.opening import opening
from holdfast.entities.definition import Act, Definition, StageSpec
from holdfast.entities.graph import END, START, Edge, Way
from holdfast.entities.run import Failure, RunHeader, RunStatus
from holdfast.entities.stage import StageKey
from holdfast.entities.wait import WaitKind
from holdfast.events import EventType, NewEvent
from holdfast.gates import GateState, arrive, new_gate, next_arrival


@attrs.frozen(kw_only=True)
class Keep:
    """The worker that would like to go on with what follows, and the queues it serves."""

    grant: Grant
    queues: frozenset[str]


@attrs.define
class Parts:
    """A step while it is made."""

    run: RunPatch | None = None
    jobs: list[NewJob] = attrs.field(factory=list)
    skips: list[StageKey] = attrs.field(factory=list)
    timers: list[NewTimer] = attrs.field(factory=list)
    gates: list[NewGate] = attrs.field(factory=list)
    events: list[NewEvent] = attrs.field(factory=list)
    arrivals: list[Arrival] = attrs.field(factory=list)

    def step(self, *, before: tuple[NewEvent, ...] = (), items: NewItems | None = None) -> Step:
        """Return it as it stands, with the facts that come *before* its own."""
        return Step(
            run=self.run,
            jobs=tuple(self.jobs),
            skips=tuple(self.skips),
            timers=tuple(self.timers),
            gates=tuple(self.gates),
            items=items,
            events=(*before, *self.events),
            arrivals=tuple(self.arrivals),
        )


@attrs.frozen(kw_only=True)
class Place:
    """Where on its way a run is: a stage of it in a turn, for an item of a map."""

    stage_id: str
    turn: int = 0
    item: int = 0
    depth: int = 0


def wait_name(name: str, *, spec: StageSpec, item: int) -> str:
    """Return what a wait of the stage is addressed by: within a map the item is part of it."""
    return name if spec.within is None else f"{name}[{item}]"


class Routing:
    """What follows from one decision about one run; gathers jobs, events, arrivals and the rules they need."""

    def __init__(
        self,
        definition: Definition,
        header: RunHeader,
        *,
        generation: int,
        keep: Keep | None = None,
        kept: Collection[tuple[str, int]] = (),
        origins: Mapping[tuple[str, int, int], int] | None = None,
    ) -> None:
        self.parts = Parts()
        self.rules: dict[str, Rule] = {}
        self._definition = definition
        self._graph = definition.graph
        self._header = header
        self._generation = generation
        self._keep = keep
        #: Stages with their turns that stay as they are: nothing leads to them again.
        self._kept = kept
        #: The origins of instances that are not their own, by stage, turn and item.
        self._origins = origins or {}
        #: The origin that the instances of a map have from the one that split it.
        self._inherited = generation

    def begin(self) -> None:
        """Follow the edge from the start of the run."""
        self.take(self._definition.edges[0], Place(stage_id=self._definition.edges[0].source))

    def take(self, edge: Edge, place: Place, *, origin: int | None = None) -> None:
        """Follow *edge* from *place*, and skip what is thereby not taken.

        Args:
            edge: The edge that was chosen.
            place: Its source.
            origin: That of the source, when it is inherited: within a map.
        """
        self._inherited = self._generation if origin is None else origin
        # What is passed by comes first: the end of the run, if the edge leads there, is the last that is told.
        self._pass_by(edge, place)
        for target in edge.targets:
            self._resolve(self.parts, Way(edge=edge, target=target), place, resolution=Resolution.TAKEN)

    def split(self, spec: StageSpec, place: Place, *, items: int, origin: int) -> None:
        """Begin the map that *spec* splits: its first items become live, or its end when there are none."""
        mapped = spec.mapped
        assert mapped is not None, "only a map splits"
        self._inherited = origin
        if not items:
            self._start(self.parts, attrs.evolve(place, stage_id=mapped.collect, depth=place.depth + 1), via=())
            return
        gate = NewGate(
            gate=mapped.collect,
            generation=self._generation,
            turn=place.turn,
            arity=items,
            tolerate=mapped.allowed(items),
        )
        self.parts.gates.append(gate)
        for item in range(min(mapped.limit, items)):
            at = attrs.evolve(place, stage_id=mapped.body[0], item=item, depth=place.depth + 1)
            self._start(self.parts, at, via=(spec.id,))

    def shut(self, stage_id: str, *, turn: int) -> None:
        """Make the gate before a stage that is kept, so that what is done again before it opens it no second time."""
        if self._graph.arity[stage_id] > 1:
            gate = NewGate(gate=stage_id, generation=self._generation, turn=turn, arity=0)
            self.parts.gates.append(gate)

    def leave(self, place: Place, resolution: Resolution, *, origin: int | None = None) -> None:
        """Resolve every edge that leads away from a stage that will never take one; *origin* is as in `take`."""
        self._inherited = self._generation if origin is None else origin
        self._behind(self.parts, place, resolution)

    def _pass_by(self, edge: Edge, place: Place) -> None:
        graph = self._graph
        inside = graph.nests.get(edge.targets[0], ())
        for head in graph.nests[place.stage_id]:
            if head not in inside:
                self._pass_exits(self.parts, head, place, resolution=Resolution.SKIPPED, taken=edge)
        for other in graph.outgoing[place.stage_id]:
            if other is not edge:
                self._pass_onward(self.parts, other, place, resolution=Resolution.SKIPPED)

    def _pass_exits(
        self, parts: Parts, head: str, place: Place, *, resolution: Resolution, taken: Edge | None = None
    ) -> None:
        """Resolve the ways out of a loop that leave no loop around it, but for the one that is *taken*."""
        graph = self._graph
        for way in graph.loops[head].exits:
            if way.edge is taken or graph.is_back(way) or graph.leaves(way) != head:
                continue
            turn = graph.at(way.edge.source, of=place.stage_id, turn=place.turn)
            self._resolve(parts, way, attrs.evolve(place, stage_id=way.edge.source, turn=turn), resolution=resolution)

    def _pass_onward(self, parts: Parts, edge: Edge, place: Place, *, resolution: Resolution) -> None:
        """Resolve those ways of an edge that lead on within the turn."""
        for target in edge.targets:
            way = Way(edge=edge, target=target)
            if not self._graph.is_back(way) and self._graph.leaves(way) is None:
                self._resolve(parts, way, place, resolution=resolution)

    def _resolve(self, parts: Parts, way: Way, place: Place, *, resolution: Resolution) -> None:
        """Tell the target of *way* how it was resolved; nobody is told once the run has ended."""
        if parts.run is not None:
            return
        target, graph = way.target, self._graph
        turn = graph.turn(way, turn=place.turn)
        if (target, turn) in self._kept:
            return
        inside = target != END and self._definition.stages[target].within is not None
        at = Place(stage_id=target, turn=turn, item=place.item if inside else 0, depth=place.depth + 1)
        source = None if way.edge.source == START else way.edge.source
        is_collect = self._is_collect(target)
        if graph.is_back(way) or (graph.arity[target] == 1 and not is_collect):
            self._at_once(parts, at, resolution, source=source)
            return
        gate = f"{target}[{at.item}]" if inside else target
        if gate not in self.rules:
            self._add_rule(gate, at)
        arrival = Arrival(gate=gate, resolution=resolution, source=None if is_collect else source)
        parts.arrivals.append(arrival)

    def _is_collect(self, target: str) -> bool:
        return target != END and self._definition.stages[target].act is Act.COLLECT

    def _at_once(self, parts: Parts, at: Place, resolution: Resolution, *, source: str | None) -> None:
        if resolution is Resolution.TAKEN:
            self._start(parts, at, via=(source,) if source else ())
        elif resolution is Resolution.SKIPPED or not self._tolerates(at):
            self._skip(parts, at, resolution)
        else:
            self._start(parts, at, via=())

    def _tolerates(self, at: Place) -> bool:
        return at.stage_id != END and self._definition.stages[at.stage_id].join.tolerate > 0

    def _add_rule(self, gate: str, at: Place) -> None:
        target = at.stage_id
        spec = None if target == END else self._definition.stages[target]
        is_collect = spec is not None and spec.act is Act.COLLECT
        # A placeholder, for a gate may lead to others that are asked about before this one is done.
        self.rules[gate] = Rule(gate=gate, generation=self._generation, turn=at.turn, arity=None)
        # The refill first: a worker that ends an item would rather go on with the next one than collect.
        refill = self._refill(spec, at) if spec is not None and is_collect else None
        opens, skips, fails = Parts(), Parts(), Parts()
        self._start(opens, at, via=())
        self._skip(skips, at, Resolution.SKIPPED)
        self._fail(fails, at)
        self.rules[gate] = Rule(
            gate=gate,
            generation=self._generation,
            turn=at.turn,
            arity=None if is_collect else self._graph.arity[target],
            need=None if spec is None else spec.join.need,
            tolerate=0 if spec is None else spec.join.tolerate,
            opens=opens.step(),
            skips=skips.step(),
            fails=fails.step(),
            refill=refill,
        )

    def _refill(self, spec: StageSpec, at: Place) -> Refill:
        """Return how the map goes on behind one of its items."""
        split = self._definition.stages[spec.sources[0]].within
        assert split is not None, "what is collected comes out of a map"
        mapped = self._definition.stages[split].mapped
        assert mapped is not None, "only a map splits"
        parts = Parts()
        self._start(
            parts, Place(stage_id=mapped.body[0], turn=at.turn, depth=at.depth - len(mapped.body)), via=(split,)
        )
        return Refill(window=mapped.limit, job=parts.jobs[0], event=parts.events[0])

    def _start(self, parts: Parts, at: Place, *, via: tuple[str, ...]) -> None:
        """Add that the stage becomes live, or that the run is complete."""
        definition, header = self._definition, self._header
        if at.stage_id == END:
            output_of = via or definition.final
            parts.run = RunPatch(status=RunStatus.COMPLETED, output_of=output_of)
            parts.events.append(NewEvent(type=EventType.RUN_COMPLETED, data={}))
            return
        if at.depth > definition.step_limit:
            self._exceeded(parts, at)
            return
        spec = definition.stages[at.stage_id]
        key = self._key(at)
        grant = self._granted(spec)
        waits: tuple[NewWait, ...] = ()
        if spec.wait is not None:
            name = wait_name(spec.wait.name, spec=spec, item=at.item)
            waits = (NewWait(name=name, kind=WaitKind.PAYLOAD, timeout=spec.wait.timeout, reason=spec.wait.reason),)
            timers, event = opening(key, waits)
            parts.timers.extend(timers)
            parts.events.append(event)
        elif grant is not None:
            data = {"attempt": 1, "worker": grant.worker}
            parts.events.append(NewEvent(type=EventType.STAGE_STARTED, key=key, data=data))
        else:
            parts.events.append(NewEvent(type=EventType.STAGE_READY, key=key))
        origin = self._inherited if spec.within is not None else self._generation
        parts.jobs.append(
            NewJob(
                key=key,
                workflow_id=header.workflow_id,
                workflow_version=header.workflow_version,
                queue=spec.queue,
                priority=header.priority,
                max_attempts=spec.retry.attempts,
                grant=grant,
                waits=waits,
                via=via,
                depth=at.depth,
                origin=self._origins.get((key.stage_id, key.turn, key.item), origin),
                guarded=at.stage_id in definition.guarded,
                weight=spec.weight,
            )
        )

    def _granted(self, spec: StageSpec) -> Grant | None:
        keep = self._keep
        if keep is None or spec.wait is not None or spec.queue not in keep.queues:
            return None
        # One worker goes on with one job only.
        self._keep = None
        return keep.grant

    def _skip(self, parts: Parts, at: Place, resolution: Resolution) -> None:
        """Add that the stage will not execute, and everything that only it leads to."""
        if at.stage_id == END:
            # Something always ends a run; that nothing did is a mistake of ours, and better seen than hung.
            failure = Failure(code="NO_END", message="No path through the workflow reached its end.")
            self._failed(parts, failure)
            return
        self._note_skip(parts, at)
        self._behind(parts, at, resolution)

    def _note_skip(self, parts: Parts, at: Place) -> None:
        key = self._key(at)
        parts.skips.append(key)
        parts.events.append(NewEvent(type=EventType.STAGE_SKIPPED, key=key))

    def _behind(self, parts: Parts, at: Place, resolution: Resolution) -> None:
        graph, spec = self._graph, self._definition.stages[at.stage_id]
        if spec.mapped is not None:
            if (spec.mapped.collect, at.turn) in self._kept:
                return
            # Nothing was split, so all of the map is skipped with it, and its end does not count.
            for stage_id in spec.mapped.body:
                self._note_skip(parts, attrs.evolve(at, stage_id=stage_id))
            self._skip(parts, attrs.evolve(at, stage_id=spec.mapped.collect), resolution)
            return
        if at.stage_id in graph.loops:
            self._pass_exits(parts, at.stage_id, at, resolution=resolution)
        for edge in graph.outgoing[at.stage_id]:
            self._pass_onward(parts, edge, at, resolution=resolution)

    def _fail(self, parts: Parts, at: Place) -> None:
        named = "The end of the run" if at.stage_id == END else f'"{at.stage_id}"'
        message = f"{named} cannot begin any more: too many of the stages that lead to it failed."
        stage_id = None if at.stage_id == END else at.stage_id
        self._failed(parts, Failure(code="TOO_MANY_FAILED", message=message, stage_id=stage_id))

    def _exceeded(self, parts: Parts, at: Place) -> None:
        limit = self._definition.step_limit
        message = (
            f'The run would take more than {limit:,} steps; the next would have been "{at.stage_id}". '
            "Check the conditions of the loop, or raise the workflow's step_limit."
        )
        self._failed(parts, Failure(code="STEP_LIMIT", message=message, stage_id=at.stage_id))

    def _failed(self, parts: Parts, failure: Failure) -> None:
        ended = failing(failure, header=self._header, generation=self._generation)
        parts.run = ended.run
        parts.jobs.extend(ended.jobs)
        parts.events.extend(ended.events)

    def _key(self, at: Place) -> StageKey:
        return StageKey(
            run_id=self._header.id,
            stage_id=at.stage_id,
            generation=self._generation,
            turn=at.turn,
            item=at.item,
        )

    def settled(self) -> Step:
        """Return everything as one step, its arrivals applied as if no gate had heard of anything before."""
        parts = self.parts
        states: dict[tuple[str, int], GateState] = {(one.gate, one.turn): new_gate(one) for one in parts.gates}
        whole = attrs.evolve(
            parts, jobs=[*parts.jobs], skips=[*parts.skips], timers=[*parts.timers], events=[*parts.events], arrivals=[]
        )
        pending = list(parts.arrivals)
        while pending and whole.run is None:
            arrival = next_arrival(pending, self.rules)
            rule = self.rules[arrival.gate]
            at = rule.gate, rule.turn
            states[at], step = arrive(states.get(at), rule, arrival)
            if step is not None:
                whole.run = step.run
                whole.jobs.extend(step.jobs)
                whole.skips.extend(step.skips)
                whole.timers.extend(step.timers)
                whole.events.extend(step.events)
                pending.extend(step.arrivals)
        return whole.step()
