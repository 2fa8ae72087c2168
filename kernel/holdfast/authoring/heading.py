"""What a workflow is told beside its stages, read and checked."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypeVar

import attrs

from holdfast.authoring.draft import FOLLOWS, Beginning, Header
from holdfast.authoring.options import checked_name, checked_number, checked_span
from holdfast.authoring.source import Source
from holdfast.codec.refusals import UnresolvedName
from holdfast.entities.definition import STEP_LIMIT
from holdfast.entities.retry import Span

Begun = TypeVar("Begun", bound=Beginning)


@attrs.frozen(kw_only=True)
class Told:
    """The options of a workflow as they were written."""

    version: str = "1.0.0"
    description: str = ""
    timeout: Span | None = None
    step_limit: int = STEP_LIMIT
    compensate: bool = False
    state: bool = False
    #: The type of the run's output, unless it `FOLLOWS`.
    output: Any = FOLLOWS


def read_header(id: str, *, input: Any, options: Told, call: Source) -> Header:
    """Return the header of a workflow.

    Raises:
        DefinitionError: If an option is not fit to be what it is.
    """
    what = f'timeout of workflow "{id}"'
    return Header(
        id=checked_name("id of a workflow", id, call=call),
        version=checked_name(f'version of workflow "{id}"', options.version, call=call),
        description=options.description,
        timeout=None if options.timeout is None else checked_span(what, options.timeout, call=call),
        step_limit=checked_number(f'step_limit of workflow "{id}"', options.step_limit, least=1, call=call),
        compensate=options.compensate,
        state=options.state,
        input=input,
        output=options.output,
        call=call,
    )


def begun(header: Begun) -> Begun:
    """Return *header*, its input checked as far as it is known already.

    Raises:
        DefinitionError: If values of the input cannot be stored.
    """
    # A model may refer to one that is defined further down; it is looked at again when the definition is built.
    with suppress(UnresolvedName):
        header.declared_input()
    return header
