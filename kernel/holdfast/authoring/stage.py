"""Stages made of functions: the `stage` decorator."""

from __future__ import annotations

import abc
import copy
import functools
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, Protocol, Self, TypeVar, cast, overload

import attrs

from holdfast.authoring import mistakes
from holdfast.authoring.context import Context
from holdfast.authoring.fit import fits
from holdfast.authoring.mistakes import Subject
from holdfast.authoring.options import (
    Options,
    checked_key,
    checked_name,
    checked_number,
    checked_retry,
    checked_span,
    read_options,
)
from holdfast.authoring.results import Fail, Ok, Wait
from holdfast.authoring.signature import (
    Declared,
    Signature,
    declared,
    has_parameters,
    is_async,
    read_signature,
    read_undoing,
)
from holdfast.authoring.source import Caller, Source, caller, source_of
from holdfast.codec.refusals import UnresolvedName
from holdfast.entities.definition import DEFAULT_QUEUE, Body, PayloadType, Polling
from holdfast.entities.retry import Retry, Span

In_contra = TypeVar("In_contra", contravariant=True)
Out_co = TypeVar("Out_co", covariant=True)
In = TypeVar("In")
Out = TypeVar("Out")
P = ParamSpec("P")
Ctx = TypeVar("Ctx", bound=Context[Any])


@attrs.frozen(kw_only=True)
class Plan:
    """Everything about a stage but its place in a workflow."""

    body: Body
    polling: Polling | None
    #: None for a stage that takes no input.
    input: Declared | None
    output: Declared
    config: Declared | None
    options: Options
    source: Source
    #: What payloads the body may wait for, by name.
    waits: Mapping[str, PayloadType] = attrs.field(factory=dict)
    compensate: Body | None = None


class Part(Generic[In_contra, Out_co]):
    """Something that can stand in a workflow, where an *In* arrives and an *Out* leaves: a stage or a line of them."""


class Stage(Part[In_contra, Out_co], abc.ABC, Generic[In_contra, Out_co]):
    """Something that can be a stage of a workflow: it turns an *In* into an *Out*."""

    @property
    @abc.abstractmethod
    def id(self) -> str:
        """The id that the stage has in a workflow."""

    @abc.abstractmethod
    def plan(self, names: Mapping[str, Any]) -> Plan:
        """Return what the stage is, its types resolved.

        Args:
            names: What annotations may refer to if their own module does not have it.

        Raises:
            UnresolvedName: If an annotation refers to a name that does not exist yet.
            DefinitionError: If the stage cannot be one.
        """


