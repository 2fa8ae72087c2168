"""The cases of a branch: `when` a condition is true, `otherwise` in any other case."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

from holdfast.authoring.condition import condition_of
from holdfast.authoring.options import checked_priority
from holdfast.authoring.seen import Seen
from holdfast.authoring.source import Caller, caller
from holdfast.authoring.stage import In_contra, Out_co, Part
from holdfast.entities.graph import Condition

T = TypeVar("T")
U = TypeVar("U")


class Case(Generic[In_contra, Out_co]):
    """One way on from a branch; made by `when` and `otherwise`."""

    __slots__ = ("call", "condition", "part", "priority")

    def __init__(self, part: object, *, condition: Condition | None, priority: int | None, call: Caller) -> None:
        self.part = part
        self.condition = condition
        self.priority = priority
        self.call = call

    def __repr__(self) -> str:
        return f"<{'otherwise' if self.condition is None else f'when {self.condition.label}'}: {self.part!r}>"


@overload
def when(condition: Callable[[T], object], to: Part[T, U], /, *, priority: int = 0) -> Case[T, U]: ...
@overload
def when(condition: Callable[[T, Seen], object], to: Part[T, U], /, *, priority: int = 0) -> Case[T, U]: ...
# Two for checkers that look at the stage first, which says nothing when it takes no input.
@overload
def when(condition: Callable[[T], object], to: Part[object, U], /, *, priority: int = 0) -> Case[T, U]: ...
@overload
def when(condition: Callable[[T, Seen], object], to: Part[object, U], /, *, priority: int = 0) -> Case[T, U]: ...
def when(condition: Callable[..., object], to: Any, /, *, priority: int = 0) -> Case[Any, Any]:
    """Return the case of a branch that is taken when *condition* is true of the value.

    Args:
        condition: A pure function of the value; with a second parameter it is given what the run knows.
        to: The stage or line that the case leads to.
        priority: Of several cases that are true the highest is taken; if two have the same, the run stops there.

    Raises:
        DefinitionError: If the function cannot be a condition.
    """
    call = caller()
    known = condition_of(condition, call=call.source)
    return Case(to, condition=known, priority=checked_priority(priority, call=call.source), call=call)


def otherwise(to: Part[T, U], /) -> Case[T, U]:
    """Return the case of a branch that is taken when no condition is true."""
    return Case(to, condition=None, priority=None, call=caller())
