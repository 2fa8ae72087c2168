"""The options of a stage or workflow, checked where they are written."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from holdfast.authoring import mistakes
from holdfast.authoring.source import Source
from holdfast.entities.definition import DEFAULT_QUEUE
from holdfast.entities.retry import Retry, Span, span

if TYPE_CHECKING:
    from holdfast.authoring.stage import Stage

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_MAX_WAIT: Final = 100


@attrs.frozen(kw_only=True)
class Options:
    """What a stage is told beside its function."""

    name: str
    retry: Retry
    timeout: timedelta | None
    #: Ids of earlier stages whose outputs the context offers.
    needs: tuple[str, ...]
    queue: str
    #: The key of the input under which the result is shared.
    key: Callable[[Any], str] | None = None
    #: The types of the payloads that the stage may wait for, by name.
    waits: Mapping[str, Any] = attrs.field(factory=dict)
    #: Undoes what the stage did.
    compensate: Callable[..., Any] | None = None
    #: How many tokens of its queue's rate an attempt takes.
    weight: int = 1


def read_options(  # noqa: PLR0913 - one for each option
    *,
    name: str,
    retry: Retry | None = None,
    timeout: Span | None = None,
    needs: Sequence[Stage[Any, Any] | str] = (),
    queue: str = DEFAULT_QUEUE,
    key: Callable[[Any], str] | None = None,
    waits: Mapping[str, Any] | None = None,
    compensate: Callable[..., Any] | None = None,
    weight: int = 1,
    call: Source,
) -> Options:
    """Return the options of the stage *name*, as they were written at *call*.

    Raises:
        DefinitionError: If one of them is not fit to be what it is.
    """
    checked_name("id of a stage", name, call=call, fix='Name the stage by name="…".')
    return Options(
        name=name,
        retry=checked_retry(retry, name=name, call=call),
        timeout=None if timeout is None else checked_span(f'timeout of stage "{name}"', timeout, call=call),
        needs=_ids(needs, name=name, call=call),
        queue=checked_name(f'queue of stage "{name}"', queue, call=call),
        key=None if key is None else checked_key(key, name=name, call=call),
        waits=_waits(waits or {}, name=name, call=call),
        compensate=compensate,
        weight=checked_number(f'weight of stage "{name}"', weight, least=0, call=call),
    )


def checked_name(what: str, name: object, *, call: Source, fix: str = "") -> str:
    """Return *name* if it is fit to be an id.

    Raises:
        DefinitionError: If it is not.
    """
    if not isinstance(name, str) or _NAME.fullmatch(name) is None:
        raise mistakes.unfit_name(what, name, call=call, fix=fix)
    return name


def checked_span(what: str, value: object, *, call: Source) -> timedelta:
    """Return the duration *value*, which is longer than nothing.

    Raises:
        DefinitionError: If it is not.
    """
    if not isinstance(value, str | timedelta):
        raise mistakes.unfit_duration(what, value, call=call, why="A number does not tell its unit.")
    try:
        duration = span(value)
    except (ValueError, OverflowError):
        raise mistakes.unfit_duration(what, value, call=call, why="It is not a duration.") from None
    if not duration:
        raise mistakes.unfit_duration(what, value, call=call, why="It has to be longer than nothing.")
    return duration


def checked_retry(retry: Retry | None, *, name: str, call: Source) -> Retry:
    """Return *retry*, or the default policy if it is None.

    Raises:
        DefinitionError: If it is something else.
    """
    if retry is None:
        return Retry()
    if not isinstance(retry, Retry):
        raise mistakes.unfit_option(f'retry policy of stage "{name}"', retry, call=call, fix="Write retry=Retry(5).")
    return retry


def checked_key(key: object, *, name: str, call: Source) -> Callable[[Any], str]:
    """Return *key*, a plain function of the stage's input.

    Raises:
        DefinitionError: If it is something else.
    """
    fix = "Write a function of the input that returns text, such as key=lambda order: order.id."
    if not callable(key) or isinstance(key, type) or inspect.iscoroutinefunction(key):
        raise mistakes.unfit_option(f'key of stage "{name}"', key, call=call, fix=fix)
    if not takes(key, 1):
        raise mistakes.unfit_option(f'key of stage "{name}"', key, call=call, fix=f"It is called with the input. {fix}")
    return cast("Callable[[Any], str]", key)


def takes(function: Callable[..., Any], arguments: int) -> bool:
    """Return whether *function* can be called with so many arguments; true if it cannot be said."""
    try:
        inspect.signature(function).bind(*[None] * arguments)
    except TypeError:
        return False
    except ValueError:
        return True
    return True


def checked_number(what: str, number: object, *, least: int, call: Source) -> int:
    """Return *number*, an integer of at least so much.

    Raises:
        DefinitionError: If it is something else.
    """
    if not isinstance(number, int) or isinstance(number, bool) or number < least:
        raise mistakes.unfit_option(what, number, call=call, fix=f"Give a whole number, {least} or more.")
    return number


def checked_priority(priority: object, *, call: Source) -> int:
    """Return *priority*, an integer of any sign.

    Raises:
        DefinitionError: If it is something else.
    """
    if not isinstance(priority, int) or isinstance(priority, bool):
        raise mistakes.unfit_option("priority of an edge", priority, call=call, fix="Give a whole number.")
    return priority


def _waits(waits: object, *, name: str, call: Source) -> Mapping[str, Any]:
    if not isinstance(waits, Mapping):
        fix = 'Give the types of the payloads by name: waits={"approval": Decision}.'
        raise mistakes.unfit_option(f'waits of stage "{name}"', waits, call=call, fix=fix)
    known: Mapping[Any, Any] = waits
    for one in known:
        if not isinstance(one, str) or not one.isidentifier() or not one.isascii() or len(one) > _MAX_WAIT:
            raise mistakes.unfit_option(
                f'name of a wait of stage "{name}"', one, call=call, fix="Take a word such as approval or second_look."
            )
    return dict(known)


def _ids(needs: Sequence[Stage[Any, Any] | str], *, name: str, call: Source) -> tuple[str, ...]:
    if isinstance(needs, str) or not isinstance(needs, Sequence):
        raise mistakes.unfit_option(f'needs of stage "{name}"', needs, call=call, fix="Write needs=[first, second].")
    ids = [need if isinstance(need, str) else getattr(need, "id", None) for need in needs]
    for need, stage_id in zip(needs, ids, strict=True):
        if not isinstance(stage_id, str):
            raise mistakes.no_stage(need, call=call)
    return tuple(dict.fromkeys(str(stage_id) for stage_id in ids))
