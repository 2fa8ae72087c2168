"""Folds what a compiler put into a workflow back into what its author wrote."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Final

import attrs

from holdfast.entities.definition import Act, Definition, StageSpec
from holdfast.entities.graph import END, START, Edge, EdgeOn, Way
from holdfast_hosts.cli.drawing.picture import Arrow, Kind, Label, Node, Picture
from holdfast_hosts.cli.drawing.words import hints_of, join_notes, map_notes, notes_of

#: What a map does its stages for.
EACH: Final = "each item"


def picture_of(definition: Definition) -> Picture:
    """Return the picture of a workflow: maps are one node each, and what only passes values on becomes an arrow."""
    arrows = _arrows(definition)
    nodes: dict[str, Node] = {}
    for spec in definition.stages.values():
        if spec.act is Act.SPLIT:
            node, arrows = _folded_map(spec, definition, arrows)
        elif spec.act in {Act.UNDO, Act.COLLECT} or spec.within is not None:
            continue
        else:
            node = _node(spec, definition)
        nodes[node.id] = node
    nodes |= _used(_forks(definition, nodes), arrows)
    arrows = _merged(_without_passes(nodes, arrows, definition))
    start, end = Node(id=START, kind=Kind.START), Node(id=END, kind=Kind.END)
    return Picture(
        title=f"{definition.id} {definition.version}", nodes=(start, *nodes.values(), end), arrows=tuple(arrows)
    )


def _arrows(definition: Definition) -> list[Arrow]:
    """Return an arrow for each target of each edge; a fork that has a label bears it once, before it parts."""
    arrows: list[Arrow] = []
    for edge in definition.edges:
        labels = _labels(edge, definition.graph.outgoing[edge.source])
        source = edge.source
        if labels and len(edge.targets) > 1:
            source = _fork(edge)
            arrows.append(Arrow(source=edge.source, target=source, labels=labels, edges=((edge.id,),)))
            labels = ()
        for target in edge.targets:
            back = definition.graph.is_back(Way(edge=edge, target=target))
            arrows.append(Arrow(source=source, target=target, labels=labels, back=back, edges=((edge.id,),)))
    return arrows


def _fork(edge: Edge) -> str:
    return f"{edge.id}~fork"


def _forks(definition: Definition, sources: Container[str]) -> dict[str, Node]:
    """Return where the labelled forks of *sources* part, by id."""
    forks = [_fork(edge) for edge in definition.edges if len(edge.targets) > 1 and edge.source in sources]
    return {fork: Node(id=fork, kind=Kind.MEET) for fork in forks}


def _labels(edge: Edge, siblings: Sequence[Edge]) -> tuple[Label, ...]:
    condition = edge.condition
    if condition is None:
        said = edge.on is EdgeOn.TIMEOUT or any(one.condition for one in siblings if one.on is EdgeOn.OUTPUT)
        return (Label(text=edge.on.said),) if said else ()
    text = condition.label if edge.on is EdgeOn.OUTPUT else f"{edge.on.said}: {condition.label}"
    return (Label(text=text, code=True, priority=edge.priority),)


def _node(spec: StageSpec, definition: Definition) -> Node:
    notes = (*notes_of(spec, definition), *join_notes(spec.join, definition.graph.arity[spec.id]))
    match spec.act:
        case Act.PASS if "~" in spec.id:
            return Node(id=spec.id, kind=Kind.MEET, notes=notes, stages=(spec.id,))
        case Act.WAIT:
            kind = Kind.WAIT
        case _:
            kind = Kind.STAGE
    return Node(id=spec.id, kind=kind, title=spec.id, notes=notes, hints=hints_of(spec, definition), stages=(spec.id,))


def _folded_map(split: StageSpec, definition: Definition, arrows: list[Arrow]) -> tuple[Node, list[Arrow]]:
    """Return the node of a map, and the arrows without those inside it."""
    assert split.mapped is not None, "a SPLIT stage says what it splits for"
    collect = split.mapped.collect
    members = {spec.id: _node(spec, definition) for spec in definition.stages.values() if spec.within == split.id}
    forks = _forks(definition, members)
    outer, inner = list[Arrow](), list[Arrow]()
    for arrow in arrows:
        if arrow.source == split.id:
            continue
        if arrow.source in members or arrow.source in forks:
            inner.append(attrs.evolve(arrow, target=END) if arrow.target == collect else arrow)
        else:
            outer.append(attrs.evolve(arrow, source=split.id) if arrow.source == collect else arrow)
    members |= _used(forks, inner)
    inner = _merged(_without_passes(members, inner, definition))
    if not any(arrow.labels for arrow in inner if arrow.target == END):
        # Where an item ends goes without saying, unless that is a matter of choice.
        inner = [arrow for arrow in inner if arrow.target != END]
    each = (*map_notes(split.mapped), *join_notes(split.join, definition.graph.arity[split.id]))
    stages = (split.id, *split.mapped.body, collect)
    if len(members) == 1 and not inner:
        (only,) = members.values()
        notes = (f"× {EACH}, {each[0]}", *each[1:], *only.notes)
        return attrs.evolve(only, id=split.id, kind=Kind.MAP, notes=notes, stages=stages), outer
    ends = (Node(id=END, kind=Kind.MEET),) if any(arrow.target == END for arrow in inner) else ()
    inside = Picture(title=EACH, nodes=(*members.values(), *ends), arrows=tuple(inner))
    return Node(id=split.id, kind=Kind.MAP, title=f"for {EACH}", notes=each, stages=stages, inside=inside), outer


def _used(nodes: Mapping[str, Node], arrows: Sequence[Arrow]) -> dict[str, Node]:
    used = {arrow.source for arrow in arrows}
    return {node_id: node for node_id, node in nodes.items() if node_id in used}


def _without_passes(nodes: dict[str, Node], arrows: list[Arrow], definition: Definition) -> list[Arrow]:
    """Take out of *nodes* what only passes values on wherever its arrows can be joined, and return the arrows."""
    for node in [one for one in nodes.values() if one.kind is Kind.MEET]:
        into = [arrow for arrow in arrows if arrow.target == node.id]
        out = [arrow for arrow in arrows if arrow.source == node.id]
        plain = not any(arrow.labels for arrow in out)
        alone = len(into) == 1 and not into[0].labels and _leaves_alone(into[0], arrows)
        if not alone and not (plain and len(out) == 1):
            nodes[node.id] = node if plain else attrs.evolve(node, kind=Kind.CHOICE)
            continue
        if node.notes:
            target = nodes.get(out[0].target)
            if len(out) > 1 or target is None or definition.graph.arity.get(target.id, 0) > 1:
                continue
            nodes[target.id] = attrs.evolve(target, notes=(*target.notes, *node.notes))
        del nodes[node.id]
        arrows = _spliced(arrows, into, out)
    return arrows


def _leaves_alone(arrow: Arrow, arrows: Iterable[Arrow]) -> bool:
    return sum(one.source == arrow.source for one in arrows) == 1


def _spliced(arrows: Iterable[Arrow], into: Sequence[Arrow], out: Sequence[Arrow]) -> list[Arrow]:
    """Return *arrows* with one from before to behind in place of each pair of *into* and *out*."""
    joined: list[Arrow] = []
    for arrow in arrows:
        if arrow in into:
            joined += [
                Arrow(
                    source=arrow.source,
                    target=after.target,
                    labels=arrow.labels or after.labels,
                    back=arrow.back or after.back,
                    edges=tuple((*first, *then) for first in arrow.edges for then in after.edges),
                )
                for after in out
            ]
        elif arrow not in out:
            joined.append(arrow)
    return joined


def _merged(arrows: Iterable[Arrow]) -> list[Arrow]:
    """Return one arrow where several lead from one node to the same other one."""
    merged: dict[tuple[str, str], Arrow] = {}
    for arrow in arrows:
        ends = (arrow.source, arrow.target)
        first = merged.get(ends)
        if first is None:
            merged[ends] = arrow
        else:
            labels = (*first.labels, *arrow.labels) if first.labels and arrow.labels else ()
            merged[ends] = attrs.evolve(first, labels=labels, edges=(*first.edges, *arrow.edges))
    return list(merged.values())
