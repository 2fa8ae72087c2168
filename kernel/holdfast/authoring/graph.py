"""The graph: stages and the edges between them, with conditions, forks, joins and loops."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, Generic, Literal, TypeVar, cast, overload

import attrs

from holdfast.authoring import misroutes, mistakes
from holdfast.authoring.condition import condition_of
from holdfast.authoring.draft import FOLLOWS, Draft, Header, Link
from holdfast.authoring.fit import fits, takes_object
from holdfast.authoring.flow import Flow
from holdfast.authoring.growing import Step
from holdfast.authoring.heading import Told, begun, read_header
from holdfast.authoring.mistakes import Endpoint
from holdfast.authoring.options import checked_priority
from holdfast.authoring.points import MapNode, Sketch, WaitNode
from holdfast.authoring.reading import read_join, read_map, read_wait
from holdfast.authoring.seen import Seen
from holdfast.authoring.source import Source, caller
from holdfast.authoring.stage import In_contra, Out_co, Part
from holdfast.authoring.steps import MappedOver, Waited
from holdfast.authoring.values import Values
from holdfast.entities.definition import STEP_LIMIT, Act
from holdfast.entities.graph import END, START, EdgeOn
from holdfast.entities.retry import Span

T = TypeVar("T")
U = TypeVar("U")
W = TypeVar("W")
In = TypeVar("In")
Out = TypeVar("Out")

#: One node, several that begin at once, or the end.
Target = Part[T, Any] | tuple[Part[T, Any], ...] | Literal["~end"]
#: A node where several ways meet at once may take an object of what they give, by stage id.
Meeting = Part[dict[str, Any], Any]
#: Any node, where the types on the way to it are not known before the whole graph is.
Anything = Part[Any, Any] | tuple[Part[Any, Any], ...] | Literal["~end"]


class Graph(Flow[In_contra, Out_co], Generic[In_contra, Out_co]):
    """A workflow written as stages and edges: runs of it take an *In* and give an *Out*. Immutable.

    Such as::

        order = (
            Graph("order", Order, Receipt, version="1.0.0")
            .entry(reserve)
            .edge(reserve, review, when=lambda reserved: reserved.amount > 1_000)
            .edge(reserve, charge)
            .edge(review, charge)
            .end(charge)
        )

    Of the edges that lead away from a node one is taken: of those whose condition is true the one of the highest
    priority, else the one without a condition. A node that several ways lead to at once begins when all of them are
    resolved; it takes an object of the outputs of the stages that led to it, by stage id.
    """

    __slots__ = ("_sketch",)

    @overload
    def __init__(
        self: Graph[In, Out],
        id: str,
        input: type[In],
        output: type[Out],
        /,
        *,
        version: str = "1.0.0",
        description: str = "",
        timeout: Span | None = None,
        step_limit: int = STEP_LIMIT,
        compensate: bool = False,
        state: bool = False,
    ) -> None: ...
    @overload
    def __init__(
        self: Graph[In, Any],
        id: str,
        input: type[In],
        /,
        *,
        version: str = "1.0.0",
        description: str = "",
        timeout: Span | None = None,
        step_limit: int = STEP_LIMIT,
        compensate: bool = False,
        state: bool = False,
    ) -> None: ...
    def __init__(  # noqa: PLR0913 - one for each option
        self,
        id: str,
        input: Any,
        output: Any = FOLLOWS,
        /,
        *,
        version: str = "1.0.0",
        description: str = "",
        timeout: Span | None = None,
        step_limit: int = STEP_LIMIT,
        compensate: bool = False,
        state: bool = False,
    ) -> None:
        """Begin a graph.

        Args:
            id: What the workflow is known by.
            input: The type of the input of its runs.
            output: The type of the output of its runs; what its ends give if not given.
            version: Runs stay on the version that they were started with, so a changed workflow gets a new one.
            description: What it is for, for people.
            timeout: The limit of a whole run, such as ``7d``.
            step_limit: How many stages a path through a run may have.
            compensate: Whether completed stages are undone when a run fails or is cancelled.
            state: Whether runs have a state that stages see and patch.

        Raises:
            DefinitionError: If an argument is not fit to be what it is.
        """
        options = Told(
            version=version,
            description=description,
            timeout=timeout,
            step_limit=step_limit,
            compensate=compensate,
            state=state,
            output=output,
        )
        super().__init__(begun(read_header(id, input=input, options=options, call=caller().source)))
        self._sketch = Sketch(Draft(self.beginning))

    def entry(self, *stages: Part[In_contra, Any]) -> Graph[In_contra, Out_co]:
        """Let runs begin with *stages*, all of them at once.

        Raises:
            DefinitionError: If one of them cannot stand here.
        """
        call = caller()
        if not stages:
            raise misroutes.empty_edge(call=call.source)
        sketch = self._sketch.copy()
        for stage in stages:
            entry = sketch.point(stage, call=call).entry
            sketch.draft.link(Link(source=START, targets=(entry,), call=call.source))
        return self._drawn(sketch)

    @overload
    def edge(
        self,
        source: WaitNode[Any],
        target: Anything,
        /,
        *,
        on: Literal["timeout"],
        when: Callable[[Any], object] | None = None,
        priority: int | None = None,
    ) -> Graph[In_contra, Out_co]: ...
    @overload
    def edge(
        self,
        source: Part[Any, T],
        target: Target[T],
        /,
        *,
        when: Callable[[T], object] | None = None,
        priority: int | None = None,
    ) -> Graph[In_contra, Out_co]: ...
    @overload
    def edge(
        self,
        source: Part[Any, T],
        target: Target[T],
        /,
        *,
        when: Callable[[T, Seen], object],
        priority: int | None = None,
    ) -> Graph[In_contra, Out_co]: ...
    @overload
    def edge(
        self,
        source: Part[Any, T],
        target: Meeting,
        /,
        *,
        when: Callable[[T], object] | None = None,
        priority: int | None = None,
    ) -> Graph[In_contra, Out_co]: ...
    @overload
    def edge(self, source: tuple[Part[Any, Any], ...], target: Anything, /) -> Graph[In_contra, Out_co]: ...
    def edge(
        self,
        source: Any,
        target: Any,
        /,
        *,
        when: Callable[..., object] | None = None,
        priority: int | None = None,
        on: Literal["output", "timeout"] = "output",
    ) -> Graph[In_contra, Out_co]:
        """Let a way lead from one node to another.

        Args:
            source: The node it leads away from; several in a tuple each get an edge of their own.
            target: The node it leads to, several in a tuple that begin at once, or `END`.
            when: A pure function of the source's output that says whether the edge may be taken; with a second
                parameter it is given what the run knows. Without one the edge is taken if no other is.
            priority: Of several edges that may be taken the highest is.
            on: ``timeout`` for the edge that is taken when a wait reached its limit; its target takes what the wait
                was given.

        Raises:
            DefinitionError: If the types of the two do not fit, or an argument is not fit to be what it is.
        """
        call, sketch = caller(), self._sketch.copy()
        sources = [sketch.point(one, call=call) for one in _several(source)]
        if isinstance(target, str) and target == END:
            targets: list[str] = [END]
        else:
            targets = [sketch.point(one, call=call).entry for one in _several(target)]
        if not sources or not targets:
            raise misroutes.empty_edge(call=call.source)
        condition = None if when is None else condition_of(when, call=call.source)
        known = None if priority is None else checked_priority(priority, call=call.source)
        outcome = _outcome(on, call=call.source)
        for one in sources:
            link = Link(
                source=one.exit,
                targets=tuple(targets),
                condition=condition,
                priority=known,
                on=outcome,
                call=call.source,
            )
            sketch.draft.link(link)
            _check_fit(sketch.draft, link)
        return self._drawn(sketch)

    def end(self, *stages: Part[Any, Out_co]) -> Graph[In_contra, Out_co]:
        """Let runs end behind *stages*; what the last of them gives is the run's output.

        Raises:
            DefinitionError: If one of them cannot stand here.
        """
        call, sketch = caller(), self._sketch.copy()
        if not stages:
            raise misroutes.empty_edge(call=call.source)
        for stage in stages:
            link = Link(source=sketch.point(stage, call=call).exit, targets=(END,), call=call.source)
            sketch.draft.link(link)
            _check_fit(sketch.draft, link)
        return self._drawn(sketch)

    def join(self, stage: Part[Any, Any], /, *, need: int | None = None, tolerate: int = 0) -> Graph[In_contra, Out_co]:
        """Say when a stage that several ways lead to begins; otherwise it begins when all are resolved.

        Args:
            stage: The stage.
            need: It begins as soon as so many ways were taken.
            tolerate: So many of the stages that lead to it may fail.

        Raises:
            DefinitionError: If an argument is not fit to be what it is.
        """
        call, sketch = caller(), self._sketch.copy()
        point = sketch.point(stage, call=call)
        node = sketch.draft.nodes[point.entry]
        sketch.draft.replace(attrs.evolve(node, join=read_join(need, tolerate, call=call.source)))
        return self._drawn(sketch)

    @staticmethod
    def wait(name: str, payload: type[W], /, *, timeout: Span | None = None, reason: str = "") -> WaitNode[W]:
        """Return a node that waits for somebody to resume the run; its output pairs what it was given with the payload.

        Args:
            name: What the payload is addressed by; unique within the workflow.
            payload: The type of the payload.
            timeout: How long to wait, such as ``7d``; for ever if not given. Without an edge ``on="timeout"`` the run
                then fails.
            reason: For people: what is waited for.

        Raises:
            DefinitionError: If an argument is not fit to be what it is.
        """
        step = read_wait(name, payload, timeout=timeout, on_timeout=None, reason=reason, call=caller())
        return WaitNode(cast("Waited", step))

    @overload  # type: ignore[override]  # a graph has no end to add a map to
    @staticmethod
    def map(stage: Part[T, U], /, *, limit: int = 10) -> MapNode[T, U]: ...
    @overload
    @staticmethod
    def map(stage: Part[T, U], /, *, limit: int = 10, tolerate: float) -> MapNode[T, U | None]: ...
    @staticmethod
    def map(stage: Any, /, *, limit: int = 10, tolerate: float | None = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return a node that executes a stage, or a line of stages, for each item of the list that it is given.

        Args:
            stage: The stage or line.
            limit: So many items are under way at a time.
            tolerate: How many items may fail, as a number or a fraction; the list has None for them.

        Raises:
            DefinitionError: If an argument is not fit to be what it is.
        """
        return MapNode(cast("MappedOver", read_map(stage, limit=limit, tolerate=tolerate, call=caller())))

    def _drawn(self, sketch: Sketch) -> Graph[In_contra, Out_co]:
        """Return the graph of that sketch."""
        other: Graph[In_contra, Out_co] = copy.copy(self)
        other._sketch, other._definition = sketch, None
        return other

    def _finished(self, header: Header) -> Draft:
        if not self._sketch.draft.nodes:
            raise mistakes.empty_workflow(header.id, call=header.call)
        return self._sketch.draft

    def _with(self, step: Step) -> Flow[In_contra, Any]:
        raise misroutes.not_a_pipeline(self.id, call=caller().source)

    def __repr__(self) -> str:
        stages = ", ".join(node_id for node_id in self._sketch.draft.nodes if "~" not in node_id)
        return f"<graph {self.id}@{self.version}: {stages}>"


