"""What can stand in a graph beside stages: waits and maps; and how each becomes nodes of the draft."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

import attrs

from holdfast.authoring import misroutes, mistakes
from holdfast.authoring.draft import Awaited, Draft, Node
from holdfast.authoring.growing import one_of
from holdfast.authoring.pipeline import Pipeline
from holdfast.authoring.source import Caller
from holdfast.authoring.stage import Part, Stage
from holdfast.authoring.steps import MappedOver, Waited
from holdfast.entities.definition import Act

T = TypeVar("T")
U = TypeVar("U")
W = TypeVar("W")


@attrs.frozen(eq=False)
class WaitNode(Part[Any, tuple[Any, W]], Generic[W]):
    """A wait that stands in a graph; made by `Graph.wait`."""

    step: Waited

    @property
    def id(self) -> str:
        """The wait's name."""
        return self.step.name


@attrs.frozen(eq=False)
class MapNode(Part[Sequence[T], list[U]], Generic[T, U]):
    """A map that stands in a graph; made by `Graph.map`."""

    step: MappedOver

    @property
    def id(self) -> str:
        """The id of the stage that is mapped."""
        return self.step.item.first


@attrs.frozen(kw_only=True)
class Point:
    """Something that stands in a graph, and the nodes that ways lead to and away from."""

    #: Kept, so that its identity stays its own.
    part: object
    entry: str
    exit: str


class Sketch:
    """A graph while it is written: its draft, and what was put into it."""

    __slots__ = ("_points", "draft")

    def __init__(self, draft: Draft, points: Mapping[int, Point] | None = None) -> None:
        self.draft = draft
        #: By the identity of the part: the same stage is the same node wherever it is named.
        self._points = dict(points or {})

    def copy(self) -> Sketch:
        """Return a sketch that can be filled on its own."""
        return Sketch(self.draft.copy(), self._points)

    def point(self, part: object, *, call: Caller) -> Point:
        """Return the point that *part* is, which is added when it is met for the first time.

        Raises:
            DefinitionError: If it cannot stand in a graph, or another node has its id.
        """
        if id(part) not in self._points:
            self._points[id(part)] = _placed(part, self.draft, call=call)
        return self._points[id(part)]


def _placed(part: Any, draft: Draft, *, call: Caller) -> Point:
    if isinstance(part, WaitNode):
        waited: Waited = part.step
        wait = Awaited(name=waited.name, payload=waited.payload, timeout=waited.timeout, reason=waited.reason)
        draft.add(Node(id=waited.name, call=call.source, act=Act.WAIT, wait=wait))
        return Point(part=cast("object", part), entry=waited.name, exit=waited.name)
    if isinstance(part, MapNode):
        mapped: MappedOver = part.step
        split = draft.fresh(mapped.item.first, "split")
        draft.add(Node(id=split, call=call.source, act=Act.SPLIT))
        return Point(part=cast("object", part), entry=split, exit=mapped.fill(draft, split).ends[0].source)
    if isinstance(part, Pipeline):
        raise misroutes.line_in_graph(call=call.source)
    if not isinstance(part, Stage):
        raise mistakes.no_stage(part, call=call.source)
    stage: Stage[Any, Any] = part
    one = one_of(stage, call.names)
    draft.add(Node(id=stage.id, call=call.source, stage=stage, plan=one.plan))
    return Point(part=stage, entry=stage.id, exit=stage.id)
