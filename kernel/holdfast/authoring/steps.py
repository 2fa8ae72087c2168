"""The calls of the pipeline builder, each as something that can be repeated wherever a line is put."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs

from holdfast.authoring import misroutes
from holdfast.authoring.draft import Awaited, Draft, Node
from holdfast.authoring.growing import End, Item, One, Open, as_one, enter, gathered, place, put
from holdfast.authoring.source import Source
from holdfast.entities.definition import Act, Join, Mapped, Shape
from holdfast.entities.graph import Condition, EdgeOn


@attrs.frozen(kw_only=True)
class Piped:
    """A stage or line behind what is there."""

    item: Item
    call: Source

    @property
    def shown(self) -> str:
        """The stage, or the stages of the line."""
        return shown(self.item)

    def grow(self, draft: Draft, at: Open) -> Open:
        """Put the item at the end."""
        return put(draft, at, self.item, call=self.call)


@attrs.frozen(kw_only=True)
class Parallel:
    """Several stages or lines beside each other."""

    items: tuple[Item, ...]
    join: Join
    call: Source

    @property
    def shown(self) -> str:
        """The members, with bars between them."""
        return f"({' | '.join(shown(item) for item in self.items)})"

    def grow(self, draft: Draft, at: Open) -> Open:
        """Let one fork lead to all of them, and their outputs form a tuple."""
        if at.shape is Shape.ITEM:
            # A map begins at one stage.
            at = gathered(draft, at, "item", call=self.call)
        fork: list[str] = []
        inside = attrs.evolve(at, fork=fork)
        members = [self._member(draft, inside, item) for item in self.items]
        enter(draft, at, fork, call=self.call)
        ends = tuple(member.ends[0] for member in members)
        return Open(
            ends=ends,
            shape=Shape.TUPLE,
            members=tuple(end.source for end in ends),
            join=self.join,
            within=at.within,
        )

    def _member(self, draft: Draft, at: Open, item: Item) -> Open:
        end = put(draft, at, item, call=self.call)
        return as_one(draft, end, "end", call=self.call)


@attrs.frozen(kw_only=True)
class Choice:
    """One case of a branch, read."""

    condition: Condition | None
    priority: int | None
    item: Item
    call: Source


@attrs.frozen(kw_only=True)
class Branched:
    """Several stages or lines one of which is taken."""

    choices: tuple[Choice, ...]
    call: Source

    @property
    def shown(self) -> str:
        """The cases, with strokes between them."""
        return f"({' / '.join(shown(choice.item) or '…' for choice in self.choices)})"

    def grow(self, draft: Draft, at: Open) -> Open:
        """Let each case lead away from the one node that gives the value."""
        at = as_one(draft, at, "branch", call=self.call)
        ends: list[End] = []
        for choice in self.choices:
            end = End(source=at.ends[0].source, condition=choice.condition, priority=choice.priority, is_case=True)
            behind = put(draft, Open(ends=(end,), within=at.within), choice.item, call=choice.call)
            if behind.shape is Shape.TUPLE:
                behind = gathered(draft, behind, "join", call=choice.call)
            ends += behind.ends
        return Open(ends=tuple(ends), within=at.within)


@attrs.frozen(kw_only=True)
class MappedOver:
    """A stage or line that is executed once for each item of a list."""

    item: Item
    limit: int
    tolerate: int | float
    call: Source

    @property
    def shown(self) -> str:
        """The stage in brackets."""
        return f"[{shown(self.item)}]"

    def grow(self, draft: Draft, at: Open) -> Open:
        """Put the item between a node that splits the list and one that collects the outputs."""
        if at.within is not None:
            raise misroutes.nested_map(call=self.call)
        split = draft.fresh(self.item.first, "split")
        place(draft, at, at.receiver(split, call=self.call, act=Act.SPLIT))
        return self.fill(draft, split)

    def fill(self, draft: Draft, split: str) -> Open:
        """Put the item behind the SPLIT node of that id, and the node that collects the outputs behind the item."""
        collect = draft.fresh(self.item.first, "join")
        before = len(draft.nodes)
        inside = Open(ends=(End(source=split),), shape=Shape.ITEM, within=split)
        last = as_one(draft, put(draft, inside, self.item, call=self.call), "end", call=self.call)
        body = tuple(draft.nodes)[before:]
        mapped = Mapped(collect=collect, body=body, limit=self.limit, tolerate=self.tolerate)
        draft.replace(attrs.evolve(draft.nodes[split], mapped=mapped))
        sources = (last.ends[0].source,)
        node = Node(id=collect, call=self.call, act=Act.COLLECT, shape=Shape.NOTHING, sources=sources)
        return place(draft, last, node)


@attrs.frozen(kw_only=True)
class Waited:
    """A wait for a payload from outside."""

    name: str
    payload: Any
    timeout: timedelta | None
    reason: str
    on_timeout: Item | None
    call: Source

    @property
    def shown(self) -> str:
        """The wait's name with a question mark."""
        return f"{self.name}?"

    def grow(self, draft: Draft, at: Open) -> Open:
        """Put the wait at the end, and what takes its place if nobody answers beside it."""
        wait = Awaited(name=self.name, payload=self.payload, timeout=self.timeout, reason=self.reason)
        behind = place(draft, at, at.receiver(self.name, call=self.call, act=Act.WAIT, wait=wait))
        if self.on_timeout is None:
            return behind
        expired = Open(ends=(End(source=self.name, on=EdgeOn.TIMEOUT),), within=at.within)
        instead = as_one(draft, put(draft, expired, self.on_timeout, call=self.call), "pass", call=self.call)
        # The wait that timed out hands on what it was given, which makes a pair with what takes the payload's place.
        pair = Node(
            id=draft.fresh(self.name, "or"),
            call=self.call,
            act=Act.PASS,
            shape=Shape.TUPLE,
            sources=(self.name, instead.ends[0].source),
            expired=frozenset({self.name}),
            within=at.within,
        )
        return Open(ends=(*behind.ends, *place(draft, instead, pair).ends), within=at.within)


def shown(item: Item) -> str:
    """Return the ids of the stages of *item*, in a line."""
    if isinstance(item, One):
        return item.stage.id
    return " → ".join(step.shown for step in item.steps)
