"""Compiled workflows written down by hand, stage by stage and edge by edge, to be drawn."""

from __future__ import annotations

import itertools
import random
from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.codec import JsonType
from holdfast.entities.definition import Act, Body, Calling, Definition, Mapped, Shape, StageSpec
from holdfast.entities.graph import END, START, Condition, Edge
from holdfast.entities.retry import Retry
from holdfast_hosts.cli.drawing.picture import Node, Picture

ANY = JsonType(name="Any")


def body(function: Any = len) -> Body:
    """Return the body of a stage that calls *function*."""
    return Body(function=function, calling=Calling.SYNC, takes_input=True, takes_context=False, source="flows.py:1")


def edge(source: str, *targets: str, when: str | None = None, **facts: Any) -> Edge:
    """Return an edge; *when* is the source text of its condition."""
    condition = None
    if when is not None:
        condition = Condition(function=bool, takes_run=False, label=when, source="flows.py:1")
    return Edge(id=f"{source}>{'+'.join(targets)}:{when}", source=source, targets=targets, condition=condition, **facts)


def defined(stages: Mapping[str, Mapping[str, Any]] | Sequence[str], *edges: Edge, **facts: Any) -> Definition:
    """Return a workflow of *stages*, each with what is not as usual about it."""
    given: Mapping[str, Mapping[str, Any]] = stages if isinstance(stages, Mapping) else {one: {} for one in stages}
    specs: dict[str, StageSpec] = {}
    for index, (stage_id, some) in enumerate(given.items()):
        facts_of: dict[str, Any] = {
            "id": stage_id,
            "index": index,
            "body": body() if some.get("act", Act.BODY) is Act.BODY else None,
            "input": ANY,
            "output": ANY,
            "shape": Shape.ONE,
            "retry": Retry(),
            "queue": "default",
            **some,
        }
        specs[stage_id] = StageSpec(**facts_of)
    usual: dict[str, Any] = {"id": "drawn", "version": "1.0.0", "description": "", "timeout": None}
    return Definition(input=ANY, output=ANY, stages=specs, edges=edges, **{**usual, **facts})


def chain(*stages: str) -> tuple[Edge, ...]:
    """Return the edges from START through *stages* to END."""
    ways = (START, *stages, END)
    return tuple(edge(source, target) for source, target in itertools.pairwise(ways))


def mapped(*stages: str, limit: int = 8, tolerate: float = 0) -> dict[str, dict[str, Any]]:
    """Return the stages of a map that begins with the first of *stages*, as the compiler makes them."""
    first = stages[0]
    split = {
        "act": Act.SPLIT,
        "mapped": Mapped(collect=f"{first}~join", body=stages, limit=limit, tolerate=tolerate),
    }
    inner = {stage: {"within": f"{first}~split", **({"act": Act.PASS} if "~" in stage else {})} for stage in stages}
    return {f"{first}~split": split, **inner, f"{first}~join": {"act": Act.COLLECT}}


def tangled(stages: int, *, seed: int) -> Definition:
    """Return a workflow whose edges lead from each of many stages to a few others further on."""
    chance = random.Random(seed)
    names = [f"stage-{number:03}" for number in range(stages)]
    edges, reached = [edge(START, names[0])], {names[0]}
    for number, name in enumerate(names[:-1]):
        further = {names[min(stages - 1, number + chance.randint(1, 8))] for _ in range(chance.randint(1, 3))}
        if names[number + 1] not in reached:
            further.add(names[number + 1])
        reached |= further
        edges.append(edge(name, *sorted(further)))
    return defined(names, *edges, edge(names[-1], END))


def named(picture: Picture) -> dict[str, Node]:
    """Return the nodes by what stands on them."""
    return {node.name: node for node in picture.nodes}


def ways(picture: Picture) -> list[tuple[str, str, str]]:
    """Return the arrows by what stands on their ends and on them."""
    names = {node.id: node.name for node in picture.nodes}
    return [
        (names[arrow.source], " | ".join(label.words for label in arrow.labels), names[arrow.target])
        for arrow in picture.arrows
    ]
