"""Leads arrows from box to box: forward ones down through the layers, those of loops back along a side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import attrs

from holdfast_hosts.cli.drawing.layout import Box, Layout
from holdfast_hosts.cli.drawing.placing import rising
from holdfast_hosts.cli.drawing.sheet import Link

Point = tuple[float, float]
#: Right is 1, left is -1.
Side = Literal[1, -1]

#: Room between the ends of arrows at one box.
APART: Final = 14.0
#: Room between a way back and what stands beside it.
ASIDE: Final = 22.0
#: How far a way back stays away from the layers that it turns around.
TURN: Final = 12.0


@attrs.frozen(kw_only=True)
class Outline:
    """Where arrows may touch a box."""

    #: How far from the middle of its upper and lower side.
    reach: float
    #: How far a slanting side lies from that of the box, at the upper and lower end.
    slant: float = 0.0


@attrs.frozen(kw_only=True)
class Route:
    """The way of an arrow, its label and where its head points to."""

    #: Corners of a way back, or the ends of the vertical parts of a forward one.
    points: tuple[Point, ...]
    back: bool
    #: The middle of the label.
    label: Point | None = None


def routes(layout: Layout, links: Sequence[Link], outlines: Sequence[Outline]) -> tuple[Route, ...]:
    """Return the way of each link."""
    ports = _Ports(layout, links, outlines)
    back = _Backs(layout, links, outlines).routes()
    return tuple(back[number] if link.back else _forward(layout, number, ports) for number, link in enumerate(links))


def _forward(layout: Layout, link: int, ports: _Ports) -> Route:
    first, *between, last = layout.sheet.chains[link]
    points: list[Point] = [(ports.out[link], layout.boxes[first].bottom)]
    points.append((ports.out[link], layout.bands[layout.boxes[first].layer][1]))
    for number in between:
        vertex = layout.sheet.vertices[number]
        points += [(vertex.x, side) for side in layout.bands[vertex.layer]]
    points.append((ports.into[link], layout.bands[layout.boxes[last].layer][0]))
    points.append((ports.into[link], layout.boxes[last].top))
    return Route(points=tuple(points), back=False, label=layout.label(link))


class _Ports:
    """Where forward links leave the lower sides of boxes and reach the upper ones, by link."""

    def __init__(self, layout: Layout, links: Sequence[Link], outlines: Sequence[Outline]) -> None:
        self.out: dict[int, float] = {}
        self.into: dict[int, float] = {}
        leaving: dict[int, dict[int, float]] = {}
        arriving: dict[int, dict[int, float]] = {}
        for number, link in enumerate(links):
            if link.back:
                continue
            _, *between, _ = (layout.sheet.vertices[one].x for one in layout.sheet.chains[number])
            if not between:
                between = [_straight(link, layout, outlines)]
            leaving.setdefault(link.source, {})[number] = between[0]
            arriving.setdefault(link.target, {})[number] = between[-1]
        for box, some in leaving.items():
            self.out |= _spread(some, middle=layout.boxes[box].x, reach=outlines[box].reach)
        for box, some in arriving.items():
            self.into |= _spread(some, middle=layout.boxes[box].x, reach=outlines[box].reach)


def _straight(link: Link, layout: Layout, outlines: Sequence[Outline]) -> float:
    """Return the x of the vertical between two boxes that is nearest to the middle of both, or of none if none is."""
    ends = [(layout.boxes[box].x, outlines[box].reach) for box in (link.source, link.target)]
    middle = sum(x for x, _ in ends) / 2
    low, high = max(x - reach for x, reach in ends), min(x + reach for x, reach in ends)
    return min(max(middle, low), high) if low <= high else middle


def _spread(wanted: Mapping[int, float], *, middle: float, reach: float) -> dict[int, float]:
    """Return where the links touch a side: near to where they are wanted, apart from each other, and on the side."""
    links = sorted(wanted, key=lambda link: wanted[link])
    apart = min(APART, 2 * reach / max(len(links) - 1, 1))
    low, high = middle - reach, middle + reach - apart * (len(links) - 1)
    shifted = [min(max(wanted[link], middle - reach), middle + reach) - apart * at for at, link in enumerate(links)]
    settled = rising((x, 1.0) for x in shifted)
    return {
        link: min(max(x, low), max(low, high)) + apart * at
        for at, (link, x) in enumerate(zip(links, settled, strict=True))
    }


class _Backs:
    """Leads ways back along the sides, the shortest innermost."""

    def __init__(self, layout: Layout, links: Sequence[Link], outlines: Sequence[Outline]) -> None:
        self._layout = layout
        self._links = links
        self._outlines = outlines
        #: Upper and lower layer, side, and how far out it is taken.
        self._taken: list[tuple[int, int, Side, float]] = []
        #: By box, side, and whether they leave: the links back that touch it, the innermost first.
        self._touching: dict[tuple[int, Side, bool], list[Link]] = {}

    def routes(self) -> dict[int, Route]:
        """Return the way of each link back."""
        back = [number for number, link in enumerate(self._links) if link.back]
        back.sort(key=lambda number: self._span(self._links[number]))
        for link in (self._links[number] for number in back):
            for box, leaving in ((link.source, True), (link.target, False)):
                self._touching.setdefault((box, self._side(link), leaving), []).append(link)
        return {number: self._route(self._links[number]) for number in back}

    def _span(self, link: Link) -> int:
        return self._layout.boxes[link.source].layer - self._layout.boxes[link.target].layer

    def _route(self, link: Link) -> Route:
        source, target = self._layout.boxes[link.source], self._layout.boxes[link.target]
        side = self._side(link)
        upper, lower = target.layer, source.layer
        base = max(side * one for one in self._edges(upper, lower, side)) + ASIDE
        for above, below, there, outer in self._taken:
            if there == side and above <= lower + 1 and upper <= below + 1:
                base = max(base, outer + ASIDE)
        label = link.label
        self._taken.append((upper, lower, side, base + (label.width + TURN if label else 0)))
        x = side * base
        begin, end = self._end(link, x, leaving=True), self._end(link, x, leaving=False)
        at = (side * (base + TURN / 2 + label.width / 2), (begin[-1][1] + end[-1][1]) / 2) if label else None
        return Route(points=(*begin, *reversed(end)), back=True, label=at)

    def _side(self, link: Link) -> Side:
        """Return the side on which the way is shorter, to the right when in doubt."""
        sides: tuple[Side, ...] = (1, -1)
        costs = {side: sum(not self._is_outermost(one, side) for one in (link.source, link.target)) for side in sides}
        return min(sides, key=lambda side: costs[side])

    def _is_outermost(self, box: int, side: Side) -> bool:
        layer = self._layout.sheet.layers[self._layout.boxes[box].layer]
        return layer[-1 if side == 1 else 0] == box

    def _edges(self, upper: int, lower: int, side: Side) -> list[float]:
        vertices = self._layout.sheet.vertices
        within = [vertices[number] for layer in self._layout.sheet.layers[upper : lower + 1] for number in layer]
        return [vertex.right if side == 1 else vertex.left for vertex in within]

    def _end(self, link: Link, x: float, *, leaving: bool) -> list[Point]:
        """Return the points from a box to its side, where the way goes on at *x*."""
        number, side = link.source if leaving else link.target, self._side(link)
        box, outline = self._layout.boxes[number], self._outlines[number]
        touching = self._touching[number, side, leaving]
        place = touching.index(link)
        if self._is_outermost(number, side):
            # The middle of the side is left free, for arrows that begin and end at the same box.
            away = box.size.height / 2 * (place + 1) / (len(touching) + 1) if outline.reach else 0.0
            slant = outline.slant * away / (box.size.height / 2)
            y = box.y + (away if leaving else -away)
            return [(box.x + side * (box.size.width / 2 - slant), y), (x, y)]
        top, bottom = self._layout.bands[box.layer]
        port = box.x + side * (outline.reach - 5 * place)
        y = bottom + TURN + 4 * place if leaving else top - TURN - 6 - 4 * place
        return [(port, box.bottom if leaving else box.top), (port, y), (x, y)]


def extent(boxes: Sequence[Box], ways: Sequence[Route], links: Sequence[Link]) -> tuple[float, float, float, float]:
    """Return the left, upper, right and lower end of everything."""
    xs = [side for box in boxes for side in (box.left, box.right)]
    ys = [side for box in boxes for side in (box.top, box.bottom)]
    for way, link in zip(ways, links, strict=True):
        xs += [x for x, _ in way.points]
        ys += [y for _, y in way.points]
        if way.label is not None and link.label is not None:
            xs += [way.label[0] - link.label.width / 2, way.label[0] + link.label.width / 2]
            ys += [way.label[1] - link.label.height / 2, way.label[1] + link.label.height / 2]
    return min(xs), min(ys), max(xs), max(ys)
