"""`holdfast runs timeline`: what one types."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


def timeline(
    run: Annotated[str, Parameter(help="The run: its id, a unique prefix of it, or its idempotency key.")],
    /,
    *,
    follow: Annotated[bool, Parameter(name=["--follow", "-f"], help="Go on until the run has ended.")] = False,
    full: Annotated[bool, Parameter(help="Show every event, also each of a map's items.")] = False,
    common: Common = DEFAULTS,
) -> int:
    """Tell what happened in a run, event by event.

    Many events of a map's items in a row are one line, and stages that only hand values on are left out.
    With --json the answer holds the events as they are stored; together with --follow it comes once the run has ended.
    """
    from holdfast_hosts.cli.acts.runs_timeline import timeline as act

    return carry_out(act(run, follow=follow, full=full, common=common))
