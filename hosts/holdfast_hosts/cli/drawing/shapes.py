"""The elements that a drawing is made of."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Final

from holdfast.entities.stage import StageStatus
from holdfast_hosts.cli.drawing.faces import (
    DOTS,
    MARGIN,
    NOTE_LINE,
    SHEETS,
    SIGN,
    SLANT,
    STACK,
    TITLE,
    TITLE_LINE,
    Face,
)
from holdfast_hosts.cli.drawing.layout import Box
from holdfast_hosts.cli.drawing.picture import Kind
from holdfast_hosts.cli.drawing.routing import Point, Route
from holdfast_hosts.cli.drawing.sheet import Size
from holdfast_hosts.cli.drawing.widths import width_of
from holdfast_hosts.cli.drawing.xml import element, number, text

#: Length and half the width of the head of an arrow.
TIP: Final = (8.0, 4.2)
#: How round the corners of a way back are.
CORNER: Final = 10.0

#: The sign of each status in a square of 14: drawn, for a font may lack it.
_SIGNS: Final = {
    StageStatus.COMPLETED: "M2.5 7.5 L6 11 L11.5 3.5",
    StageStatus.FAILED: "M3 3 L11 11 M11 3 L3 11",
    StageStatus.RUNNING: "M4 2.5 L11 7 L4 11.5 Z",
    StageStatus.READY: "M7 2.5 A4.5 4.5 0 1 1 6.99 2.5 Z",
    StageStatus.WAITING: "M7 1.5 A5.5 5.5 0 1 1 6.99 1.5 Z M7 4 L7 7 L9.5 8.5",
    StageStatus.SUSPENDED: "M7 1.5 A5.5 5.5 0 1 1 6.99 1.5 Z M7 4 L7 7 L9.5 8.5",
    StageStatus.SKIPPED: "M3 7 L11 7",
    StageStatus.CANCELLED: "M7 1.5 A5.5 5.5 0 1 1 6.99 1.5 Z M3.2 10.8 L10.8 3.2",
    StageStatus.PENDING: "M7 6.9 L7 7.1",
}


def words(content: str, x: float, y: float, *, kind: str) -> str:
    """Return a line of text."""
    return element("text", text(content), **{"class": kind, "x": number(x), "y": number(y)})


def rectangle(x: float, y: float, size: Size, *, kind: str, round_by: float) -> str:
    """Return a rectangle with round corners."""
    place = {"x": number(x), "y": number(y), "width": number(size.width), "height": number(size.height)}
    return element("rect", **{"class": kind, **place, "rx": number(round_by)})


def shape(kind: Kind, box: Box) -> Iterator[str]:
    """Yield what stands behind the words of a node."""
    match kind:
        case Kind.START | Kind.MEET:
            yield _circle(box, DOTS[kind] / 2, "shape")
        case Kind.END:
            yield _circle(box, DOTS[kind] / 2, "shape ring")
            yield _circle(box, DOTS[kind] / 2 - 5, "core")
        case Kind.CHOICE:
            half = DOTS[kind] / 2
            yield _polygon([(box.x, box.y - half), (box.x + half, box.y), (box.x, box.y + half), (box.x - half, box.y)])
        case Kind.WAIT:
            inner = [box.left + SLANT, box.right - SLANT]
            upper, lower = [(x, box.top) for x in inner], [(x, box.bottom) for x in reversed(inner)]
            yield _polygon([*upper, (box.right, box.y), *lower, (box.left, box.y)])
        case Kind.MAP:
            size = Size(width=box.size.width, height=box.size.height - STACK * SHEETS)
            for sheet in range(SHEETS, -1, -1):
                narrower = Size(width=size.width - 2 * STACK * sheet, height=size.height)
                left, top = box.left + STACK * sheet, box.top + STACK * sheet
                yield rectangle(left, top, narrower, kind="shape", round_by=7)
        case Kind.STAGE:
            yield rectangle(box.left, box.top, box.size, kind="shape", round_by=7)


def _circle(box: Box, radius: float, kind: str) -> str:
    return element("circle", **{"class": kind, "cx": number(box.x), "cy": number(box.y), "r": number(radius)})


def _polygon(points: Sequence[Point]) -> str:
    return element("polygon", **{"class": "shape", "points": " ".join(_point(one) for one in points)})


def panel(box: Box, top: float, inside: Size) -> str:
    """Return the ground on which stands what happens inside of a map."""
    size = Size(width=box.size.width - MARGIN, height=inside.height + MARGIN)
    return rectangle(box.x - size.width / 2, top, size, kind="panel", round_by=5)


def text_block(face: Face, x: float, top: float, *, sign: StageStatus | None) -> Iterator[str]:
    """Yield title and notes around the middle *x*, with a sign beside the title."""
    if sign is not None:
        left = x - width_of(face.title[0], size=TITLE) / 2 - SIGN / 2
        path = element("path", **{"class": "sign", "d": _SIGNS[sign]})
        yield f'<g transform="translate({number(left - 2)} {number(top + 2)})">{path}</g>'
        x += SIGN / 2
    y = top + TITLE_LINE - 5
    for line in face.title:
        yield words(line, x, y, kind="title")
        y += TITLE_LINE
    x -= SIGN / 2 if sign is not None else 0
    y += NOTE_LINE - TITLE_LINE
    for line in face.notes:
        yield words(line, x, y, kind="note")
        y += NOTE_LINE


def way(route: Route) -> str:
    """Return the line of an arrow and its head."""
    (before, y), tip = route.points[-2], route.points[-1]
    angle = math.atan2(tip[1] - y, tip[0] - before) if route.back else math.pi / 2
    end = (tip[0] - TIP[0] * math.cos(angle), tip[1] - TIP[0] * math.sin(angle))
    path = _cornered([*route.points[:-1], end]) if route.back else _smooth([*route.points[:-1], end])
    aside = (TIP[1] * math.sin(angle), TIP[1] * math.cos(angle))
    head = [tip, (end[0] + aside[0], end[1] - aside[1]), (end[0] - aside[0], end[1] + aside[1])]
    points = " ".join(_point(one) for one in head)
    return element("path", **{"class": "way", "d": path}) + element("polygon", **{"class": "tip", "points": points})


def _smooth(points: Sequence[Point]) -> str:
    """Return a path that is vertical within layers and swings from one to the next between them."""
    *upper, (x, y) = points
    upper[-1] = (upper[-1][0], min(upper[-1][1], y))
    parts = [f"M{_point(points[0])}"]
    for at, ((x0, y0), (x1, y1)) in enumerate(itertools.pairwise([*upper, (x, y)])):
        if at % 2 == 0 or abs(x0 - x1) < 0.05:
            parts.append(f"L{_point((x1, y1))}")
        else:
            middle = (y0 + y1) / 2
            parts.append(f"C{_point((x0, middle))} {_point((x1, middle))} {_point((x1, y1))}")
    return " ".join(parts)


def _cornered(points: Sequence[Point]) -> str:
    """Return a path of straight parts with round corners."""
    parts = [f"M{_point(points[0])}"]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        radius = min(CORNER, math.dist(before, corner) / 2, math.dist(corner, after) / 2)
        into, out = _towards(corner, before, radius), _towards(corner, after, radius)
        parts.append(f"L{_point(into)} Q{_point(corner)} {_point(out)}")
    return " ".join([*parts, f"L{_point(points[-1])}"])


def _towards(start: Point, end: Point, length: float) -> Point:
    distance = math.dist(start, end) or 1.0
    return (
        start[0] + (end[0] - start[0]) * length / distance,
        start[1] + (end[1] - start[1]) * length / distance,
    )


def _point(point: Point) -> str:
    return f"{number(point[0])},{number(point[1])}"
