"""Gives every vertex its place: as near to what it is joined with as its neighbours allow, and long arrows straight."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Final

from holdfast_hosts.cli.drawing.sheet import Role, Sheet, Vertex

#: Room between neighbours.
GAP: Final = 32.0
#: Room beside a dummy: arrows may run closer together.
NARROW: Final = 14.0
SWEEPS: Final = 24
#: How much more it matters that a long arrow is straight than that boxes stand in the middle.
STRAIGHT: Final = 6.0
#: Part of the width of a box, on either side of its middle, from which arrows lead straight down.
STRAIGHT_DOWN: Final = 0.3


def place(sheet: Sheet) -> None:
    """Set the x of every vertex of *sheet*."""
    vertices = sheet.vertices
    for layer in sheet.layers:
        _settle([vertices[number] for number in layer], [(0.0, 1.0)] * len(layer))
    for sweep in range(SWEEPS):
        down = sweep % 2 == 0
        for layer in sheet.layers if down else reversed(sheet.layers):
            # The last sweeps look both ways, so that what forks and meets again stands in the middle.
            both = sweep >= SWEEPS - 8
            wanted: list[tuple[float, float]] = []
            for number in layer:
                above, below = vertices[number].above, vertices[number].below
                near = (*above, *below) if both else above if down else below
                wanted.append(_wanted(vertices[number], [vertices[one] for one in near]))
            _settle([vertices[number] for number in layer], wanted)
    _straighten(sheet)


def _wanted(vertex: Vertex, near: Sequence[Vertex]) -> tuple[float, float]:
    """Return the best place of *vertex* beside those it is joined with, and how much that matters."""
    if not near:
        return vertex.x, 0.1
    weights = [1.0 if vertex.role is Role.BOX or one.role is Role.BOX else STRAIGHT for one in near]
    total = sum(weights)
    return sum(one.x * weight for one, weight in zip(near, weights, strict=True)) / total, total


def room(left: Vertex, right: Vertex) -> float:
    """Return how far apart the middles of two neighbours are at least."""
    gap = NARROW if Role.DUMMY in {left.role, right.role} else GAP
    return (left.size.width + right.size.width) / 2 + gap


def _settle(layer: Sequence[Vertex], wanted: Sequence[tuple[float, float]]) -> None:
    """Put the vertices of a layer as near as possible to where they are *wanted*, with room between them."""
    offsets = [0.0]
    for left, right in itertools.pairwise(layer):
        offsets.append(offsets[-1] + room(left, right))
    settled = rising([(x - offset, weight) for (x, weight), offset in zip(wanted, offsets, strict=True)])
    for vertex, x, offset in zip(layer, settled, offsets, strict=True):
        vertex.x = x + offset


def rising(wanted: Iterable[tuple[float, float]]) -> list[float]:
    """Return the numbers nearest to those *wanted*, by weighted squares, of which none is below the one before it.

    Neighbours in the wrong order are pooled until none is left ("pool adjacent violators").

    Args:
        wanted: Each number with its weight.
    """
    pools: list[tuple[float, float, int]] = []
    for x, weight in wanted:
        pool = (x, weight, 1)
        while pools and pools[-1][0] >= pool[0]:
            other, heavy, many = pools.pop()
            total = heavy + pool[1]
            pool = ((other * heavy + pool[0] * pool[1]) / total, total, many + pool[2])
        pools.append(pool)
    return [x for x, _, many in pools for _ in range(many)]


def _straighten(sheet: Sheet) -> None:
    """Put the dummies of a long arrow below each other as far as their neighbours leave room for it."""
    free = _Freedom(sheet)
    for chain in sheet.chains:
        source, target = sheet.vertices[chain[0]], sheet.vertices[chain[-1]]
        low, high, members = *_below(source), list[Vertex]()
        for number in chain[1:-1]:
            least, most = free.of(number)
            if max(low, least) > min(high, most):
                _align(members, low=low, high=high)
                low, high, members = least, most, []
            low, high = max(low, least), min(high, most)
            members.append(sheet.vertices[number])
        least, most = _below(target)
        if max(low, least) <= min(high, most):
            low, high = max(low, least), min(high, most)
        _align(members, low=low, high=high)


def _below(vertex: Vertex) -> tuple[float, float]:
    """Return the bounds within which an arrow leads straight down from or to *vertex*."""
    reach = vertex.size.width * STRAIGHT_DOWN
    return vertex.x - reach, vertex.x + reach


class _Freedom:
    """Knows between what bounds a vertex may move without coming too near to its neighbours."""

    def __init__(self, sheet: Sheet) -> None:
        self._vertices = sheet.vertices
        self._beside: dict[int, tuple[int | None, int | None]] = {}
        for layer in sheet.layers:
            for left, number, right in zip([None, *layer], layer, [*layer[1:], None], strict=False):
                self._beside[number] = (left, right)

    def of(self, number: int) -> tuple[float, float]:
        vertex = self._vertices[number]
        left, right = (None if one is None else self._vertices[one] for one in self._beside[number])
        least = -math.inf if left is None else left.x + room(left, vertex)
        most = math.inf if right is None else right.x - room(vertex, right)
        return least, most


def _align(members: Sequence[Vertex], *, low: float, high: float) -> None:
    """Put *members* below each other, as near to their middle as the bounds allow."""
    if members:
        middle = sorted(vertex.x for vertex in members)[len(members) // 2]
        for vertex in members:
            vertex.x = min(max(middle, low), high)
