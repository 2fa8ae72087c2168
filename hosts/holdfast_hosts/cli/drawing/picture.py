"""A workflow as a person drew it up: nodes and arrows, before anybody decides what they look like."""

from __future__ import annotations

import enum

import attrs

from holdfast.entities.stage import StageStatus


class Kind(enum.Enum):
    """What a node stands for, and with that its shape."""

    START = "start"
    END = "end"
    STAGE = "stage"
    WAIT = "wait"
    #: A stage, or several of them, once for every item of a list.
    MAP = "map"
    #: One of several ways is chosen.
    CHOICE = "choice"
    #: Several ways meet.
    MEET = "meet"


@attrs.frozen(kw_only=True)
class Fate:
    """What became of a node in one run."""

    status: StageStatus
    #: In words, for nothing is told by colour alone.
    words: str


@attrs.frozen(kw_only=True)
class Label:
    """Why an arrow is taken."""

    text: str
    #: Whether the text is source code.
    code: bool = False
    #: Of several that could be taken, the one of the highest priority is.
    priority: int = 0

    @property
    def words(self) -> str:
        """The label in one line."""
        return f"{self.text} · priority {self.priority}" if self.priority else self.text


@attrs.frozen(kw_only=True)
class Node:
    """One thing on the picture."""

    id: str
    kind: Kind
    title: str = ""
    #: What is said below the title, a line each.
    notes: tuple[str, ...] = ()
    #: What is said to who asks for more, a line each.
    hints: tuple[str, ...] = ()
    #: The compiled stages that it stands for.
    stages: tuple[str, ...] = ()
    #: What happens to each item of a map that has more than one stage.
    inside: Picture | None = None
    fate: Fate | None = None

    @property
    def name(self) -> str:
        """The node in a sentence."""
        return self.title or self.kind.value


@attrs.frozen(kw_only=True)
class Arrow:
    """A way from one node to another."""

    source: str
    target: str
    #: Any of these leads here; empty when the arrow is always taken.
    labels: tuple[Label, ...] = ()
    #: Whether it begins the next turn of a loop.
    back: bool = False
    #: The edges that it stands for: it was taken when all edges of one of these were.
    edges: tuple[tuple[str, ...], ...] = ()
    #: Whether the run took it; None when no run is looked at.
    taken: bool | None = None


@attrs.frozen(kw_only=True)
class Picture:
    """Nodes and arrows, both in the order in which they were defined."""

    title: str
    nodes: tuple[Node, ...]
    arrows: tuple[Arrow, ...]
