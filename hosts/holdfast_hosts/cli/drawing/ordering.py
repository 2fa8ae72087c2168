"""Orders the vertices of each layer so that few arrows cross: sweeps by barycentre, then swaps of neighbours."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Final

from holdfast_hosts.cli.drawing.sheet import Sheet

#: Sweeps without an improvement before the best order so far is taken.
PATIENCE: Final = 4
#: Sweeps at most.
SWEEPS: Final = 24
#: Sheets with more vertices are good enough without swaps.
SWAPPED: Final = 400


def order(sheet: Sheet) -> None:
    """Order the layers of *sheet* in place."""
    best, fewest, idle = [list(layer) for layer in sheet.layers], crossings(sheet), 0
    for sweep in range(SWEEPS):
        if not fewest or idle == PATIENCE:
            break
        _sweep(sheet, down=sweep % 2 == 0)
        if len(sheet.vertices) <= SWAPPED:
            _swap(sheet)
        found = crossings(sheet)
        idle = 0 if found < fewest else idle + 1
        if found < fewest:
            best, fewest = [list(layer) for layer in sheet.layers], found
    sheet.layers[:] = best


def crossings(sheet: Sheet) -> int:
    """Return how many pairs of arrows cross between the layers."""
    place = _places(sheet)
    total = 0
    for layer in sheet.layers:
        seen: list[int] = []
        for number in layer:
            ends = sorted(place[one] for one in sheet.vertices[number].below)
            total += sum(len(seen) - bisect_left(seen, end + 1) for end in ends)
            for end in ends:
                insort(seen, end)
    return total


def _places(sheet: Sheet) -> list[int]:
    place = [0] * len(sheet.vertices)
    for layer in sheet.layers:
        for position, number in enumerate(layer):
            place[number] = position
    return place


def _sweep(sheet: Sheet, *, down: bool) -> None:
    place = _places(sheet)
    for layer in sheet.layers if down else reversed(sheet.layers):
        weight: dict[int, float] = {}
        for number in layer:
            vertex = sheet.vertices[number]
            near = vertex.above if down else vertex.below
            weight[number] = sum(place[one] for one in near) / len(near) if near else place[number]
        layer.sort(key=weight.__getitem__)
        for position, number in enumerate(layer):
            place[number] = position


def _swap(sheet: Sheet) -> None:
    """Swap neighbours as long as that saves crossings."""
    place = _places(sheet)
    for layer in sheet.layers:
        better = True
        while better:
            better = False
            for left in range(len(layer) - 1):
                one, other = sheet.vertices[layer[left]], sheet.vertices[layer[left + 1]]
                now = _between(one.above, other.above, place) + _between(one.below, other.below, place)
                then = _between(other.above, one.above, place) + _between(other.below, one.below, place)
                if then < now:
                    layer[left], layer[left + 1] = layer[left + 1], layer[left]
                    place[layer[left]], place[layer[left + 1]] = left, left + 1
                    better = True


def _between(left: Sequence[int], right: Sequence[int], place: Sequence[int]) -> int:
    return sum(place[one] > place[other] for one in left for other in right)
