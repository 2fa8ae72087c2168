"""A workflow before it is compiled: nodes and the links between them, the same for every way of writing.

Every style of writing fills a `Draft`, and `holdfast.authoring.compile.compiled` checks it and makes the definition::

    draft = Draft(header)
    draft.add(Node(id="first", stage=first, call=source))
    draft.add(Node(id="second", stage=second, call=source))
    draft.link(Link(source=START, targets=("first",), call=source))
    draft.link(Link(source="first", targets=("second",), condition=condition, call=source))
    draft.link(Link(source="first", targets=(END,), call=source))
    draft.link(Link(source="second", targets=(END,), call=source))
    definition = compiled(draft, caller().names)

What a node's input is made of may be left open (``shape=None``): then it follows from the links that lead to it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

import attrs

from holdfast.authoring import mistakes
from holdfast.authoring.mistakes import Subject
from holdfast.authoring.signature import Declared, declared
from holdfast.authoring.source import Source
from holdfast.authoring.stage import Plan, Stage
from holdfast.codec.refusals import UnresolvedName
from holdfast.entities.definition import STEP_LIMIT, Act, Join, Mapped, Shape
from holdfast.entities.graph import START, Condition, EdgeOn

#: The output of a workflow that does not declare it: it follows from what stands at its ends.
FOLLOWS: Final = object()
#: The rule of a join that says nothing.
ALL: Final = Join()


@attrs.frozen(kw_only=True)
class Beginning:
    """Where a flow begins, and what arrives there."""

    #: The type of the input.
    input: Any
    #: Where it is written.
    call: Source

    def declared_input(self) -> Declared:
        """Return the input as it is declared.

        Raises:
            UnresolvedName: If its type refers to a name that does not exist yet.
            DefinitionError: If its values cannot be stored.
        """
        return declared(self.input, f"the input of {self.subject.name}", self.subject)

    @property
    def subject(self) -> Subject:
        """The flow as errors call it."""
        return Subject("the line", self.call)


@attrs.frozen(kw_only=True)
class Header(Beginning):
    """What a workflow is told beside its stages."""

    id: str
    version: str
    description: str = ""
    timeout: timedelta | None = None
    step_limit: int = STEP_LIMIT
    #: Whether completed stages are undone when a run fails or is cancelled.
    compensate: bool = False
    #: Whether runs have a state.
    state: bool = False
    #: The type of the run's output, unless it `FOLLOWS`.
    output: Any = FOLLOWS

    @property
    def subject(self) -> Subject:
        """The workflow as errors call it."""
        return Subject(f'workflow "{self.id}"', self.call)


@attrs.frozen(kw_only=True)
class Awaited:
    """What a WAIT node waits for."""

    name: str
    #: The type of the payload.
    payload: Any
    timeout: timedelta | None = None
    reason: str = ""


@attrs.frozen(kw_only=True)
class Node:
    """One stage of a draft."""

    id: str
    #: Where it is put into the workflow.
    call: Source
    act: Act = Act.BODY
    #: What a BODY node executes.
    stage: Stage[Any, Any] | None = None
    #: What is known of the stage; None while its annotations refer to names that do not exist yet.
    plan: Plan | None = None
    #: What its input is made of; None if that follows from the links.
    shape: Shape | None = None
    #: The nodes that its input is made of, in order. Left alone if the shape is.
    sources: tuple[str, ...] = ()
    #: Whether the run's input may be its input. Left alone if the shape is.
    is_entry: bool = False
    #: Those of the sources that are waits whose limit was reached: such a wait hands on what it was given.
    expired: frozenset[str] = frozenset()
    join: Join = ALL
    #: The SPLIT node of the map that it stands in.
    within: str | None = None
    #: Of a SPLIT node.
    mapped: Mapped | None = None
    #: Of a WAIT node.
    wait: Awaited | None = None


@attrs.frozen(kw_only=True)
class Link:
    """A way from a node to another one, or to several at once: an edge before it is compiled."""

    source: str
    targets: tuple[str, ...]
    call: Source
    #: None for the way that is taken otherwise.
    condition: Condition | None = None
    #: None for 0, or below all conditions for the way that is taken otherwise.
    priority: int | None = None
    on: EdgeOn = EdgeOn.OUTPUT


class Draft:
    """The nodes and links of a workflow, or of a line, while it is written."""

    __slots__ = ("header", "links", "nodes", "output")

    def __init__(self, header: Beginning) -> None:
        self.header = header
        #: By id, in definition order.
        self.nodes: dict[str, Node] = {}
        self.links: list[Link] = []
        #: The type of the output, where the style that fills the draft knows it.
        self.output: Any = header.output if isinstance(header, Header) else FOLLOWS

    def copy(self) -> Draft:
        """Return a draft that can be filled on its own."""
        other = Draft(self.header)
        other.nodes, other.links, other.output = dict(self.nodes), list(self.links), self.output
        return other

    def add(self, node: Node) -> None:
        """Add a node.

        Raises:
            DefinitionError: If there is one with its id.
        """
        first = self.nodes.get(node.id)
        if first is not None:
            raise mistakes.duplicate_stage(node.id, first=first.call, call=node.call)
        self.nodes[node.id] = node

    def replace(self, node: Node) -> None:
        """Put *node* in the place of the one that has its id."""
        assert node.id in self.nodes, "only what is there is replaced"
        self.nodes[node.id] = node

    def link(self, link: Link) -> None:
        """Add a link."""
        self.links.append(link)

    def fresh(self, base: str, word: str) -> str:
        """Return an id that no node has, for one that is put in between *base* and what follows it."""
        wanted = f"{base}~{word}"
        number, found = 1, wanted
        while found in self.nodes:
            number += 1
            found = f"{wanted}{number}"
        return found

    def behind(self, node_id: str) -> set[str]:
        """Return every node from which a way leads to *node_id*, itself only if it stands in a loop."""
        incoming: dict[str, list[str]] = {}
        for link in self.links:
            for target in link.targets:
                incoming.setdefault(target, []).append(link.source)
        found: set[str] = set()
        work = [node_id]
        while work:
            news = [one for one in incoming.get(work.pop(), ()) if one not in found and one != START]
            found.update(news)
            work += news
        return found


def known_plan(stage: Stage[Any, Any], names: Any) -> Plan | None:
    """Return what *stage* is, or None while its annotations refer to names that do not exist yet."""
    try:
        return stage.plan(names)
    except UnresolvedName:
        return None


def resolved(nodes: Iterable[Node], names: Any) -> dict[str, Node]:
    """Return *nodes* by id, each with its plan.

    Raises:
        DefinitionError: If an annotation refers to a name that does not exist.
    """
    return {
        node.id: node
        if node.stage is None or node.plan is not None
        else attrs.evolve(node, plan=node.stage.plan(names))
        for node in nodes
    }
