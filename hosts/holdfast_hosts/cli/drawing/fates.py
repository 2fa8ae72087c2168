"""Adds to a picture what became of it in one run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from holdfast.entities.definition import Definition
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageInstance, StageStatus
from holdfast_hosts.cli.drawing.picture import Arrow, Fate, Kind, Node, Picture

#: What says most about several instances comes first.
_TELLING: Final = (
    StageStatus.RUNNING,
    StageStatus.WAITING,
    StageStatus.SUSPENDED,
    StageStatus.READY,
    StageStatus.PENDING,
    StageStatus.FAILED,
    StageStatus.CANCELLED,
    StageStatus.COMPLETED,
    StageStatus.SKIPPED,
)
#: These only lead ways together or apart.
_SILENT: Final = frozenset({Kind.START, Kind.END, Kind.CHOICE, Kind.MEET})

Instances = Mapping[str, Sequence[StageInstance]]


def with_fates(
    picture: Picture, definition: Definition, stages: Sequence[StageInstance], *, status: RunStatus
) -> Picture:
    """Return *picture* with the fate of every node and with every arrow marked as taken or not.

    Args:
        stages: What the run has of stage instances; those that a rerun replaced are left aside.
        status: That of the run.
    """
    instances: dict[str, list[StageInstance]] = {}
    for stage in stages:
        if not stage.superseded:
            instances.setdefault(stage.key.stage_id, []).append(stage)
    return _told(picture, instances, taken=_taken(definition, instances), ended=status.is_terminal)


def _told(picture: Picture, instances: Instances, *, taken: frozenset[str], ended: bool) -> Picture:
    nodes = tuple(
        attrs.evolve(
            node,
            fate=None if node.kind in _SILENT else _fate(node, instances, ended=ended),
            inside=None if node.inside is None else _told(node.inside, instances, taken=taken, ended=ended),
        )
        for node in picture.nodes
    )
    return attrs.evolve(picture, nodes=nodes, arrows=tuple(_marked(arrow, taken) for arrow in picture.arrows))


def _fate(node: Node, instances: Instances, *, ended: bool) -> Fate:
    found = [stage for stage_id in node.stages for stage in instances.get(stage_id, ())]
    if not found:
        return Fate(status=StageStatus.PENDING, words="not reached" if ended else "not reached yet")
    if node.kind is Kind.MAP:
        # The end of a map, if it was reached, says more than the items before it.
        last = instances.get(node.stages[-1], ())
        items = [stage for stage_id in node.stages[1:-1] for stage in instances.get(stage_id, ())]
        status = _most_telling([stage.status for stage in (last or found)])
        return Fate(status=status, words=_counted([stage.status for stage in items]) or status.value.lower())
    statuses = [stage.status for stage in found]
    return Fate(status=_most_telling(statuses), words=_counted(statuses))


def _most_telling(statuses: Sequence[StageStatus]) -> StageStatus:
    return min(statuses, key=_TELLING.index)


def _counted(statuses: Sequence[StageStatus]) -> str:
    """Return how many instances are in which status, or just the status of a single one."""
    counts = Counter(statuses)
    if len(statuses) == 1:
        return statuses[0].value.lower()
    return ", ".join(f"{counts[status]:,} {status.value.lower()}" for status in _TELLING[::-1] if counts[status])


def _taken(definition: Definition, instances: Instances) -> frozenset[str]:
    """Return the ids of the edges that the run has taken."""
    taken = {definition.edges[0].id} if instances else set[str]()
    for stage_id, some in instances.items():
        out = definition.graph.outgoing.get(stage_id, ())
        for stage in some:
            if stage.status is not StageStatus.COMPLETED:
                continue
            if stage.edge is not None:
                taken.add(stage.edge)
            elif len(out) == 1:
                taken.add(out[0].id)
    return frozenset(taken)


def _marked(arrow: Arrow, taken: frozenset[str]) -> Arrow:
    return attrs.evolve(arrow, taken=any(all(edge in taken for edge in edges) for edges in arrow.edges))
