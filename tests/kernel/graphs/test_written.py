"""Graphs that are written with the public builder mean the same as those compiled by hand."""

from __future__ import annotations

from typing import Any

import attrs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast import Retry, Stage, stage
from holdfast.authoring.graph import Graph
from holdfast.entities.definition import Definition, Shape
from holdfast.entities.graph import END
from holdfast_adapters.memory import MemoryPersistence
from holdfast_testing.clock import FakeClock
from tests.kernel.graphs.compiled import compiled, matching
from tests.kernel.graphs.plans import Node, Plan, Script
from tests.kernel.graphs.rig import Rig
from tests.kernel.graphs.strategies import plans

Drawn = tuple[Plan, Script]
QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)


def written(plan: Plan) -> Graph[Any, Any]:
    """Return the plan as somebody would write it."""
    parts = {node.id: _stage(node) for node in plan.nodes.values()}
    graph: Graph[Any, Any] = Graph("plan", object, version="1")
    graph = graph.entry(*(parts[one] for one in plan.arrows[0].targets))
    for arrow in plan.arrows[1:]:
        target: Any = END if arrow.targets == (END,) else tuple(parts[one] for one in arrow.targets)
        when = None if arrow.when is None else matching(arrow.when)
        priority = arrow.priority if len(plan.leaving[arrow.source]) > 1 else None
        graph = graph.edge(parts[arrow.source], target, when=when, priority=priority)
    for node in plan.nodes.values():
        if node.need is not None or node.tolerate:
            graph = graph.join(parts[node.id], need=node.need, tolerate=node.tolerate)
    return graph


def _stage(node: Node) -> Stage[Any, Any]:
    async def body(value: Any) -> Any:
        raise AssertionError(f"{node.id} is played by the executor, not called with {value}")

    made: Stage[Any, Any] = stage(name=node.id, retry=Retry(node.attempts, backoff="fixed", jitter=0))(body)
    return made


def meaning(definition: Definition) -> dict[str, object]:
    """Return what of a definition the engine goes by, inputs aside."""
    graph = definition.graph
    return {
        "stages": {
            spec.id: (spec.act, spec.join, spec.retry.attempts, spec.within) for spec in definition.stages.values()
        },
        "edges": sorted(
            (
                edge.source,
                edge.targets,
                edge.priority if len(graph.outgoing[edge.source]) > 1 else 0,
                edge.condition is None,
            )
            for edge in definition.edges
        ),
        "nests": graph.nests,
        "arity": graph.arity,
        "guarded": definition.guarded,
    }


@settings(max_examples=120, deadline=None, suppress_health_check=QUIET)
@given(drawn=plans(plain=True), seed=st.integers(0, 2**32))
def test_written_graphs_are_compiled_as_by_hand(drawn: Drawn, seed: int) -> None:
    """The builder accepts every well-formed graph, and its inputs are those that stages are really led to by."""
    plan, script = drawn
    definition = written(plan).definition()
    assert meaning(definition) == meaning(compiled(plan))
    # The order of stages is that in which they were first written, and outputs come in that order.
    nodes = {stage_id: _as_found(plan.nodes[stage_id], definition) for stage_id in definition.stages}
    clock = FakeClock()
    rig = Rig(
        Plan(nodes=nodes, arrows=plan.arrows),
        script,
        seed=seed,
        persistence=MemoryPersistence(clock=clock),
        clock=clock,
        definition=definition,
    )
    rig.drive()


def _as_found(node: Node, definition: Definition) -> Node:
    is_named = definition.stages[node.id].shape is Shape.NAMED
    return attrs.evolve(node, form="named" if is_named else "one")