class FunctionStage(Stage[In_contra, Out_co], Generic[In_contra, P, Out_co]):
    """A stage made of a function; still callable as that function."""

    def __init__(self, function: Callable[..., Any], options: Options, *, call: Caller) -> None:
        functools.update_wrapper(cast("Any", self), function)
        self._function = function
        self._options = options
        self._source = source_of(function)
        self._signature: Signature | None = None
        # A type that is defined further down is looked for again when the stage is put into a workflow.
        with suppress(UnresolvedName):
            self._signature = self._read(call.names)

    @property
    def id(self) -> str:
        """The id that the stage has in a workflow."""
        return self._options.name

    @property
    def needs(self) -> tuple[str, ...]:
        """The ids of the earlier stages whose outputs the context offers."""
        return self._options.needs

    def using(
        self,
        *,
        retry: Retry | None = None,
        timeout: Span | None = None,
        name: str | None = None,
        key: Callable[[Any], str] | None = None,
        queue: str | None = None,
        weight: int | None = None,
    ) -> Self:
        """Return the same stage with other options; those that are not given stay.

        Under another name one function can stand in a workflow twice.

        Raises:
            DefinitionError: If an option is not fit to be what it is.
        """
        call, options = caller().source, self._options
        if name is not None:
            options = attrs.evolve(options, name=checked_name("id of a stage", name, call=call))
        if retry is not None:
            options = attrs.evolve(options, retry=checked_retry(retry, name=options.name, call=call))
        if timeout is not None:
            limit = checked_span(f'timeout of stage "{options.name}"', timeout, call=call)
            options = attrs.evolve(options, timeout=limit)
        if key is not None:
            options = attrs.evolve(options, key=checked_key(key, name=options.name, call=call))
        if queue is not None:
            known = checked_name(f'queue of stage "{options.name}"', queue, call=call)
            options = attrs.evolve(options, queue=known)
        if weight is not None:
            tokens = checked_number(f'weight of stage "{options.name}"', weight, least=0, call=call)
            options = attrs.evolve(options, weight=tokens)
        other = copy.copy(self)
        vars(other)["_options"] = options
        return other

    def plan(self, names: Mapping[str, Any]) -> Plan:
        """Return what the stage is, its types resolved."""
        known = getattr(self._function, "__globals__", {})
        local = {name: names[name] for name in names if name not in known}
        if self._signature is None:
            self._signature = self._read(local)
        signature = self._signature
        subject = Subject(f'stage "{self.id}"', self._source)
        return Plan(
            body=signature.body,
            polling=None,
            input=signature.input,
            output=signature.output,
            config=signature.config,
            options=self._options,
            source=self._source,
            waits=declared_waits(self._options, subject),
            compensate=undoing_of(self._options, signature.output, subject, names=local),
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself, outside of any workflow."""
        return self._function(*args, **kwargs)

    def _read(self, names: Mapping[str, Any]) -> Signature:
        return read_signature(self._function, Subject(f'stage "{self.id}"', self._source), names=names)

    def __repr__(self) -> str:
        return f'<stage "{self.id}" from {self._source}>'


def declared_waits(options: Options, subject: Subject) -> Mapping[str, PayloadType]:
    """Return the types of the payloads that a stage may wait for, by name.

    Raises:
        UnresolvedName: If one refers to a name that does not exist yet.
        DefinitionError: If values of one cannot be stored.
    """
    what = f"the payload that {subject.name} waits for"
    return {name: declared(kind, f'{what} as "{name}"', subject).payload for name, kind in options.waits.items()}


def undoing_of(options: Options, output: Declared, subject: Subject, *, names: Mapping[str, Any]) -> Body | None:
    """Return what undoes a stage that gives *output*; None if nothing does.

    Raises:
        UnresolvedName: If an annotation refers to a name that does not exist yet.
        DefinitionError: If it cannot be called with the output.
    """
    function = given = options.compensate
    if function is None:
        return None
    if isinstance(function, type | Stage) or not callable(function):
        fix = "Give a plain function of the stage's output."
        raise mistakes.unfit_option(f"compensate of {subject.name}", given, call=subject.source, fix=fix)
    undoing = read_undoing(function, Subject(f"compensate of {subject.name}", source_of(function)), names=names)
    if undoing.output is not None and not fits(output.annotation, undoing.output):
        raise mistakes.other_undoing(subject, output.annotation, undoing.output)
    return undoing.body


class AsyncStage(FunctionStage[In_contra, P, Out_co], Generic[In_contra, P, Out_co]):
    """A stage made of an ``async def`` function."""

    if TYPE_CHECKING:

        def __call__(self, input: In_contra, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Out_co]:
            """Call the function itself, outside of any workflow."""
            ...


class SyncStage(FunctionStage[In_contra, P, Out_co], Generic[In_contra, P, Out_co]):
    """A stage made of a plain function, which hosts run in a thread."""

    if TYPE_CHECKING:

        def __call__(self, input: In_contra, /, *args: P.args, **kwargs: P.kwargs) -> Out_co:
            """Call the function itself, outside of any workflow."""
            ...


class AsyncStageWithoutInput(FunctionStage[object, P, Out_co], Generic[P, Out_co]):
    """A stage made of an ``async def`` function that takes its context only, or nothing; it can follow any other."""

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, Out_co]:
            """Call the function itself, outside of any workflow."""
            ...


class SyncStageWithoutInput(FunctionStage[object, P, Out_co], Generic[P, Out_co]):
    """A stage made of a plain function that takes its context only, or nothing; it can follow any other."""

    if TYPE_CHECKING:

        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Out_co:
            """Call the function itself, outside of any workflow."""
            ...


AsyncFunction = Callable[Concatenate[In, P], Coroutine[Any, Any, Out]]
SyncFunction = Callable[Concatenate[In, P], Out]
AsyncMaker = Callable[[], Coroutine[Any, Any, Out]]
SyncMaker = Callable[[], Out]
AsyncInContext = Callable[[Ctx], Coroutine[Any, Any, Out]]
SyncInContext = Callable[[Ctx], Out]


#: What a function may return instead of its plain output; the type variable is that of the output.
Told = Ok[Out] | Fail | Wait


class StageDecorator(Protocol):
    """What `stage` with options returns: it makes a stage of a function."""

    @overload
    def __call__(self, function: AsyncInContext[Ctx, Told[Out]], /) -> AsyncStageWithoutInput[[Ctx], Out]: ...  # type: ignore[overload-overlap]  # first match
    @overload
    def __call__(self, function: AsyncInContext[Ctx, Out], /) -> AsyncStageWithoutInput[[Ctx], Out]: ...  # type: ignore[overload-overlap]  # first match
    @overload
    def __call__(self, function: SyncInContext[Ctx, Told[Out]], /) -> SyncStageWithoutInput[[Ctx], Out]: ...  # type: ignore[overload-overlap]  # first match
    @overload
    def __call__(self, function: SyncInContext[Ctx, Out], /) -> SyncStageWithoutInput[[Ctx], Out]: ...
    @overload
    def __call__(self, function: AsyncFunction[In, P, Told[Out]], /) -> AsyncStage[In, P, Out]: ...  # type: ignore[overload-overlap]  # first match
    @overload
    def __call__(self, function: AsyncFunction[In, P, Out], /) -> AsyncStage[In, P, Out]: ...  # type: ignore[overload-overlap]  # first match
    @overload
    def __call__(self, function: SyncFunction[In, P, Told[Out]], /) -> SyncStage[In, P, Out]: ...
    @overload
    def __call__(self, function: SyncFunction[In, P, Out], /) -> SyncStage[In, P, Out]: ...
    @overload
    def __call__(self, function: AsyncMaker[Told[Out]], /) -> AsyncStageWithoutInput[[], Out]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]  # first match
    @overload
    def __call__(self, function: AsyncMaker[Out], /) -> AsyncStageWithoutInput[[], Out]: ...  # type: ignore[overload-overlap]  # first match
    @overload
    def __call__(self, function: SyncMaker[Told[Out]], /) -> SyncStageWithoutInput[[], Out]: ...
    @overload
    def __call__(self, function: SyncMaker[Out], /) -> SyncStageWithoutInput[[], Out]: ...


@overload
def stage(function: AsyncInContext[Ctx, Told[Out]], /) -> AsyncStageWithoutInput[[Ctx], Out]: ...  # type: ignore[overload-overlap]  # first match
@overload
def stage(function: AsyncInContext[Ctx, Out], /) -> AsyncStageWithoutInput[[Ctx], Out]: ...  # type: ignore[overload-overlap]  # first match
@overload
def stage(function: SyncInContext[Ctx, Told[Out]], /) -> SyncStageWithoutInput[[Ctx], Out]: ...  # type: ignore[overload-overlap]  # first match
@overload
def stage(function: SyncInContext[Ctx, Out], /) -> SyncStageWithoutInput[[Ctx], Out]: ...
@overload
def stage(function: AsyncFunction[In, P, Told[Out]], /) -> AsyncStage[In, P, Out]: ...  # type: ignore[overload-overlap]  # first match
@overload
def stage(function: AsyncFunction[In, P, Out], /) -> AsyncStage[In, P, Out]: ...  # type: ignore[overload-overlap]  # first match
@overload
def stage(function: SyncFunction[In, P, Told[Out]], /) -> SyncStage[In, P, Out]: ...
@overload
def stage(function: SyncFunction[In, P, Out], /) -> SyncStage[In, P, Out]: ...
@overload
def stage(function: AsyncMaker[Told[Out]], /) -> AsyncStageWithoutInput[[], Out]: ...  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]  # first match
@overload
def stage(function: AsyncMaker[Out], /) -> AsyncStageWithoutInput[[], Out]: ...  # type: ignore[overload-overlap]  # first match
@overload
def stage(function: SyncMaker[Told[Out]], /) -> SyncStageWithoutInput[[], Out]: ...
@overload
def stage(function: SyncMaker[Out], /) -> SyncStageWithoutInput[[], Out]: ...
@overload
def stage(
    *,
    name: str | None = None,
    retry: Retry | None = None,
    timeout: Span | None = None,
    needs: Sequence[Stage[Any, Any] | str] = (),
    queue: str = DEFAULT_QUEUE,
    key: Callable[[Any], str] | None = None,
    waits: Mapping[str, Any] | None = None,
    compensate: Callable[..., Any] | None = None,
    weight: int = 1,
) -> StageDecorator: ...
def stage(  # noqa: PLR0913 - one for each option
    function: Callable[..., Any] | None = None,
    /,
    *,
    name: str | None = None,
    retry: Retry | None = None,
    timeout: Span | None = None,
    needs: Sequence[Stage[Any, Any] | str] = (),
    queue: str = DEFAULT_QUEUE,
    key: Callable[[Any], str] | None = None,
    waits: Mapping[str, Any] | None = None,
    compensate: Callable[..., Any] | None = None,
    weight: int = 1,
) -> Any:
    """Make a stage of a function, which stays callable.

    The annotations say everything else: the first parameter is the input, ``ctx: Context[Config]`` after it gives the
    context and the type of the config, and the function returns the output.

    Args:
        function: The function, sync or async.
        name: The stage's id; the function's name if not given.
        retry: What happens after a failed attempt; ``Retry()``, three attempts in all, if not given.
        timeout: The limit of one attempt, such as ``30s``.
        needs: Earlier stages whose outputs ``ctx.output(stage)`` gives.
        queue: Where the stage's jobs wait for a worker.
        key: A pure function of the input; runs whose inputs have the same key share one execution and its result.
        waits: The types of the payloads that the stage waits for by ``ctx.wait_for(name)``, by name.
        compensate: Undoes what a completed stage did, in a workflow with ``compensate=True``; called with its output
            and, if it wants, the context.
        weight: How many tokens an attempt takes of the rate of its queue, if that has one.

    Raises:
        DefinitionError: If the function cannot be a stage.
    """
    call = caller()

    def decorate(function: Callable[..., Any]) -> FunctionStage[Any, Any, Any]:
        _check_function(function, call=call)
        options = read_options(
            name=getattr(function, "__name__", type(function).__name__) if name is None else name,
            retry=retry,
            timeout=timeout,
            needs=needs,
            queue=queue,
            key=key,
            waits=waits,
            compensate=compensate,
            weight=weight,
            call=call.source,
        )
        return _KINDS[is_async(function), has_parameters(function)](function, options, call=call)

    return decorate if function is None else decorate(function)


def _check_function(function: object, *, call: Caller) -> None:
    given = function
    if isinstance(function, type | Stage) or not callable(function):
        raise mistakes.unfit_option("function of a stage", given, call=call.source, fix="Decorate a function.")


_KINDS: Final[Mapping[tuple[bool, bool], type[FunctionStage[Any, Any, Any]]]] = {
    (True, True): AsyncStage,
    (False, True): SyncStage,
    (True, False): AsyncStageWithoutInput,
    (False, False): SyncStageWithoutInput,
}
