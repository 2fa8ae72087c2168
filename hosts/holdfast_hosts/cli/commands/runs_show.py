"""`holdfast runs show`: what one types."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


def show_run(
    run: Annotated[str, Parameter(help="The run: its id, a unique prefix of it, or its idempotency key.")],
    /,
    *,
    trace: Annotated[bool, Parameter(help="Show the traceback of the failure, if there is one.")] = False,
    common: Common = DEFAULTS,
) -> int:
    """Show one run with its stages, output or failure."""
    from holdfast_hosts.cli.acts.runs_show import show_run as act

    return carry_out(act(run, trace=trace, common=common))
