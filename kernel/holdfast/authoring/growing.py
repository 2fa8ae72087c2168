"""How a pipeline grows: what is open at its end, and what putting a stage or a line there adds to the draft."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import attrs

from holdfast.authoring import mistakes
from holdfast.authoring.draft import ALL, Beginning, Draft, Link, Node, known_plan
from holdfast.authoring.fit import fits
from holdfast.authoring.mistakes import Endpoint
from holdfast.authoring.source import Source
from holdfast.authoring.stage import Plan, Stage
from holdfast.authoring.values import Values
from holdfast.entities.definition import Act, Join, Shape
from holdfast.entities.graph import END, START, Condition, EdgeOn

if TYPE_CHECKING:
    from collections.abc import Mapping


@attrs.frozen(kw_only=True)
class End:
    """A link whose target is not known yet."""

    source: str
    condition: Condition | None = None
    priority: int | None = None
    on: EdgeOn = EdgeOn.OUTPUT
    #: Whether it is one of the cases of a branch, with others beside it.
    is_case: bool = False


@attrs.frozen(kw_only=True)
class Open:
    """The end of a pipeline as far as it is written: the ways that lead on, and the value that arrives by them."""

    ends: tuple[End, ...]
    shape: Shape = Shape.ONE
    #: Of a TUPLE, who gives its members.
    members: tuple[str, ...] = ()
    join: Join = ALL
    #: The map around it.
    within: str | None = None
    #: Within a parallel group that is being put there: the targets that the ways will have in common.
    fork: list[str] | None = None

    @property
    def is_plain(self) -> bool:
        """Whether it is one node, behind which nothing was decided yet."""
        end = self.ends[0]
        return (
            len(self.ends) == 1
            and self.shape is Shape.ONE
            and self.fork is None
            and end == End(source=end.source)
            and end.source != START
        )

    @property
    def base(self) -> str:
        """What nodes that are put in between here are named after."""
        source = self.ends[0].source
        return "start" if source == START else source

    def receiver(self, node_id: str, *, call: Source, act: Act = Act.BODY, **more: Any) -> Node:
        """Return a node that takes what arrives here."""
        ids = tuple(dict.fromkeys(end.source for end in self.ends if end.source != START))
        return Node(
            id=node_id,
            call=call,
            act=act,
            shape=self.shape,
            sources=self.members if self.shape is Shape.TUPLE else () if self.shape is Shape.ITEM else ids,
            is_entry=self.shape is Shape.ONE and any(end.source == START for end in self.ends),
            expired=frozenset(end.source for end in self.ends if end.on is EdgeOn.TIMEOUT),
            join=self.join,
            within=self.within,
            **more,
        )


class Step(Protocol):
    """One call of the builder, which can be repeated wherever the pipeline is put."""

    @property
    def shown(self) -> str:
        """The step as it is shown in a flow's repr."""
        ...

    def grow(self, draft: Draft, at: Open) -> Open:
        """Add to the draft what the step adds *at* its end, and return the new end."""
        ...


@attrs.frozen(kw_only=True)
class One:
    """A stage that is put into a workflow."""

    stage: Stage[Any, Any]
    plan: Plan | None

    @property
    def first(self) -> str:
        """The id that a map over it is named after."""
        return self.stage.id


@attrs.frozen(kw_only=True)
class Several:
    """A line that is put into a workflow."""

    beginning: Beginning
    steps: tuple[Step, ...]
    #: The id of its first stage; none if it is empty.
    first: str


Item = One | Several


def one_of(stage: Stage[Any, Any], names: Mapping[str, Any]) -> One:
    """Return *stage* as something that can be put into a workflow."""
    return One(stage=stage, plan=known_plan(stage, names))


def enter(draft: Draft, at: Open, targets: Sequence[str], *, call: Source) -> None:
    """Let every way that is open lead to *targets*."""
    if at.fork is not None:
        at.fork.extend(targets)
        return
    for end in at.ends:
        draft.link(
            Link(
                source=end.source,
                targets=tuple(targets),
                condition=end.condition,
                priority=end.priority,
                on=end.on,
                call=call,
            )
        )


def put(draft: Draft, at: Open, item: Item, *, call: Source) -> Open:
    """Put a stage or a line where the pipeline ends.

    Raises:
        DefinitionError: If it cannot stand there.
    """
    if isinstance(item, One):
        node = at.receiver(item.stage.id, call=call, stage=item.stage, plan=item.plan)
        return place(draft, at, node)
    taken = Endpoint(name="a line", verb="takes", annotation=item.beginning.input, source=item.beginning.call)
    check_value(draft, at, taken, call=call)
    for step in item.steps:
        at = step.grow(draft, at)
    return at


def place(draft: Draft, at: Open, node: Node) -> Open:
    """Add *node* where the pipeline ends, and return the end behind it."""
    draft.add(node)
    enter(draft, at, [node.id], call=node.call)
    return Open(ends=(End(source=node.id),), within=node.within)


def gathered(draft: Draft, at: Open, word: str, *, call: Source) -> Open:
    """Put a node in between that does nothing but hand on what arrives, so that it comes from one place."""
    return place(draft, at, at.receiver(draft.fresh(at.base, word), call=call, act=Act.PASS))


def as_one(draft: Draft, at: Open, word: str, *, call: Source) -> Open:
    """Return the end itself if one node gives the value, else one behind a node that gathers it."""
    return at if at.is_plain else gathered(draft, at, word, call=call)


def finish(draft: Draft, at: Open, *, call: Source) -> None:
    """Let the workflow end where the pipeline ends."""
    if at.shape is Shape.TUPLE and (at.join != ALL or len(at.members) == 1):
        at = gathered(draft, at, "join", call=call)
    enter(draft, at, [END], call=call)
    draft.output = value_of(draft, at)


def value_of(draft: Draft, at: Open) -> Any:
    """Return the type of the value at the end of the pipeline."""
    return Values(draft).arriving(at.receiver("", call=draft.header.call))


def check_value(draft: Draft, at: Open, taken: Endpoint, *, call: Source) -> None:
    """Check that the value at the end of the pipeline fits what is *taken*.

    Raises:
        DefinitionError: If it does not.
    """
    node = at.receiver("", call=call)
    if at.shape is Shape.ITEM:
        given = Values(draft).arriving(node)
        if not fits(given, taken.annotation):
            item = Endpoint(name="an item of the map", verb="is", annotation=given, source=call)
            raise mistakes.cannot_follow([item], taken, call=call)
        return
    Values(draft).check_fit(node, taken, call=call)
