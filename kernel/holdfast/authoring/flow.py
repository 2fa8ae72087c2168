"""The typed pipeline: `workflow` begins one, and each step gives a new `Flow`."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Generic, TypeVar, overload

from holdfast.authoring.assemble import Header, Step, assemble, check_step, make_step
from holdfast.authoring.context import Context
from holdfast.authoring.options import checked_name, checked_span
from holdfast.authoring.source import caller
from holdfast.authoring.stage import In_contra, Out_co, Stage
from holdfast.codec.refusals import UnresolvedName
from holdfast.codec.spelling import type_name
from holdfast.entities.definition import Definition
from holdfast.entities.retry import Span

Given = TypeVar("Given")
T = TypeVar("T")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")

#: A stage that can stand where a *Given* arrives; one that takes its context only can stand anywhere.
Next = Stage[Given, T] | Stage[Context[Any], T]


class Flow(Generic[In_contra, Out_co]):
    """A workflow as far as it is written: runs of it take an *In* and give an *Out*. Immutable."""

    __slots__ = ("_definition", "_header", "_steps")

    def __init__(self, header: Header, steps: tuple[Step, ...] = ()) -> None:
        self._header = header
        self._steps = steps
        self._definition: Definition | None = None

    @property
    def id(self) -> str:
        """The workflow's id."""
        return self._header.id

    @property
    def version(self) -> str:
        """The workflow's version."""
        return self._header.version

    def pipe(self, stage: Next[Out_co, T], /) -> Flow[In_contra, T]:
        """Add *stage*, which takes what comes out so far.

        Raises:
            DefinitionError: If it cannot stand here.
        """
        return self._with(stage)

    @overload
    def parallel(self, a: Next[Out_co, A], /) -> Flow[In_contra, A]: ...  # pyright: ignore[reportOverlappingOverload]  # first match
    @overload
    def parallel(self, a: Next[Out_co, A], b: Next[Out_co, B], /) -> Flow[In_contra, tuple[A, B]]: ...
    @overload
    def parallel(
        self, a: Next[Out_co, A], b: Next[Out_co, B], c: Next[Out_co, C], /
    ) -> Flow[In_contra, tuple[A, B, C]]: ...
    @overload
    def parallel(
        self, a: Next[Out_co, A], b: Next[Out_co, B], c: Next[Out_co, C], d: Next[Out_co, D], /
    ) -> Flow[In_contra, tuple[A, B, C, D]]: ...
    @overload
    def parallel(
        self, a: Next[Out_co, A], b: Next[Out_co, B], c: Next[Out_co, C], d: Next[Out_co, D], e: Next[Out_co, E], /
    ) -> Flow[In_contra, tuple[A, B, C, D, E]]: ...
    @overload
    def parallel(
        self,
        a: Next[Out_co, A],
        b: Next[Out_co, B],
        c: Next[Out_co, C],
        d: Next[Out_co, D],
        e: Next[Out_co, E],
        f: Next[Out_co, F],
        /,
    ) -> Flow[In_contra, tuple[A, B, C, D, E, F]]: ...
    @overload
    def parallel(self, *stages: Next[Out_co, Any]) -> Flow[In_contra, tuple[Any, ...]]: ...
    def parallel(self, *stages: Any) -> Any:
        """Add stages that run in parallel; each takes what comes out so far, and their outputs form a tuple in order.

        One stage alone is the same as piped.

        Raises:
            DefinitionError: If there is none, or one cannot stand here.
        """
        return self._with(*stages)

    def definition(self) -> Definition:
        """Return the compiled workflow, every time the same one.

        Raises:
            DefinitionError: If it cannot be built.
        """
        if self._definition is None:
            self._definition = assemble(self._header, self._steps, caller().names)
        return self._definition

    def _with(self, *stages: object) -> Flow[In_contra, Any]:
        step = make_step(stages, call=caller())
        check_step(self._header, self._steps, step)
        return Flow(self._header, (*self._steps, step))

    def __repr__(self) -> str:
        groups = (step.ids[0] if len(step.ids) == 1 else f"({' | '.join(step.ids)})" for step in self._steps)
        return f"<workflow {self.id}@{self.version}: {' → '.join([type_name(self._header.input), *groups])}>"


@overload
def workflow(
    id: str, *, input: type[T], version: str = "1.0.0", description: str = "", timeout: Span | None = None
) -> Flow[T, T]: ...
@overload
def workflow(
    id: str, *, input: None, version: str = "1.0.0", description: str = "", timeout: Span | None = None
) -> Flow[None, None]: ...
def workflow(id: str, *, input: Any, version: str = "1.0.0", description: str = "", timeout: Span | None = None) -> Any:
    """Begin a workflow, to which `Flow.pipe` and `Flow.parallel` add stages.

    Args:
        id: What the workflow is known by.
        input: The type of the input of its runs; None if they take none.
        version: Runs stay on the version that they were started with, so a changed workflow gets a new one.
        description: What it is for, for people.
        timeout: The limit of a whole run, such as ``7d``.

    Raises:
        DefinitionError: If an argument is not fit to be what it is.
    """
    call = caller().source
    header = Header(
        id=checked_name("id of a workflow", id, call=call),
        version=checked_name(f'version of workflow "{id}"', version, call=call),
        description=description,
        timeout=None if timeout is None else checked_span(f'timeout of workflow "{id}"', timeout, call=call),
        input=input,
        call=call,
    )
    # A model may refer to one that is defined further down; it is looked at again when the definition is built.
    with suppress(UnresolvedName):
        header.declared_input()
    return Flow(header)
