"""What a handler may return instead of its plain output: an output with a patch of the state, a failure, a wait."""

from __future__ import annotations

import types
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Generic, TypeVar, Union, get_args, get_origin

import attrs
import typing_extensions

from holdfast.entities.retry import Span, span

T_co = TypeVar("T_co", covariant=True)


def _limit(until: Span | datetime | None) -> timedelta | datetime | None:
    if until is None or isinstance(until, datetime):
        return until
    return span(until)


@attrs.frozen
class Ok(Generic[T_co]):
    """The output of a stage, with what it changes in the run's state."""

    output: T_co
    #: Merged into the state as a JSON merge patch (RFC 7396): objects merge, None deletes, all else replaces.
    patch: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)


@attrs.frozen
class Fail:
    """A failure that is returned, not raised."""

    #: Stable word for machines, such as ``CARD_DECLINED``.
    code: str
    message: str = ""
    #: Whether the stage's retry policy applies; otherwise this was the last attempt.
    retryable: bool = attrs.field(default=False, kw_only=True)


@attrs.frozen
class Wait:
    """A wish to be called again once somebody resumed the run; ``ctx.resume`` then has the payload.

    The wait is addressed by (run, name); its payload type is declared in the stage's ``waits``.
    """

    #: For people: what is waited for.
    reason: str = ""
    #: How long, or until which aware instant by the host's clock; then the stage is called with ``ctx.timed_out``.
    until: timedelta | datetime | None = attrs.field(default=None, converter=_limit, kw_only=True)
    #: The wait's name; the only one in the stage's ``waits``, else the stage's id, if not given.
    name: str | None = attrs.field(default=None, kw_only=True)
    patch: Mapping[str, Any] = attrs.field(factory=dict, kw_only=True)


def plain_output(annotation: Any) -> Any:
    """Return the type of the output of a function annotated to return *annotation*: ``int`` for ``Ok[int] | Fail``.

    A bare `Ok` says nothing of its output, and a function that gives none, such as ``-> Fail``, contradicts nothing;
    both are Any.
    """
    outputs = _outputs(annotation)
    if outputs == (annotation,):
        return annotation
    return Union[outputs] if outputs else Any  # noqa: UP007  # the members are known at run time only


def _outputs(annotation: Any) -> tuple[Any, ...]:
    """Return the types that make up the output; *annotation* itself if no result is among them."""
    if annotation is Fail or annotation is Wait:
        return ()
    if annotation is Ok:
        return (Any,)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Ok:
        return arguments
    if isinstance(annotation, typing_extensions.TypeAliasType):
        inner = annotation.__value__
    elif origin is Annotated:
        inner = arguments[0]
    elif origin in {Union, types.UnionType}:
        members = [_outputs(member) for member in arguments]
        unchanged = all(outputs == (member,) for outputs, member in zip(members, arguments, strict=True))
        return (annotation,) if unchanged else tuple(output for outputs in members for output in outputs)
    else:
        return (annotation,)
    outputs = _outputs(inner)
    # A name or a note stays unless there is something to take out from behind it.
    return (annotation,) if outputs == (inner,) else outputs
