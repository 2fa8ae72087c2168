"""From sizes to places: the layered layout of Sugiyama, Tagawa and Toda (1981), its steps in modules of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import attrs

from holdfast_hosts.cli.drawing.ordering import order
from holdfast_hosts.cli.drawing.placing import place
from holdfast_hosts.cli.drawing.sheet import Link, Role, Sheet, Size, make_sheet

#: Room between layers, at least and at most: where arrows lead far to the side they need more of it.
GAP: Final = 36.0
WIDEST_GAP: Final = 96.0
#: Part of the sideways way of an arrow that is added to the gap it leads through.
SLOPE: Final = 0.08


@attrs.frozen(kw_only=True)
class Box:
    """Where a box stands."""

    x: float
    y: float
    size: Size
    layer: int

    @property
    def left(self) -> float:
        """Its left side."""
        return self.x - self.size.width / 2

    @property
    def right(self) -> float:
        """Its right side."""
        return self.x + self.size.width / 2

    @property
    def top(self) -> float:
        """Its upper side."""
        return self.y - self.size.height / 2

    @property
    def bottom(self) -> float:
        """Its lower side."""
        return self.y + self.size.height / 2


@attrs.frozen(kw_only=True)
class Layout:
    """Where everything stands; x and y grow to the right and downwards, and may be negative."""

    sheet: Sheet
    boxes: tuple[Box, ...]
    #: Upper and lower side of each layer.
    bands: tuple[tuple[float, float], ...]

    def label(self, link: int) -> tuple[float, float] | None:
        """Return the middle of the label of a forward link, if it has one."""
        for number in self.sheet.chains[link][1:2]:
            vertex = self.sheet.vertices[number]
            if vertex.role is Role.LABEL:
                top, bottom = self.bands[vertex.layer]
                return vertex.x, (top + bottom) / 2
        return None


def lay_out(boxes: Sequence[Size], links: Sequence[Link]) -> Layout:
    """Return places for *boxes*, so that links lead downwards, those back aside."""
    sheet = make_sheet(boxes, links)
    order(sheet)
    place(sheet)
    bands = _bands(sheet)
    placed = tuple(
        Box(x=vertex.x, y=sum(bands[vertex.layer]) / 2, size=vertex.size, layer=vertex.layer)
        for vertex in sheet.vertices[: len(boxes)]
    )
    return Layout(sheet=sheet, boxes=placed, bands=bands)


def _bands(sheet: Sheet) -> tuple[tuple[float, float], ...]:
    bands: list[tuple[float, float]] = []
    top = 0.0
    for layer in sheet.layers:
        bottom = top + max(sheet.vertices[number].size.height for number in layer)
        bands.append((top, bottom))
        aside = max(
            (
                abs(sheet.vertices[number].x - sheet.vertices[one].x)
                for number in layer
                for one in _below(sheet, number)
            ),
            default=0.0,
        )
        top = bottom + min(GAP + aside * SLOPE, WIDEST_GAP)
    return tuple(bands)


def _below(sheet: Sheet, number: int) -> Sequence[int]:
    return sheet.vertices[number].below
