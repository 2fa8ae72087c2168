"""`holdfast runs retry`: what one types."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


def retry(
    run: Annotated[str, Parameter(help="The run: its id, a unique prefix of it, or its idempotency key.")],
    /,
    *,
    module: Annotated[list[str], Parameter(help="The module that defines the workflow; may be repeated.")],
    key: Annotated[str | None, Parameter(help="Idempotency key: the same key retries once.")] = None,
    common: Common = DEFAULTS,
) -> int:
    """Let a failed run go on from where it failed.

    Everything that completed is kept, checkpoints and answered waits of what is done again too. The run gets a new
    generation, which a worker then executes.
    """
    from holdfast_hosts.cli.acts.runs_retry import retry as act

    return carry_out(act(run, modules=module, key=key, common=common))
