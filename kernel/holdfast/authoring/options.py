"""The options of a stage or workflow, checked where they are written."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from holdfast.authoring import mistakes
from holdfast.authoring.source import Source
from holdfast.entities.retry import Retry, Span, span

if TYPE_CHECKING:
    from holdfast.authoring.stage import Stage

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")

DEFAULT_QUEUE: Final = "default"


@attrs.frozen(kw_only=True)
class Options:
    """What a stage is told beside its function."""

    name: str
    retry: Retry
    timeout: timedelta | None
    #: Ids of earlier stages whose outputs the context offers.
    needs: tuple[str, ...]
    queue: str


def read_options(
    *,
    name: str,
    retry: Retry | None,
    timeout: Span | None,
    needs: Sequence[Stage[Any, Any] | str],
    queue: str,
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


def _ids(needs: Sequence[Stage[Any, Any] | str], *, name: str, call: Source) -> tuple[str, ...]:
    if isinstance(needs, str) or not isinstance(needs, Sequence):
        raise mistakes.unfit_option(f'needs of stage "{name}"', needs, call=call, fix="Write needs=[first, second].")
    ids = [need if isinstance(need, str) else getattr(need, "id", None) for need in needs]
    for need, stage_id in zip(needs, ids, strict=True):
        if not isinstance(stage_id, str):
            raise mistakes.no_stage(need, call=call)
    return tuple(dict.fromkeys(str(stage_id) for stage_id in ids))
