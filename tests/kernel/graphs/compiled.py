"""Neutral plans as compiled definitions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from holdfast.codec import payload_type
from holdfast.entities.definition import Act, Body, Calling, Definition, Join, Mapped, Shape, StageSpec
from holdfast.entities.graph import Condition, Edge
from holdfast.entities.retry import Retry
from tests.kernel.graphs.plans import Arrow, Node, Plan

ANYTHING: Final = payload_type(Any, what="anything", source="plans")


def compiled(plan: Plan, *, workflow_id: str = "plan") -> Definition:
    """Return the definition that the plan stands for."""
    return Definition(
        id=workflow_id,
        version="1",
        description="",
        input=ANYTHING,
        output=ANYTHING,
        stages={node.id: _stage(node, index) for index, node in enumerate(plan.nodes.values())},
        edges=tuple(_edge(arrow) for arrow in plan.arrows),
        timeout=None,
    )


def _stage(node: Node, index: int) -> StageSpec:
    is_body = node.kind == "body"
    return StageSpec(
        id=node.id,
        index=index,
        act=Act(node.kind),
        body=_body(node) if is_body else None,
        input=ANYTHING,
        output=ANYTHING,
        shape=Shape(node.form),
        sources=node.sources,
        retry=Retry(node.attempts, backoff="fixed", jitter=0),
        queue="default",
        join=Join(need=node.need, tolerate=node.tolerate),
        mapped=Mapped(collect=node.collect, body=node.body, limit=node.limit, tolerate=node.losses)
        if node.kind == "split"
        else None,
        within=node.within,
    )


def _body(node: Node) -> Body:
    def act(value: Any) -> Any:
        raise AssertionError(f"{node.id} is played by the executor, not called with {value}")

    return Body(function=act, calling=Calling.SYNC, takes_input=True, takes_context=False, source=f"plan:{node.id}")


def _edge(arrow: Arrow) -> Edge:
    condition = None if arrow.when is None else _condition(arrow.when)
    return Edge(id=arrow.id, source=arrow.source, targets=arrow.targets, condition=condition, priority=arrow.priority)


def matching(when: frozenset[int]) -> Callable[[Any], bool]:
    """Return the condition that the choice of the source is one of these."""

    def is_chosen(output: Any) -> bool:
        return output["choice"] in when

    return is_chosen


def _condition(when: frozenset[int]) -> Condition:
    return Condition(function=matching(when), takes_run=False, label=f"choice in {sorted(when)}", source="plan:choice")
