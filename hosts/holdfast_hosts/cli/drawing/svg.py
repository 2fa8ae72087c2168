"""Draws a picture as SVG that needs nothing else: no script, no font, no other file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs

from holdfast_hosts.cli.drawing import shapes
from holdfast_hosts.cli.drawing.faces import (
    MARGIN,
    NOTE_LINE,
    PADDING,
    PANEL_GAP,
    Face,
    Line,
    face_of,
    label_lines,
    label_size,
)
from holdfast_hosts.cli.drawing.layout import Box, lay_out
from holdfast_hosts.cli.drawing.look import ROOT, style
from holdfast_hosts.cli.drawing.picture import Arrow, Kind, Picture
from holdfast_hosts.cli.drawing.routing import Point, Route, extent, routes
from holdfast_hosts.cli.drawing.sheet import Link, Size
from holdfast_hosts.cli.drawing.widths import width_of
from holdfast_hosts.cli.drawing.xml import element, number, text

#: Around the whole drawing.
BORDER: Final = 24.0
#: Room for the heading.
HEAD: Final = 34.0
HEAD_SIZE: Final = 15.0


@attrs.frozen(kw_only=True)
class _Scene:
    """A picture with a place for everything; x and y begin at 0."""

    picture: Picture
    faces: tuple[Face, ...]
    boxes: tuple[Box, ...]
    ways: tuple[Route, ...]
    labels: tuple[tuple[Line, ...], ...]
    inner: tuple[_Scene | None, ...]
    size: Size
    #: What has to be added to every x and y.
    shift: tuple[float, float]


def svg_of(picture: Picture) -> str:
    """Return the picture as an SVG document; the same picture gives the same text."""
    scene = _staged(picture)
    width = max(scene.size.width, width_of(picture.title, size=HEAD_SIZE)) + 2 * BORDER
    height = scene.size.height + 2 * BORDER + HEAD
    left = (width - scene.size.width) / 2
    room = {"width": number(width), "height": number(height)}
    content = [
        element("title", text(f"Workflow {picture.title}")),
        element("desc", text(_described(picture))),
        element("style", f"\n{style()}\n"),
        element("rect", **{"class": "paper", **room, "rx": "8"}),
        shapes.words(picture.title, BORDER, BORDER + HEAD_SIZE - 2, kind="head"),
        *_drawn(scene, left, BORDER + HEAD),
    ]
    root = {"xmlns": "http://www.w3.org/2000/svg", "class": ROOT, "role": "img", **room}
    return element("svg", "\n".join(["", *content, ""]), **root, viewBox=f"0 0 {room['width']} {room['height']}") + "\n"


def _staged(picture: Picture) -> _Scene:
    inner = tuple(None if node.inside is None else _staged(node.inside) for node in picture.nodes)
    faces = tuple(
        face_of(node, None if within is None else within.size)
        for node, within in zip(picture.nodes, inner, strict=True)
    )
    place = {node.id: at for at, node in enumerate(picture.nodes)}
    labels = tuple(label_lines(arrow) for arrow in picture.arrows)
    links = [
        Link(source=place[arrow.source], target=place[arrow.target], label=label_size(lines), back=arrow.back)
        for arrow, lines in zip(picture.arrows, labels, strict=True)
    ]
    layout = lay_out([face.size for face in faces], links)
    ways = routes(layout, links, [face.outline for face in faces])
    left, top, right, bottom = extent(layout.boxes, ways, links)
    return _Scene(
        picture=picture,
        faces=faces,
        boxes=layout.boxes,
        ways=ways,
        labels=labels,
        inner=inner,
        size=Size(width=right - left, height=bottom - top),
        shift=(-left, -top),
    )


def _drawn(scene: _Scene, left: float, top: float) -> Iterator[str]:
    """Yield the elements of a scene: ways below nodes, labels above both."""
    yield f'<g transform="translate({number(left + scene.shift[0])} {number(top + scene.shift[1])})">'
    ways = zip(scene.picture.arrows, scene.ways, strict=True)
    # Ways that a run took lie above those that it did not.
    for arrow, way in sorted(ways, key=lambda one: one[0].taken is True):
        yield _way(arrow, way)
    for at in range(len(scene.boxes)):
        yield from _node(scene, at)
    for arrow, way, lines in zip(scene.picture.arrows, scene.ways, scene.labels, strict=True):
        if way.label is not None:
            yield _label(arrow, lines, way.label)
    yield "</g>"


def _node(scene: _Scene, at: int) -> Iterator[str]:
    node, face, box, inner = scene.picture.nodes[at], scene.faces[at], scene.boxes[at], scene.inner[at]
    kind = node.kind.value if node.fate is None else f"{node.kind.value} {node.fate.status.value.lower()}"
    yield f'<g class="{kind}">'
    yield element("title", text("\n".join(node.hints or (node.name,))))
    yield from shapes.shape(node.kind, box)
    if node.kind in {Kind.CHOICE, Kind.MEET}:
        first = box.y - (len(face.notes) - 1) * NOTE_LINE / 2 + 4
        for row, line in enumerate(face.notes):
            yield shapes.words(line, box.x + 20, first + row * NOTE_LINE, kind="note beside")
    elif face.title:
        y = box.top + PADDING[1] if inner is not None or node.kind is Kind.MAP else box.y - face.text_height / 2
        yield from shapes.text_block(face, box.x, y, sign=None if node.fate is None else node.fate.status)
        if inner is not None:
            y += face.text_height + PANEL_GAP
            yield shapes.panel(box, y, inner.size)
            yield from _drawn(inner, box.x - inner.size.width / 2, y + MARGIN / 2)
    yield "</g>"


def _way(arrow: Arrow, way: Route) -> str:
    classes = ["arrow", *(["back"] if arrow.back else [])]
    if arrow.taken is not None:
        classes.append("taken" if arrow.taken else "untaken")
    return f'<g class="{" ".join(classes)}">{shapes.way(way)}</g>'


def _label(arrow: Arrow, lines: tuple[Line, ...], middle: Point) -> str:
    x, y = middle
    size = label_size(lines)
    assert size is not None, "only what has lines has a place for them"
    whole = element("title", text(" or ".join(label.words for label in arrow.labels)))
    halo = shapes.rectangle(x - size.width / 2, y - size.height / 2, size, kind="halo", round_by=4)
    first = y - (len(lines) - 1) * NOTE_LINE / 2 + 4
    said = [
        shapes.words(line.text, x, first + at * NOTE_LINE, kind="label code" if line.code else "label")
        for at, line in enumerate(lines)
    ]
    return f"<g>{whole}{halo}{''.join(said)}</g>"


def _described(picture: Picture) -> str:
    """Return the picture in words, for who cannot see it."""
    names = {node.id: node.name for node in picture.nodes}
    sentences = list[str]()
    for arrow in picture.arrows:
        why = " or ".join(label.words for label in arrow.labels)
        sentences.append(f"{names[arrow.source]} to {names[arrow.target]}" + (f" ({why})" if why else ""))
    fates = [f"{node.name}: {node.fate.words}" for node in picture.nodes if node.fate is not None]
    return "; ".join((*sentences, *fates))
