"""The part of the context by which a stage waits without holding a worker: sleeps, waits and child runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

import attrs

from holdfast.entities.definition import PayloadType
from holdfast.entities.retry import Span, span
from holdfast.errors import InvalidInput
from holdfast.naming import check_name

if TYPE_CHECKING:
    from datetime import timedelta

    from holdfast.authoring.flow import Flow

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
In = TypeVar("In")
Out = TypeVar("Out")

#: How long a token is good for unless its maker says otherwise.
TOKEN_LIFETIME: Final = "30d"


@attrs.frozen(kw_only=True)
class Child(Generic[T_co]):
    """A run that a stage has started."""

    run_id: str
    #: The type of its output.
    output: PayloadType = attrs.field(repr=False)


class Steps(Protocol):
    """How the context journals steps inside a stage and parks it; of one attempt."""

    async def once(
        self, name: str, function: Callable[..., Any], *, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Any:
        """Return the kept result of the step, or do it and keep its result."""
        ...

    async def sleep(self, name: str, duration: timedelta) -> None:
        """Return if the sleep is over, else park the stage until it is."""
        ...

    async def wait_for(
        self,
        name: str,
        *,
        item: str | None,
        timeout: timedelta | None,  # noqa: ASYNC109 - it is durable: the store keeps it, no task
        reason: str,
    ) -> Any:
        """Return the payload of the wait, else park the stage until there is one."""
        ...

    async def token(self, name: str, *, item: str | None, lifetime: timedelta) -> str:
        """Return a new right to answer the wait."""
        ...

    async def start(self, name: str, flow: Flow[Any, Any], input: Any) -> Child[Any]:
        """Return the child run of that name, which is started unless it was before."""
        ...

    async def result(self, child: Child[Any]) -> Any:
        """Return the output of the child run, else park the stage until it has ended."""
        ...


class Pausing:
    """Sleeps, waits and children; every call is remembered under its name, and a later attempt goes on behind it."""

    __slots__ = ()

    _steps: Steps

    async def sleep(self, name: str, duration: Span, /) -> None:
        """Go on after *duration*, such as ``2h``; the stage gives its worker back meanwhile.

        It is called again from its beginning when the time has come: put what must not happen twice into `once`.

        Args:
            name: Unique within the stage.
            duration: Counted from the first time that the stage came here.

        Raises:
            ValueError: If the duration cannot be understood.
        """
        check_name("name of a sleep", name)
        await self._steps.sleep(name, span(duration))

    async def wait_for(
        self,
        name: str,
        payload: type[T],
        /,
        *,
        timeout: Span | None = None,  # noqa: ASYNC109 - it is durable: the store keeps it, no task
        item: str | int | None = None,
        reason: str = "",
    ) -> T:
        """Return the payload that somebody resumes the run with; the stage gives its worker back meanwhile.

        It is called again from its beginning when the payload is there: put what must not happen twice into `once`.

        Args:
            name: What the payload is addressed by; declared in the stage's ``waits`` together with its type.
            payload: The declared type.
            timeout: How long to wait, counted from the first time that the stage came here.
            item: Tells several waits of one name apart; they are addressed by ``name[item]``.
            reason: For people: what is waited for.

        Raises:
            WaitTimedOut: If nobody answered in time; a stage may catch it and go another way.
            InvalidInput: If the stage does not declare the wait.
        """
        check_name("name of a wait", name)
        limit = None if timeout is None else span(timeout)
        told = None if item is None else str(item)
        answered: T = await self._steps.wait_for(name, item=told, timeout=limit, reason=reason)
        return answered

    async def token(self, name: str, /, *, lifetime: Span = TOKEN_LIFETIME, item: str | int | None = None) -> str:
        """Return a new secret that is the right to answer the wait *name* of this run, for a link in a message.

        The store keeps its hash only, so it cannot be asked for again; every call makes another one, and the first
        answer by any of them counts.

        Raises:
            InvalidInput: If the workflow has no such wait.
        """
        check_name("name of a wait", name)
        return await self._steps.token(name, item=None if item is None else str(item), lifetime=span(lifetime))

    async def start(self, name: str, flow: Flow[In, Out], input: In, /) -> Child[Out]:
        """Start a child run once, however often the stage is called, and return it without waiting for its end.

        It is cancelled when this run fails or is cancelled.

        Args:
            name: Unique within the stage.
            flow: The child's workflow, which has to be registered where this one is.
            input: Its input.

        Raises:
            UnknownWorkflow: If the workflow is not registered here.
            InvalidInput: If the input does not fit.
        """
        check_name("name of a child", name)
        return await self._steps.start(name, flow, input)

    async def result(self, child: Child[Out], /) -> Out:
        """Return the output of a child run; the stage gives its worker back until the child has ended.

        Raises:
            ChildFailed: If it ended otherwise than COMPLETED; a stage may catch it.
        """
        ended: Out = await self._steps.result(child)
        return ended

    async def call(self, name: str, flow: Flow[In, Out], input: In, /) -> Out:
        """Start a child run and return its output: `start` and `result` in one."""
        return await self.result(await self.start(name, flow, input))


def addressed(name: str, *, item: str | None, mapped_item: int | None) -> str:
    """Return what a wait is addressed by: within a map, and for waits that *item* tells apart, that is part of it."""
    told = [] if mapped_item is None else [str(mapped_item)]
    if item is not None:
        if "]" in item or "[" in item:
            raise InvalidInput("item of a wait", ["it holds a bracket"])
        told.append(item)
    return f"{name}[{','.join(told)}]" if told else name
