"""`holdfast runs rerun`: what one types."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


def rerun(
    run: Annotated[str, Parameter(help="The run: its id, a unique prefix of it, or its idempotency key.")],
    /,
    *,
    from_stage: Annotated[str, Parameter(name="--from", help="The stage to begin with.")],
    module: Annotated[list[str], Parameter(help="The module that defines the workflow; may be repeated.")],
    key: Annotated[str | None, Parameter(help="Idempotency key: the same key reruns once.")] = None,
    common: Common = DEFAULTS,
) -> int:
    """Do a finished run again from one of its stages.

    Outputs of earlier stages are kept and used. The run gets a new generation, which a worker then executes.
    """
    from holdfast_hosts.cli.acts.runs_rerun import rerun as act

    return carry_out(act(run, from_stage, modules=module, key=key, common=common))
