"""Which ways of a workflow can be taken beside each other, within one turn."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from itertools import combinations

from holdfast.entities.graph import Graph, Way

#: A stage by its id, or a way by the id of its edge and its target.
Spot = str | tuple[str, str]


class Concurrency:
    """What can be under way at the same time; found by letting tokens walk from the targets of every fork.

    A stage and the ways between stages are spots. Two tokens start on two ways of one fork. The one that is further
    back in topological order goes on, so that where both come to one spot they meet there and are one from then on.
    Whatever a token can pass while the other stays where it is, goes on beside it.
    """

    def __init__(self, graph: Graph) -> None:
        self._graph = graph

    def together(self, one: Way, other: Way) -> bool:
        """Return whether both ways can be taken."""
        return _pair(_spot(one), _spot(other)) in self._found

    def beside(self, way: Way, stage_id: str) -> bool:
        """Return whether the stage can be under way when the way is taken."""
        return _pair(_spot(way), stage_id) in self._found

    @cached_property
    def _ahead(self) -> dict[Spot, tuple[Spot, ...]]:
        """Return what follows each spot, ways that begin the next turn aside."""
        ahead: dict[Spot, tuple[Spot, ...]] = {}
        for source, edges in self._graph.outgoing.items():
            ways = [Way(edge=edge, target=target) for edge in edges for target in edge.targets]
            ahead[source] = tuple(_spot(way) for way in ways)
            for way in ways:
                ahead[_spot(way)] = () if self._graph.is_back(way) else (way.target,)
        return ahead

    @cached_property
    def _order(self) -> dict[Spot, int]:
        """Return the place of each spot in a topological order."""
        waiting: dict[Spot, int] = {}
        for targets in self._ahead.values():
            for target in targets:
                waiting[target] = waiting.get(target, 0) + 1
        ready: list[Spot] = [spot for spot in self._ahead if spot not in waiting]
        order: dict[Spot, int] = {}
        while ready:
            spot = ready.pop()
            order[spot] = len(order)
            for target in self._ahead.get(spot, ()):
                waiting[target] -= 1
                if not waiting[target]:
                    ready.append(target)
        return order

    @cached_property
    def _reach(self) -> dict[Spot, frozenset[Spot]]:
        """Return everything that lies ahead of each spot."""
        reach: dict[Spot, frozenset[Spot]] = {}
        for spot in sorted(self._order, key=lambda one: -self._order[one]):
            ahead: set[Spot] = set()
            for target in self._ahead.get(spot, ()):
                ahead.add(target)
                ahead |= reach[target]
            reach[spot] = frozenset(ahead)
        return reach

    @cached_property
    def _found(self) -> frozenset[frozenset[Spot]]:
        order, found = self._order, set[frozenset[Spot]]()
        work, seen = list(self._forks()), set[tuple[Spot, Spot]]()
        while work:
            one, other = work.pop()
            behind, before = (one, other) if order[one] < order[other] else (other, one)
            if behind == before or (behind, before) in seen:
                continue
            seen.add((behind, before))
            found.add(_pair(behind, before))
            found.update(_pair(behind, spot) for spot in self._reach[before] - self._reach[behind])
            work += [(target, before) for target in self._ahead.get(behind, ())]
        return frozenset(found)

    def _forks(self) -> Iterator[tuple[Spot, Spot]]:
        for edges in self._graph.outgoing.values():
            for edge in edges:
                yield from combinations([(edge.id, target) for target in edge.targets], 2)


def _spot(way: Way) -> Spot:
    return (way.edge.id, way.target)


def _pair(one: Spot, other: Spot) -> frozenset[Spot]:
    return frozenset((one, other))
