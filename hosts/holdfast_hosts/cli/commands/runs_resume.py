"""`holdfast runs resume`: what one types."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import attrs
from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class ResumeOptions:
    """Which wait is answered with what, as it was typed."""

    token: Annotated[str | None, Parameter(help="The right to answer one wait, instead of RUN and NAME.")] = None
    payload: Annotated[
        str | None, Parameter(allow_leading_hyphen=True, help="The answer: JSON, @file, or - for standard input.")
    ] = None
    payload_file: Annotated[Path | None, Parameter(help="A file with the answer, instead of --payload.")] = None
    actor: Annotated[str | None, Parameter(name="--as", help="Who answers; kept in the run's timeline.")] = None
    module: Annotated[list[str] | None, Parameter(help="The module that defines the workflow; may be repeated.")] = None


PLAIN: Final = ResumeOptions()


def resume(
    run: Annotated[
        str | None, Parameter(help="The run: its id, a unique prefix of it, or its idempotency key.")
    ] = None,
    name: Annotated[str | None, Parameter(help="The wait's name; name[item] for one of several.")] = None,
    /,
    *,
    options: ResumeOptions = PLAIN,
    common: Common = DEFAULTS,
) -> int:
    """Answer what a run waits for.

    The answer is checked against the type that the workflow declares. One that comes before its wait is open is kept.
    A wait takes one answer: another one that comes later is refused, the same one again changes nothing.
    """
    from holdfast_hosts.cli.acts.runs_resume import resume as act

    return carry_out(act(run, name, options, common=common))
