"""`holdfast runs unpause`: what one types."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


def unpause(
    run: Annotated[str, Parameter(help="The run: its id, a unique prefix of it, or its idempotency key.")],
    /,
    *,
    common: Common = DEFAULTS,
) -> int:
    """Let a paused run go on where it was held back.

    Doing so to a run that goes on already changes nothing.
    """
    from holdfast_hosts.cli.acts.runs_pause import unpause as act

    return carry_out(act(run, common=common))