def _several(part: object) -> Sequence[object]:
    return cast("tuple[object, ...]", part) if isinstance(part, tuple) else (part,)


def _outcome(on: object, *, call: Source) -> EdgeOn:
    try:
        return EdgeOn(on)
    except ValueError:
        fix = 'Write on="timeout", or leave it out.'
        raise mistakes.unfit_option("outcome that an edge is for", on, call=call, fix=fix) from None


def _check_fit(draft: Draft, link: Link) -> None:
    """Check what is known of the two ends of *link*; whether ways meet before its target is known in the end only.

    Raises:
        DefinitionError: If they cannot fit.
    """
    if link.on is EdgeOn.TIMEOUT:
        return
    values, source = Values(draft), draft.nodes[link.source]
    given = values.leaving(link.source) if source.act in {Act.BODY, Act.COLLECT} else Any
    for target in link.targets:
        plan = None if target == END else draft.nodes[target].plan
        if plan is None or plan.input is None:
            continue
        wanted = plan.input.annotation
        if not fits(given, wanted) and not takes_object(wanted):
            taken = Endpoint(name=f'"{target}"', verb="takes", annotation=wanted, source=plan.source)
            place = source.call if source.plan is None else source.plan.source
            giver = Endpoint(name=f'"{link.source}"', verb="returns", annotation=given, source=place)
            raise mistakes.cannot_follow([giver], taken, call=link.call)
