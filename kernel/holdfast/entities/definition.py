"""The compiled workflow: what every authoring style is turned into and what decide functions read."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any, Final, Protocol

import attrs

from holdfast.entities.graph import END, Edge, Graph, Way, survey
from holdfast.entities.retry import Retry


class PayloadType(Protocol):
    """Turns values of one declared type into canonical JSON text and back; pure and thread-safe."""

    @property
    def name(self) -> str:
        """The type as a person would write it, such as ``list[str]``."""
        ...

    def encode(self, value: object, *, what: str) -> str:
        """Return *value* as canonical JSON text that is known to decode into the declared type.

        Args:
            what: What the value is, for the error, such as ``output of stage "split"``.

        Raises:
            InvalidInput: If the value does not fit the type or has no canonical JSON form.
        """
        ...

    def decode(self, text: str, *, what: str) -> Any:
        """Return the typed value that *text* stands for.

        Raises:
            InvalidInput: If the text is not JSON or does not fit the type.
        """
        ...

    def json_schema(self) -> Mapping[str, Any]:
        """Return the JSON schema of the type."""
        ...


class Calling(enum.Enum):
    """How the body of a stage is called."""

    ASYNC = "async"
    SYNC = "sync"


@attrs.frozen(kw_only=True)
class Body:
    """One function of a stage and how it wants to be called."""

    function: Callable[..., Any]
    calling: Calling
    #: Whether the function takes the stage's input, or the state of a poll, as its first argument.
    takes_input: bool
    #: Whether the function takes the context as its second argument.
    takes_context: bool
    #: The source line that errors point at, as ``file:line``.
    source: str


@attrs.frozen(kw_only=True)
class Polling:
    """The second half of a batch stage: how a suspended instance is polled until done."""

    body: Body
    #: The type of the state that `submit` returned, called the reference of the external work.
    state: PayloadType
    every: timedelta
    give_up_after: timedelta


class Act(enum.Enum):
    """What executing a stage comes to."""

    #: Its function is called.
    BODY = "body"
    #: Its input is its output: a place where branches meet.
    PASS = "pass"
    #: It waits for a payload, which is paired with its input.
    WAIT = "wait"
    #: The list that it takes becomes the items of a map.
    SPLIT = "split"
    #: The outputs of a map's items become a list.
    COLLECT = "collect"
    #: What completed stages did is undone, the latest first.
    UNDO = "undo"


class Shape(enum.Enum):
    """What the input of a stage is made of."""

    #: Nothing is looked at.
    NOTHING = "nothing"
    #: The output of the stage that led here; the run's input for an entry stage.
    ONE = "one"
    #: The outputs of `StageSpec.sources` as an array, null for one that has none.
    TUPLE = "tuple"
    #: An object of the outputs of the stages that led here, by stage id.
    NAMED = "named"
    #: One item of the map around the stage.
    ITEM = "item"


@attrs.frozen(kw_only=True)
class Join:
    """When a stage that several edges lead to begins; by default once all are resolved and one was taken."""

    #: Begin as soon as so many were taken.
    need: int | None = None
    #: So many of the stages that lead here may fail.
    tolerate: int = 0


@attrs.frozen(kw_only=True)
class Mapped:
    """How a map handles its items; a part of its SPLIT stage."""

    #: The COLLECT stage behind the map.
    collect: str
    #: Stages that execute for every item.
    body: tuple[str, ...]
    #: So many items are under way at a time.
    limit: int
    #: How many items may fail: a number, or a fraction of all of them.
    tolerate: int | float = 0

    def allowed(self, items: int) -> int:
        """Return how many of *items* may fail."""
        return self.tolerate if isinstance(self.tolerate, int) else int(self.tolerate * items)


@attrs.frozen(kw_only=True)
class WaitSpec:
    """What a WAIT stage waits for."""

    name: str
    payload: PayloadType
    timeout: timedelta | None
    reason: str = ""


@attrs.frozen(kw_only=True, eq=False)
class StageSpec:
    """One stage of a compiled workflow."""

    id: str
    #: Position in definition order, from 0.
    index: int
    act: Act = Act.BODY
    #: What is called when the stage executes; for a batch stage its submit function. Present for BODY only.
    body: Body | None
    #: Present for a batch stage only.
    polling: Polling | None = None
    input: PayloadType
    output: PayloadType
    config: PayloadType | None = None
    shape: Shape
    #: The stages whose outputs the input may be made of, in definition order.
    sources: tuple[str, ...] = ()
    #: Further stages whose outputs the context offers; all of them are ancestors.
    needs: tuple[str, ...] = ()
    retry: Retry
    #: Limit of one attempt; None for no limit but the lease.
    timeout: timedelta | None = None
    queue: str
    join: Join = Join()
    #: The key of the input under which its result is shared; None to execute every time.
    key: Callable[[Any], str] | None = None
    #: What payloads the body may wait for, by name.
    waits: Mapping[str, PayloadType] = attrs.field(factory=dict)
    #: Undoes what a completed instance did; called with its output.
    compensate: Body | None = None
    #: How many tokens of its queue's rate an attempt takes.
    weight: int = 1
    #: Of a WAIT stage.
    wait: WaitSpec | None = None
    #: Of a SPLIT stage.
    mapped: Mapped | None = None
    #: The SPLIT stage of the map that the stage executes within.
    within: str | None = None


#: The stage that undoes; every workflow that compensates has it.
UNDO: Final = "~undo"
#: Where jobs of stages that name no other queue wait.
DEFAULT_QUEUE: Final = "default"
#: How undoing is retried: long enough for an outage of the service that has to undo.
UNDO_RETRY: Final = Retry(20, base="1s", cap="10m")
#: A run ends when a path through it is longer than this, unless its workflow says otherwise.
STEP_LIMIT: Final = 10_000


@attrs.frozen(kw_only=True, eq=False, slots=False)
class Definition:
    """A compiled workflow, identified by (id, version); immutable."""

    id: str
    version: str
    description: str
    input: PayloadType
    #: The type of the run's output.
    output: PayloadType
    #: Stages by id, in definition order; those with a "~" in their id were put in between by the compiler.
    stages: Mapping[str, StageSpec]
    #: All edges, that from START first.
    edges: tuple[Edge, ...]
    #: Limit of the whole run, a durable timer; None for no limit.
    timeout: timedelta | None
    #: How many stages a path through a run may have.
    step_limit: int = STEP_LIMIT
    #: Whether what completed stages did is undone when a run fails or is cancelled.
    compensates: bool = False
    #: Whether runs have a state that stages see and patch.
    stateful: bool = False

    @cached_property
    def name(self) -> str:
        """The workflow and its version as one word, such as ``review@1.0.0``."""
        return f"{self.id}@{self.version}"

    @cached_property
    def graph(self) -> Graph:
        """What follows from the edges."""
        return survey(self.stages, self.edges)

    @cached_property
    def edge(self) -> Mapping[str, Edge]:
        """The edges by id."""
        return {edge.id: edge for edge in self.edges}

    @cached_property
    def entry(self) -> tuple[str, ...]:
        """The stages that are ready as soon as a run is admitted."""
        return self.edges[0].targets

    @cached_property
    def final(self) -> tuple[str, ...]:
        """The stages that a run may end with, in definition order."""
        return tuple(s for s in self.stages if any(END in edge.targets for edge in self.graph.outgoing[s]))

    @cached_property
    def guarded(self) -> frozenset[str]:
        """The stages from whose failure more follows than the end of the run."""
        if self.compensates:
            return frozenset(self.stages) - {UNDO}
        return frozenset(stage_id for stage_id in self.stages if self.absorbs(stage_id))

    @cached_property
    def waiting(self) -> Mapping[str, tuple[StageSpec, PayloadType]]:
        """By name of the wait, the stage that may open it and the type of its payload."""
        found: dict[str, tuple[StageSpec, PayloadType]] = {}
        for spec in self.stages.values():
            found |= {name: (spec, kind) for name, kind in spec.waits.items()}
            if spec.wait is not None:
                found[spec.wait.name] = (spec, spec.wait.payload)
        return found

    @cached_property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """The stages in layers: each stands behind all that lead to it within one turn."""
        reach = self.graph.reach
        depth: dict[str, int] = {}
        for stage_id in sorted(self.stages, key=lambda one: len(reach[one]), reverse=True):
            behind = [depth[other] for other in depth if stage_id in reach[other]]
            depth[stage_id] = 1 + max(behind, default=-1)
        return tuple(
            tuple(stage_id for stage_id in self.stages if depth[stage_id] == layer)
            for layer in range(1 + max(depth.values(), default=-1))
        )

    def previous(self, stage_id: str) -> str | None:
        """Return the stage before *stage_id* in definition order; None for the first."""
        index = self.stages[stage_id].index
        return tuple(self.stages)[index - 1] if index else None

    def giving(self, stage_id: str) -> str:
        """Return the stage whose output stands for that of *stage_id*: the end of the map for one that is mapped."""
        spec = self.stages.get(stage_id)
        split = None if spec is None or spec.within is None else self.stages[spec.within].mapped
        return stage_id if split is None or split.body[-1] != stage_id else split.collect

    def absorbs(self, stage_id: str) -> bool:
        """Return whether the failure of the stage is left to a join or a map that may tolerate it."""
        return bool(self.absorbers(stage_id))

    def absorbers(self, stage_id: str) -> frozenset[str]:
        """Return the joins, or the end of the map, that the failure of the stage is left to; none if it is not."""
        spec = self.stages[stage_id]
        if spec.within is not None:
            mapped = self.stages[spec.within].mapped
            return frozenset() if mapped is None or not mapped.tolerate else frozenset({mapped.collect})
        found: set[str] = set()
        ahead = self._ahead(stage_id)
        seen: set[str] = set()
        while ahead:
            way = ahead.pop()
            if way.target == END or self.graph.is_back(way) or self.graph.leaves(way) is not None:
                return frozenset()
            if self.stages[way.target].join.tolerate:
                found.add(way.target)
                continue
            if way.target in seen:
                continue
            if self.graph.arity[way.target] > 1:
                return frozenset()
            seen.add(way.target)
            ahead += self._ahead(way.target)
        return frozenset(found)

    def _ahead(self, stage_id: str) -> list[Way]:
        """Return the ways that lead away from the stage; behind the beginning of a map come those behind its end."""
        mapped = self.stages[stage_id].mapped
        source = stage_id if mapped is None else mapped.collect
        return [Way(edge=edge, target=target) for edge in self.graph.outgoing[source] for target in edge.targets]
