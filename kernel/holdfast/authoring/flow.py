"""The typed pipeline: `workflow` or `line` begins one, and each step gives a new `Flow`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar, overload

from holdfast.authoring.branching import Case
from holdfast.authoring.draft import FOLLOWS, Beginning
from holdfast.authoring.growing import Step
from holdfast.authoring.heading import Told, begun, read_header
from holdfast.authoring.imperative import Imperative
from holdfast.authoring.pipeline import Pipeline
from holdfast.authoring.reading import read_branch, read_map, read_parallel, read_pipe, read_wait
from holdfast.authoring.source import caller
from holdfast.authoring.stage import In_contra, Out_co, Part
from holdfast.entities.definition import DEFAULT_QUEUE, STEP_LIMIT
from holdfast.entities.retry import Retry, Span

Given = TypeVar("Given")
T = TypeVar("T")
U = TypeVar("U")
W = TypeVar("W")
A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
D = TypeVar("D")
E = TypeVar("E")
F = TypeVar("F")
G = TypeVar("G")


class Flow(Pipeline[In_contra, Out_co], Generic[In_contra, Out_co]):
    """A workflow or a line as far as it is written: it takes an *In* and gives an *Out*. Immutable."""

    __slots__ = ()

    def pipe(self, stage: Part[Out_co, T], /) -> Flow[In_contra, T]:
        """Add *stage*, or a line of stages, which takes what comes out so far.

        Raises:
            DefinitionError: If it cannot stand here.
        """
        return self._with(read_pipe(stage, call=caller()))

    @overload
    def parallel(self, a: Part[Out_co, A], /) -> Flow[In_contra, A]: ...  # pyright: ignore[reportOverlappingOverload]  # first match
    @overload
    def parallel(self, a: Part[Out_co, A], b: Part[Out_co, B], /) -> Flow[In_contra, tuple[A, B]]: ...
    @overload
    def parallel(
        self, a: Part[Out_co, A], b: Part[Out_co, B], c: Part[Out_co, C], /
    ) -> Flow[In_contra, tuple[A, B, C]]: ...
    @overload
    def parallel(
        self, a: Part[Out_co, A], b: Part[Out_co, B], c: Part[Out_co, C], d: Part[Out_co, D], /
    ) -> Flow[In_contra, tuple[A, B, C, D]]: ...
    @overload
    def parallel(
        self, a: Part[Out_co, A], b: Part[Out_co, B], c: Part[Out_co, C], d: Part[Out_co, D], e: Part[Out_co, E], /
    ) -> Flow[In_contra, tuple[A, B, C, D, E]]: ...
    @overload
    def parallel(
        self,
        a: Part[Out_co, A],
        b: Part[Out_co, B],
        c: Part[Out_co, C],
        d: Part[Out_co, D],
        e: Part[Out_co, E],
        f: Part[Out_co, F],
        /,
    ) -> Flow[In_contra, tuple[A, B, C, D, E, F]]: ...
    @overload
    def parallel(
        self, a: Part[Out_co, A], /, *, need: int | None = None, tolerate: int = 0
    ) -> Flow[In_contra, tuple[A | None]]: ...
    @overload
    def parallel(
        self, a: Part[Out_co, A], b: Part[Out_co, B], /, *, need: int | None = None, tolerate: int = 0
    ) -> Flow[In_contra, tuple[A | None, B | None]]: ...
    @overload
    def parallel(
        self,
        a: Part[Out_co, A],
        b: Part[Out_co, B],
        c: Part[Out_co, C],
        /,
        *,
        need: int | None = None,
        tolerate: int = 0,
    ) -> Flow[In_contra, tuple[A | None, B | None, C | None]]: ...
    @overload
    def parallel(
        self,
        a: Part[Out_co, A],
        b: Part[Out_co, B],
        c: Part[Out_co, C],
        d: Part[Out_co, D],
        /,
        *,
        need: int | None = None,
        tolerate: int = 0,
    ) -> Flow[In_contra, tuple[A | None, B | None, C | None, D | None]]: ...
    @overload
    def parallel(
        self, *stages: Part[Out_co, Any], need: int | None = None, tolerate: int = 0
    ) -> Flow[In_contra, tuple[Any, ...]]: ...
    def parallel(self, *stages: Any, need: int | None = None, tolerate: int = 0) -> Any:
        """Add stages that run in parallel; each takes what comes out so far, and their outputs form a tuple in order.

        One stage alone is the same as piped, unless *need* or *tolerate* is given.

        Args:
            stages: The stages, or lines of stages.
            need: Go on as soon as so many have completed; the tuple has None for the others.
            tolerate: So many may fail; the tuple has None for them.

        Raises:
            DefinitionError: If there is none, or one cannot stand here.
        """
        return self._with(read_parallel(stages, need=need, tolerate=tolerate, call=caller()))

    @overload
    def branch(self, a: Case[Out_co, A], b: Case[Out_co, B], /) -> Flow[In_contra, A | B]: ...  # pyright: ignore[reportOverlappingOverload]  # first match
    @overload
    def branch(self, a: Case[Out_co, A], b: Case[Out_co, B], c: Case[Out_co, C], /) -> Flow[In_contra, A | B | C]: ...
    @overload
    def branch(
        self, a: Case[Out_co, A], b: Case[Out_co, B], c: Case[Out_co, C], d: Case[Out_co, D], /
    ) -> Flow[In_contra, A | B | C | D]: ...
    @overload
    def branch(
        self,
        a: Case[Out_co, A],
        b: Case[Out_co, B],
        c: Case[Out_co, C],
        d: Case[Out_co, D],
        e: Case[Out_co, E],
        /,
    ) -> Flow[In_contra, A | B | C | D | E]: ...
    @overload
    def branch(
        self,
        a: Case[Out_co, A],
        b: Case[Out_co, B],
        c: Case[Out_co, C],
        d: Case[Out_co, D],
        e: Case[Out_co, E],
        f: Case[Out_co, F],
        /,
    ) -> Flow[In_contra, A | B | C | D | E | F]: ...
    @overload
    def branch(
        self,
        a: Case[Out_co, A],
        b: Case[Out_co, B],
        c: Case[Out_co, C],
        d: Case[Out_co, D],
        e: Case[Out_co, E],
        f: Case[Out_co, F],
        g: Case[Out_co, G],
        /,
    ) -> Flow[In_contra, A | B | C | D | E | F | G]: ...
    @overload
    def branch(self, *cases: Case[Out_co, T]) -> Flow[In_contra, T]: ...
    def branch(self, *cases: Any) -> Any:
        """Add a choice: of the cases, the one of the highest priority that is true is taken.

        Write ``.branch(when(lambda report: report.sure, publish), otherwise(ask))``. What the cases give is one value.

        Raises:
            DefinitionError: If there is no condition, no otherwise, or a case cannot stand here.
        """
        return self._with(read_branch(cases, call=caller()))

    @overload
    def map(self: Flow[Given, Sequence[T]], stage: Part[T, U], /, *, limit: int = 10) -> Flow[Given, list[U]]: ...
    @overload
    def map(
        self: Flow[Given, Sequence[T]], stage: Part[T, U], /, *, limit: int = 10, tolerate: float
    ) -> Flow[Given, list[U | None]]: ...
    def map(self, stage: Any, /, *, limit: int = 10, tolerate: float | None = None) -> Any:
        """Add a stage, or a line of stages, that is executed for each item of the list that comes out so far.

        The outputs form a list in the order of the items.

        Args:
            stage: The stage or line.
            limit: So many items are under way at a time.
            tolerate: How many items may fail, as a number or a fraction; the list has None for them.

        Raises:
            DefinitionError: If what comes out is no list, or the stage cannot take its items.
        """
        return self._with(read_map(stage, limit=limit, tolerate=tolerate, call=caller()))

    @overload
    def wait_for(
        self, name: str, payload: type[W], /, *, timeout: Span | None = None, reason: str = ""
    ) -> Flow[In_contra, tuple[Out_co, W]]: ...
    @overload
    def wait_for(
        self, name: str, payload: type[W], /, *, timeout: Span, on_timeout: Part[Out_co, U], reason: str = ""
    ) -> Flow[In_contra, tuple[Out_co, W | U]]: ...
    def wait_for(
        self,
        name: str,
        payload: Any,
        /,
        *,
        timeout: Span | None = None,
        on_timeout: Any = None,
        reason: str = "",
    ) -> Any:
        """Wait for somebody to resume the run with a payload, which is paired with what comes out so far.

        Args:
            name: What the payload is addressed by; unique within the workflow.
            payload: The type of the payload.
            timeout: How long to wait, such as ``7d``; for ever if not given.
            on_timeout: A stage or line whose output takes the payload's place; without one a timeout fails the run.
            reason: For people: what is waited for.

        Raises:
            DefinitionError: If an argument is not fit to be what it is.
        """
        step = read_wait(name, payload, timeout=timeout, on_timeout=on_timeout, reason=reason, call=caller())
        return self._with(step)

    def _with(self, step: Step) -> Flow[In_contra, Any]:
        other: Flow[In_contra, Any] = Flow(self.beginning)
        other.grow_from(self, step)
        return other


@overload
def workflow(
    id: str,
    *,
    input: type[T],
    version: str = "1.0.0",
    description: str = "",
    timeout: Span | None = None,
    step_limit: int = STEP_LIMIT,
    compensate: bool = False,
    state: bool = False,
) -> Flow[T, T]: ...
@overload
def workflow(
    id: str,
    *,
    input: None,
    version: str = "1.0.0",
    description: str = "",
    timeout: Span | None = None,
    step_limit: int = STEP_LIMIT,
    compensate: bool = False,
    state: bool = False,
) -> Flow[None, None]: ...
@overload
def workflow(
    id: str,
    *,
    version: str = "1.0.0",
    description: str = "",
    timeout: Span | None = None,
    step_limit: int = STEP_LIMIT,
    compensate: bool = False,
    state: bool = False,
    retry: Retry | None = None,
    key: Callable[[Any], str] | None = None,
    waits: Mapping[str, Any] | None = None,
    queue: str = DEFAULT_QUEUE,
    weight: int = 1,
) -> Imperative: ...
def workflow(  # noqa: PLR0913 - one for each option
    id: str,
    *,
    input: Any = FOLLOWS,
    version: str = "1.0.0",
    description: str = "",
    timeout: Span | None = None,
    step_limit: int = STEP_LIMIT,
    compensate: bool = False,
    state: bool = False,
    retry: Retry | None = None,
    key: Callable[[Any], str] | None = None,
    waits: Mapping[str, Any] | None = None,
    queue: str = DEFAULT_QUEUE,
    weight: int = 1,
) -> Any:
    """Begin a workflow, to which `Flow.pipe`, `Flow.parallel` and their like add stages.

    Without *input* it decorates one async function ``(input, ctx)``, which then is the whole workflow.

    Args:
        id: What the workflow is known by.
        input: The type of the input of its runs; None if they take none.
        version: Runs stay on the version that they were started with, so a changed workflow gets a new one.
        description: What it is for, for people.
        timeout: The limit of a whole run, such as ``7d``.
        step_limit: How many stages a path through a run may have.
        compensate: Whether completed stages are undone when a run fails or is cancelled.
        state: Whether runs have a state that stages see and patch.
        retry: Of a function: as for `stage`.
        key: Of a function: as for `stage`.
        waits: Of a function: as for `stage`.
        queue: Of a function: as for `stage`.
        weight: Of a function: as for `stage`.

    Raises:
        DefinitionError: If an argument is not fit to be what it is.
    """
    call = caller().source
    options = Told(
        version=version,
        description=description,
        timeout=timeout,
        step_limit=step_limit,
        compensate=compensate,
        state=state,
    )

    def begin(kind: Any) -> Flow[Any, Any]:
        return Flow(begun(read_header(id, input=kind, options=options, call=call)))

    if input is FOLLOWS:
        return Imperative(begin=begin, retry=retry, key=key, waits=waits, queue=queue, weight=weight)
    return begin(input)


def line(input: type[T], /) -> Flow[T, T]:
    """Begin a line of stages, which can stand wherever a stage can.

    Write ``ask = line(Report).wait_for("approval", Decision).pipe(decide)``.

    Raises:
        DefinitionError: If values of the type cannot be stored.
    """
    return Flow(begun(Beginning(input=input, call=caller().source)))
