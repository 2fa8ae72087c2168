"""`holdfast runs pause`: what one types."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


def pause(
    run: Annotated[str, Parameter(help="The run: its id, a unique prefix of it, or its idempotency key.")],
    /,
    *,
    reason: Annotated[str | None, Parameter(help="Why; kept in the run's timeline.")] = None,
    common: Common = DEFAULTS,
) -> int:
    """Hold a run back until it is unpaused.

    What executes at this moment may end; nothing more of the run begins. Limits of waits and of the run go on.
    Pausing a paused run again changes nothing.
    """
    from holdfast_hosts.cli.acts.runs_pause import pause as act

    return carry_out(act(run, reason=reason, common=common))
