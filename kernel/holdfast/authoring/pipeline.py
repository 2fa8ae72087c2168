"""What every pipeline knows of itself: how it was written so far, and how it becomes a definition."""

from __future__ import annotations

from typing import Any, Generic

from holdfast.authoring import misroutes, mistakes
from holdfast.authoring.checks import check_nodes, check_waits
from holdfast.authoring.compile import compiled
from holdfast.authoring.draft import Beginning, Draft, Header
from holdfast.authoring.growing import End, Open, Step, finish
from holdfast.authoring.source import caller
from holdfast.authoring.stage import In_contra, Out_co, Part
from holdfast.codec.spelling import type_name
from holdfast.entities.definition import Definition
from holdfast.entities.graph import START


class Pipeline(Part[In_contra, Out_co], Generic[In_contra, Out_co]):
    """A workflow or a line as far as it is written."""

    __slots__ = ("_at", "_definition", "_draft", "_header", "_steps")

    def __init__(self, header: Beginning) -> None:
        self._header = header
        self._steps: tuple[Step, ...] = ()
        self._draft = Draft(header)
        self._at = Open(ends=(End(source=START),))
        self._definition: Definition | None = None

    @property
    def id(self) -> str:
        """The workflow's id; empty for a line."""
        return self._header.id if isinstance(self._header, Header) else ""

    @property
    def version(self) -> str:
        """The workflow's version; empty for a line."""
        return self._header.version if isinstance(self._header, Header) else ""

    @property
    def is_line(self) -> bool:
        """Whether it is a part of workflows, not one itself."""
        return not isinstance(self._header, Header)

    @property
    def beginning(self) -> Beginning:
        """Where it begins."""
        return self._header

    @property
    def steps(self) -> tuple[Step, ...]:
        """The calls that it was built by."""
        return self._steps

    @property
    def first(self) -> str:
        """The id of its first stage; ``line`` if it has none."""
        return next((node_id for node_id in self._draft.nodes if "~" not in node_id), "line")

    def grow_from(self, other: Pipeline[Any, Any], step: Step) -> None:
        """Become what *other* is, with a step more.

        Raises:
            DefinitionError: If the step cannot stand there.
        """
        self._draft = other._draft.copy()
        before = len(self._draft.nodes)
        self._at = step.grow(self._draft, other._at)
        self._steps = (*other.steps, step)
        check_nodes(self._draft, tuple(self._draft.nodes.values())[before:])
        check_waits(self._draft)

    def definition(self) -> Definition:
        """Return the compiled workflow, every time the same one.

        Raises:
            DefinitionError: If it cannot be built.
        """
        if self._definition is None:
            call = caller()
            if not isinstance(self._header, Header):
                raise misroutes.line_as_workflow(call=call.source)
            self._definition = compiled(self._finished(self._header), call.names)
        return self._definition

    def _finished(self, header: Header) -> Draft:
        draft = self._draft.copy()
        if not draft.nodes:
            raise mistakes.empty_workflow(header.id, call=header.call)
        finish(draft, self._at, call=header.call)
        return draft

    def __repr__(self) -> str:
        name = "line" if self.is_line else f"workflow {self.id}@{self.version}"
        return f"<{name}: {' → '.join([type_name(self._header.input), *(step.shown for step in self._steps)])}>"
