"""Vertices in layers: boxes, labels of arrows, and a dummy wherever an arrow only passes through a layer."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence

import attrs


@attrs.frozen(kw_only=True)
class Size:
    """How much room something takes."""

    width: float
    height: float


@attrs.frozen(kw_only=True)
class Link:
    """An arrow between two boxes, by their numbers."""

    source: int
    target: int
    #: Of its label, if it has one.
    label: Size | None = None
    back: bool = False


class Role(enum.Enum):
    """Why a vertex is there."""

    BOX = "box"
    LABEL = "label"
    DUMMY = "dummy"


@attrs.define(kw_only=True, eq=False)
class Vertex:
    """Something that takes room in a layer."""

    role: Role
    size: Size
    layer: int
    #: The middle.
    x: float = 0.0
    above: list[int] = attrs.field(factory=list)
    below: list[int] = attrs.field(factory=list)

    @property
    def left(self) -> float:
        """Where it begins."""
        return self.x - self.size.width / 2

    @property
    def right(self) -> float:
        """Where it ends."""
        return self.x + self.size.width / 2


@attrs.define(kw_only=True, eq=False)
class Sheet:
    """All vertices, the boxes first, in their layers from the left to the right."""

    vertices: list[Vertex]
    layers: list[list[int]]
    #: The vertices that each link leads through, both boxes included; of a link back only the boxes.
    chains: list[tuple[int, ...]]


_DUMMY: Size = Size(width=6, height=0)


def make_sheet(boxes: Sequence[Size], links: Sequence[Link]) -> Sheet:
    """Put every box into a layer below all that lead to it; links back aside, no links may form a cycle."""
    forward = [link for link in links if not link.back]
    depth = _depths(len(boxes), forward)
    vertices = [Vertex(role=Role.BOX, size=size, layer=depth[number]) for number, size in enumerate(boxes)]
    chains: list[tuple[int, ...]] = []
    for link in links:
        chain = [link.source]
        if not link.back:
            for layer in range(depth[link.source] + 1, depth[link.target]):
                first = layer == depth[link.source] + 1
                size = link.label if first else None
                vertices.append(Vertex(role=Role.LABEL if size else Role.DUMMY, size=size or _DUMMY, layer=layer))
                _join(vertices, chain[-1], len(vertices) - 1)
                chain.append(len(vertices) - 1)
            _join(vertices, chain[-1], link.target)
        chains.append((*chain, link.target))
    layers: list[list[int]] = [[] for _ in range(1 + max(depth.values(), default=0))]
    for number in _depth_first(vertices):
        layers[vertices[number].layer].append(number)
    return Sheet(vertices=vertices, layers=layers, chains=chains)


def _join(vertices: Sequence[Vertex], source: int, target: int) -> None:
    vertices[source].below.append(target)
    vertices[target].above.append(source)


def _depths(boxes: int, links: Sequence[Link]) -> Mapping[int, int]:
    """Return the layer of each box: the longest path to it, on which a label takes a layer of its own."""
    into = [0] * boxes
    out: list[list[Link]] = [[] for _ in range(boxes)]
    for link in links:
        into[link.target] += 1
        out[link.source].append(link)
    ready = [number for number in range(boxes) if not into[number]]
    depth = dict.fromkeys(ready, 0)
    for number in ready:
        for link in out[number]:
            least = depth[number] + (2 if link.label else 1)
            depth[link.target] = max(depth.get(link.target, 0), least)
            into[link.target] -= 1
            if not into[link.target]:
                ready.append(link.target)
    assert len(ready) == boxes, "only links back lead into a cycle"
    return depth


def _depth_first(vertices: Sequence[Vertex]) -> list[int]:
    """Return all vertices so that what hangs together stands together."""
    seen: dict[int, None] = {}
    work = [number for number, vertex in enumerate(vertices) if not vertex.above][::-1]
    while work:
        number = work.pop()
        if number not in seen:
            seen[number] = None
            work += vertices[number].below[::-1]
    return list(seen)
