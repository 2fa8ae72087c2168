"""Workflows written as one function: what `workflow` without an input returns, a decorator.

The function is the only stage of the workflow. What it does in steps it does through its context: ``ctx.once`` keeps a
result, ``ctx.sleep``, ``ctx.wait_for`` and child runs suspend it, and no worker is held while it waits.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

import attrs

from holdfast.authoring import mistakes
from holdfast.authoring.context import Context
from holdfast.authoring.mistakes import Subject
from holdfast.authoring.results import Fail, Ok, Wait
from holdfast.authoring.signature import is_async
from holdfast.authoring.source import caller, source_of
from holdfast.authoring.stage import stage
from holdfast.entities.definition import DEFAULT_QUEUE
from holdfast.entities.retry import Retry

if TYPE_CHECKING:
    from holdfast.authoring.flow import Flow

In = TypeVar("In")
Out = TypeVar("Out")

#: An async function ``(input, ctx)``, one that takes its context only, or neither.
Function = Callable[[In, Context[Any]], Coroutine[Any, Any, Out]] | Callable[[In], Coroutine[Any, Any, Out]]
WithoutInput = Callable[[Context[Any]], Coroutine[Any, Any, Out]] | Callable[[], Coroutine[Any, Any, Out]]


@attrs.frozen(kw_only=True)
class Imperative:
    """A decorator that makes a workflow of an async function ``(input, ctx)``, whose name is the id of its stage."""

    #: Begins the workflow, given the type of its input.
    begin: Callable[[Any], Flow[Any, Any]]
    retry: Retry | None = None
    key: Callable[[Any], str] | None = None
    waits: Mapping[str, Any] | None = None
    queue: str = DEFAULT_QUEUE
    weight: int = 1

    @overload
    def __call__(self, function: WithoutInput[Ok[Out] | Fail | Wait], /) -> Flow[None, Out]: ...  # type: ignore[overload-overlap]  # first match
    @overload
    def __call__(self, function: WithoutInput[Out | Ok[Out] | Fail | Wait], /) -> Flow[None, Out]: ...  # type: ignore[overload-overlap]  # first match
    @overload
    def __call__(self, function: Function[In, Ok[Out] | Fail | Wait], /) -> Flow[In, Out]: ...
    @overload
    def __call__(self, function: Function[In, Out | Ok[Out] | Fail | Wait], /) -> Flow[In, Out]: ...
    def __call__(self, function: Callable[..., Any], /) -> Any:
        """Make the workflow.

        Raises:
            DefinitionError: If the function cannot be the stage of one.
        """
        call = caller()
        given: object = function
        if inspect.isclass(given) or not callable(given):
            fix = "Decorate an async function (input, ctx); a class is decorated with @flow."
            raise mistakes.unfit_option("function of a workflow", given, call=call.source, fix=fix)
        if not is_async(function):
            subject = Subject(f'workflow function "{getattr(function, "__name__", "function")}"', source_of(function))
            fix = 'Write `async def`. For a plain function, decorate it with @stage: workflow("id", …).pipe(it).'
            raise mistakes.uncallable(subject, "is not async", fix=fix)
        decorate = stage(retry=self.retry, key=self.key, waits=self.waits, queue=self.queue, weight=self.weight)
        decorated: Any = decorate(function)
        taken = decorated.plan(call.names).input
        return self.begin(None if taken is None else taken.annotation).pipe(decorated)
