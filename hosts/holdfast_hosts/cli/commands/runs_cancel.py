"""`holdfast runs cancel`: what one types."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from holdfast_hosts.cli.looping import carry_out
from holdfast_hosts.cli.options import DEFAULTS, Common


def cancel(
    run: Annotated[str, Parameter(help="The run: its id, a unique prefix of it, or its idempotency key.")],
    /,
    *,
    reason: Annotated[str | None, Parameter(help="Why; kept in the run's timeline.")] = None,
    common: Common = DEFAULTS,
) -> int:
    """Cancel a run with everything of it that is still live.

    A stage that is executing at this moment loses its lease: nothing that it still does will count.
    Cancelling a cancelled run again changes nothing.
    """
    from holdfast_hosts.cli.acts.runs_cancel import cancel as act

    return carry_out(act(run, reason=reason, common=common))
