"""`holdfast runs waits`: what one types."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


def waits(
    run: Annotated[str, Parameter(help="The run: its id, a unique prefix of it, or its idempotency key.")],
    /,
    *,
    common: Common = DEFAULTS,
) -> int:
    """List what a run waits for, since when, why and how long."""
    from holdfast_hosts.cli.acts.runs_waits import waits as act

    return carry_out(act(run, common=common))
